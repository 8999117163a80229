"""The report: numbers from made-up results worked out by hand, the papers' beside them, and what is missing."""

import base64
import io
import math
import re

import matplotlib.image
import numpy as np
import pytest
from experiment_folders import plan_of, write_empty_subjects, write_result

from model_core.experiments import published
from model_core.experiments.plan import EXPERIMENTS
from model_core.experiments.report import write_experiment_report
from model_core.experiments.results import Evaluation, Results
from model_core.experiments.tables import scores_table
from model_core.experiments.tables import tests_table as table_of_tests
from model_core.metric_table import METRIC
from model_core.reports.document import Heading, Paragraph, Picture, Table, write_document
from model_core.training.history import HistoryRow, _cells


@pytest.fixture
def plan(tmp_path):
    return plan_of(write_empty_subjects(tmp_path / "data", 3), iterations=40, window_sides=(16, 32))


def report(output, plan, experiments, note="synthetic"):
    write_experiment_report(output, plan, experiments, output.parent / "data", note)
    return (output / "report.md").read_text()


def rows_of(markdown, caption):
    """The cells of the table under a caption, without its headings."""
    lines = markdown.split(f"**{caption}**", 1)[1].strip().split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def by_number(values):
    """Dice of the three tissues by the number of the subject."""
    return lambda subject, step: values[int(subject.split("-")[1]) - 1]


def finish_leave_one_out(output, plan):
    better = [(0.90, 0.80, 0.70), (0.92, 0.83, 0.74), (0.97, 0.89, 0.84)]
    worse = [(0.88, 0.79, 0.69), (0.91, 0.80, 0.70), (0.93, 0.83, 0.77)]
    for job in plan.leave_one_out(["nonlocal_unet"]):
        write_result(output, job, by_number(better), seconds=30.0)
    for job in plan.leave_one_out(["cc_3d_fcn"]):
        write_result(output, job, by_number(worse), seconds=90.0)


def test_mean_deviation_and_the_papers_stand_one_under_the_other(tmp_path, plan):
    finish_leave_one_out(tmp_path / "out", plan)
    markdown = report(tmp_path / "out", plan, ["leave-one-out"])
    # CSF 0.90, 0.92, 0.97: mean 0.93, squares 9+1+16 = 26 (in 1e-4), deviation sqrt(13e-4). GM 0.80, 0.83, 0.89:
    # 0.84, 16+1+25 = 42. WM 0.70, 0.74, 0.84: 0.76, 36+4+64 = 104. Averages 0.80, 0.83, 0.90: 0.8433.
    deviations = [math.sqrt(sum_of_squares * 1e-4 / 2) for sum_of_squares in (26, 42, 104)]
    rows = rows_of(markdown, "Table 1: Dice")
    assert rows[2] == [
        "Non-local U-Net, here", "3", f"0.9300 ± {deviations[0]:.4f}", f"0.8400 ± {deviations[1]:.4f}",
        f"0.7600 ± {deviations[2]:.4f}", "0.8433 ± 0.0513",
    ]  # fmt: skip
    assert rows[3] == [
        "Non-local U-Net, paper", "10", "0.9530 ± 0.0074", "0.9245 ± 0.0049", "0.9102 ± 0.0101", "0.9292 ± 0.0050"
    ]  # fmt: skip
    assert rows[0][0] == "CC-3D-FCN, here"
    assert rows[1][2] == "0.9250 ± 0.0118"


def test_the_paired_test_has_n_and_the_smallest_p(tmp_path, plan):
    finish_leave_one_out(tmp_path / "out", plan)
    markdown = report(tmp_path / "out", plan, ["leave-one-out"])
    caption = "Non-local U-Net minus CC-3D-FCN, paired Wilcoxon signed-rank test over the same subjects (two-sided)"
    rows = rows_of(markdown, caption)
    # CSF differs by 0.02, 0.01, 0.04: mean 0.0233; all of one sign, so p is 2/8, the smallest that 3 folds can give.
    assert rows[0] == ["Dice, CSF", "+0.0233", "3", "0.250", "0.250"]
    assert rows[4][1:] == ["+0.0000", "3", "1.000", "1.000"]  # 3D-MHD is the same in all


