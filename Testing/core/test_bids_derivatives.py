"""The results of a cohort as other programs find them: through pybids, by the queries of NiBabies for its inputs."""

import json
import warnings

import nibabel
import numpy as np
import pytest
from cohort_folders import QuickCohort, write_data
from scan_phantoms import grid, scans

from model_core import cohort
from model_core.networks import build_network
from model_core.volumes import write_volume
from model_core.weights import save_weights

bids = pytest.importorskip("bids", reason="pybids is not installed: make test installs it")


@pytest.fixture(scope="module")
def derivative(tmp_path_factory):
    """A data set of one subject with two sessions, and its results."""
    quick = QuickCohort(tmp_path_factory.mktemp("bids"))
    shape, affine = grid()
    t1, t2, _ = scans(shape, affine)
    for session in ("3mo", "6mo"):
        stem = f"sub-01_ses-{session}"
        write_data(quick.data, stem)
        for suffix, scan in (("T1w", t1), ("T2w", t2)):
            write_volume(quick.data / f"sub-01/ses-{session}/anat/{stem}_{suffix}.nii.gz", scan.array, affine)
    (quick.data / "dataset_description.json").write_text(
        '{"Name": "Infants", "BIDSVersion": "1.9.0", "DatasetDOI": "doi:10.0/infants"}'
    )
    save_weights(quick.weights, build_network("model5"), {"window": 16})
    cohort.main([str(quick.data), str(quick.output), "participant", *quick.arguments[4:], "--step", "16"])
    return quick


@pytest.fixture(scope="module")
def layout(derivative):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bids.BIDSLayout(derivative.output, config=["bids", "derivatives"], is_derivative=True, validate=False)


# NiBabies 25 asks for these: all of a subject and session, in anat, in the space T1w.
QUERIES = {
    "mask": {"suffix": "mask", "desc": "brain"},
    "dseg": {"suffix": "dseg", "desc": None},
    "CSF": {"suffix": "probseg", "label": "CSF"},
    "GM": {"suffix": "probseg", "label": "GM"},
    "WM": {"suffix": "probseg", "label": "WM"},
}


@pytest.mark.parametrize("session", ["3mo", "6mo"])
@pytest.mark.parametrize("query", QUERIES)
def test_the_queries_of_nibabies_find_one_file_each(layout, session, query):
    common = {"subject": "01", "session": session, "datatype": "anat", "space": "T1w", "extension": [".nii.gz", ".nii"]}
    (found,) = layout.get(**common, **QUERIES[query])
    names = {"mask": "desc-brain_mask", "dseg": "dseg"}
    assert found.filename == f"sub-01_ses-{session}_space-T1w_{names.get(query, f'label-{query}_probseg')}.nii.gz"


def test_pybids_reads_the_sidecars(layout):
    (mask,) = layout.get(session="6mo", suffix="mask", extension=".nii.gz")
    about = mask.get_metadata()
    source = "bids:raw:sub-01/ses-6mo/anat/sub-01_ses-6mo"
    assert about["Type"] == "Brain"
    assert about["SpatialReference"] == f"{source}_T1w.nii.gz"
    assert about["Sources"] == [f"{source}_T1w.nii.gz", f"{source}_T2w.nii.gz"]


def test_the_mask_lies_on_t1_and_holds_the_labels(derivative):
    folder = derivative.output / "sub-01/ses-6mo/anat"
    t1, mask, labels = (
        nibabel.load(path)
        for path in (
            derivative.data / "sub-01/ses-6mo/anat/sub-01_ses-6mo_T1w.nii.gz",
            folder / "sub-01_ses-6mo_space-T1w_desc-brain_mask.nii.gz",
            folder / "sub-01_ses-6mo_space-T1w_dseg.nii.gz",
        )
    )
    assert np.array_equal(np.asarray(mask.dataobj), np.asarray(t1.dataobj) != 0)
    assert np.array_equal(mask.affine, t1.affine)
    assert mask.get_data_dtype() == np.uint8
    assert not np.asarray(labels.dataobj)[np.asarray(mask.dataobj) == 0].any()


def test_the_description_says_where_the_data_came_from(derivative):
    about = json.loads((derivative.output / "dataset_description.json").read_text("utf-8"))
    assert about["SourceDatasets"] == [{"URL": derivative.data.as_uri(), "DOI": "doi:10.0/infants"}]
    assert about["GeneratedBy"][0]["CodeURL"].startswith("https://")
    for name, words in {"README": "Research use only", "CITATION.cff": "cff-version: 1.2.0"}.items():
        assert words in (derivative.output / name).read_text("utf-8")


def test_each_session_has_its_page(derivative):
    for session in ("3mo", "6mo"):
        assert "<html" in (derivative.output / f"sub-01_ses-{session}.html").read_text("utf-8")
