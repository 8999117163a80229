"""The page of one subject: what it tells of volumes, quality and sources."""

import html
import re

from subject_pages import write_subject_page


def cells(page):
    """Rows of the table of volumes."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.split("<h2>Volumes</h2>")[1].split("</table>")[0])
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row)] for row in rows]


def test_the_volumes_stand_alone_where_nothing_else_is_known(tmp_path):
    page = write_subject_page(tmp_path / "page.html")
    assert cells(page) == [
        ["Tissue", "Volume (ml)"], ["CSF", "120.0"], ["Gray matter", "400.0"], ["White matter", "240.0"],
    ]  # fmt: skip
    assert "Expected Dice" not in page
    assert "fast_unet (fast.safetensors), whole brain, cpu" in page
    assert "The checks before and after the segmentation found nothing." in page


def test_the_expected_dice_is_a_range_and_scores_are_those_with_the_reference(tmp_path):
    scores = [
        {"tissue": tissue, "dice": 0.9, "mhd_3d": 1.25, "asd_mm": "inf", "hd95_mm": None}
        for tissue in ("csf", "gm", "wm")
    ]
    expected = {tissue: {"low": 0.9, "middle": 0.93, "high": 0.951} for tissue in ("csf", "gm", "wm")}
    page = write_subject_page(tmp_path / "page.html", expected_dice=expected, tissues=scores)
    head, csf, *_ = cells(page)
    assert head[2:] == ["Expected Dice", "Dice", "3D-MHD (√voxel)", "ASD (mm)", "HD95 (mm)"]
    assert csf[2:] == ["0.90–0.95", "0.900", "1.25", "∞", "n/a"]


def test_warnings_and_names_are_shown_as_they_are(tmp_path):
    page = write_subject_page(tmp_path / "page.html", sentences=["T1 is <dark>.", "T2 & all."])
    assert re.findall(r'<p class="warning">(.*?)</p>', page) == ["T1 is &lt;dark&gt;.", "T2 &amp; all."]
    assert "<h1>Segmentation of &lt;sub-01&gt;_T1w.nii.gz</h1>" in page
    assert "found nothing" not in page


def test_a_result_of_t2_alone_is_named_after_it(tmp_path):
    page = write_subject_page(tmp_path / "page.html", sources={"t1": None, "t2": "a/T2w.nii.gz", "mask": None})
    assert "<h1>Segmentation of T2w.nii.gz</h1>" in page


def test_uncertainty_has_pictures_where_there_is_a_map_of_it(tmp_path):
    assert "Uncertainty" not in write_subject_page(tmp_path / "page.html")
    page = write_subject_page(tmp_path / "page.html", uncertainty=True)
    assert page.count('alt="Uncertainty, ') == 3
    assert page.count("data:image/jpeg;base64,") == 9