def test_times_are_in_minutes(tmp_path, plan):
    finish_leave_one_out(tmp_path / "out", plan)
    markdown = report(tmp_path / "out", plan, ["inference-time"])
    rows = rows_of(markdown, "Minutes a subject at step 8; Wang et al. 2020, Table 5 (Titan Xp)")
    assert [row[2] for row in rows] == ["1.50 ± 0.00", "3.85 ± 0.15", "0.50 ± 0.00", "3.06 ± 0.12"]
    assert "| Minutes | -1.00 | 3 | 0.250 | 0.250 |" in markdown


def test_parameter_counts_are_the_papers(tmp_path, plan):
    rows = {row[0]: row[1:] for row in rows_of(
        report(tmp_path, plan, ["parameters"]), "Trainable parameters; Wang et al. 2020, Table 4"
    )}  # fmt: skip
    assert rows["Non-local U-Net"] == ["1,821,124", "1,821,124"]
    assert rows["CC-3D-FCN"] == ["2,534,276", "2,534,276"]
    assert rows["Dual aggregation"] == ["2,252,228", "–"]


def test_what_is_missing_is_named_and_how_far_it_is(tmp_path, plan):
    output = tmp_path / "out"
    write_result(output, plan.fold("cc_3d_fcn", 1), lambda subject, step: (0.9, 0.8, 0.7))
    changed = plan_of(tmp_path / "data").fold("cc_3d_fcn", 2)  # the papers' 150,000 iterations instead of 40
    write_result(output, changed, lambda subject, step: (0.1, 0.1, 0.1))
    training = output / "jobs" / "nonlocal_unet-fold-03" / "training"
    training.mkdir(parents=True)
    header = "iteration,loss,learning_rate,patches_per_second,validation_dice_csf,validation_dice_gm,validation_dice_wm"
    (training / "history.csv").write_text(header + "\n4,1.2,0.001,3.5,,,\n")
    opening = report(output, plan, ["leave-one-out"]).split("## ")[0].replace("\\", "")
    assert "data, 3 labelled subjects; synthetic." in opening
    assert "Finished: 1 of 6 jobs; evaluated on CPU, 2 cores." in opening
    assert "- cc_3d_fcn-fold-02: made otherwise (--iterations was 150000 and is 40" in opening
    assert "- nonlocal_unet-fold-03: 4 of 40 iterations" in opening
    assert "- nonlocal_unet-fold-01: not begun" in opening
    assert "iterations 40 (the papers: 150,000); window sides 16/32 (the papers: 16/24/32/40/48)" in opening
    assert rows_of(report(output, plan, ["leave-one-out"]), "Table 1: Dice")[0][:3] == [
        "CC-3D-FCN, here",
        "1",
        "0.9000",
    ]


def test_a_full_report_of_all_experiments_holds_its_pictures(tmp_path):
    data, other = write_empty_subjects(tmp_path / "data", 3), write_empty_subjects(tmp_path / "other", 2)
    plan = plan_of(data, other)
    output = tmp_path / "out"
    for job in plan.jobs(list(EXPERIMENTS)):
        write_result(output, job, lambda subject, step: (0.9 - step / 1000, 0.8, 0.7), windows=1234)
        if job.validates:
            folder = output / "jobs" / job.name / "training"
            folder.mkdir()
            rows = [
                HistoryRow(5000, 0.5, 1e-3, 9.0, {"csf": 0.7, "gm": 0.6, "wm": 0.5}),
                HistoryRow(10000, 0.2, 1e-3, 9.0, {}),
            ]
            lines = [",".join(_cells(row)) for row in rows]
            header = "iteration,loss,learning_rate,patches_per_second," + ",".join(
                f"validation_dice_{tissue}" for tissue in ("csf", "gm", "wm")
            )
            (folder / "history.csv").write_text("\n".join([header, *lines]) + "\n")
    markdown = report(output, plan, list(EXPERIMENTS))
    html = (output / "report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    named = re.findall(r"\]\((pictures/[^)]+)\)", markdown)
    assert len(pictures) == len(named) == 13
    for content, name in zip(pictures, named, strict=True):
        png = base64.b64decode(content)
        assert png == (output / name).read_bytes()
        assert np.ptp(matplotlib.image.imread(io.BytesIO(png))[..., :3]) > 0.5
    assert not re.search(r'(src|href)="(?!data:)', html)  # nothing outside the file is needed
    steps = rows_of(markdown, "Non-local U-Net on subject-3; windows: Wang et al. 2020, Figure 7; Dice: Table 6")
    assert steps[0][:2] + steps[0][3:5] == ["4, here", "1,234", "0.8960", "0.8000"]
    assert steps[2][3] == "0.8920"
    assert steps[3] == ["8, paper", "1,920", "–", "0.9572", "0.9278", "0.8867", "0.9239"]
    cross = rows_of(markdown, "Across sites (the second paper's Table 2): Dice")
    assert cross[1][:3] == ["Dual aggregation, here", "2", "0.8920 ± 0.0000"]
    assert cross[2] == ["Dual aggregation, paper", "iSeg-2019", "0.834", "0.835", "0.877", "–"]
    assert "No test: one subject is evaluated" in markdown
    assert "Missing" not in markdown


def test_a_report_without_any_result_says_so(tmp_path, plan):
    markdown = report(tmp_path / "out", plan, [name for name in EXPERIMENTS if name != "cross-site"], note="")
    assert markdown.count("No job of this experiment is finished.") == 7
    assert "nothing was said of the data (--note)" in markdown
    assert "evaluated on nothing yet" in markdown


def evaluation(subject, **scores):
    return Evaluation(subject, 8, 10, 1.0, {key: dict.fromkeys(("csf", "gm", "wm", "average"), value)
                                            for key, value in scores.items()})  # fmt: skip


def test_undefined_and_infinite_scores_are_shown_as_such():
    values = [evaluation("a", asd_mm=math.inf), evaluation("b", asd_mm=1.0)]
    table = scores_table("T", METRIC["asd_mm"], {"M": values, "none": []}, {}, 10)
    assert table.rows[0][2] == "∞"
    assert table.rows[1][1:3] == ["0", "–"]
    partly = scores_table("T", METRIC["asd_mm"], {"M": [evaluation("a", asd_mm=math.nan), *values[1:]]}, {}, 10)
    assert partly.rows[0][2] == "1.000 (n = 1)"
    tests = table_of_tests(("A", {"a": values[0], "b": values[1]}), ("B", {"a": values[0], "b": values[1]}), ["asd_mm"])
    assert tests.rows[0][1:3] == ["+0.000", "1"]
    assert table_of_tests(("A", {"a": values[0]}), ("B", {}), ["asd_mm"]) is None


def test_a_scores_average_is_that_of_the_three_tissues(tmp_path, plan):
    job = plan.fold("model1", 3)
    write_result(tmp_path, job, lambda subject, step: (0.9, 0.8, 0.4))
    (found,) = Results(tmp_path, plan, []).evaluations(job)
    assert found.scores["dice"]["average"] == pytest.approx(0.7)


def test_what_the_user_says_cannot_break_the_page(tmp_path):
    parts = [
        Heading(1, "a <b> & c"),
        Paragraph("<script>*x*|y"),
        Table("T|", ["A"], [["a|b<"]]),
        Picture("p", b"1", '"'),
    ]
    write_document(tmp_path, "t", parts)
    html, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script>" not in html
    assert "a\\|b\\<" in markdown
    assert "\\*x\\*" in markdown


@pytest.mark.parametrize("table", [published.LEAVE_ONE_OUT, published.ABLATION])
def test_the_papers_averages_are_those_of_their_tissues(table):
    # A guard against misprints: the papers' averages agree with their tissues to the last digit but one.
    for models in table.values():
        for scores in models.values():
            assert scores.average.mean == pytest.approx(sum(figure.mean for figure in scores.tissues) / 3, abs=1.1e-4)
