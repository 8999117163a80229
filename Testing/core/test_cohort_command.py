"""The command cohort.py with a quick program in segment.py's place: what it writes, runs again, and says."""

import csv
import errno
import json
import os
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from cohort_folders import REPOSITORY, QuickCohort, wait_until, write_data, write_weights
from scan_phantoms import grid, scans

from model_core import cohort
from model_core.cohorts.runs import segment_command
from model_core.cohorts.subjects import CohortSubject
from model_core.cohorts.tasks import CohortSettings, Task
from model_core.errors import UserError
from model_core.networks import build_network
from model_core.program import PROGRAM_URL, PROGRAM_VERSION
from model_core.segmentation_options import SegmentationOptions
from model_core.system.command_line import run_command
from model_core.volumes import read_labels, read_volume, write_volume
from model_core.weights import save_weights


@pytest.fixture
def two(tmp_path):
    return QuickCohort(tmp_path, "sub-01", "sub-02_ses-6mo_run-1")


# ---- What it writes ----------------------------------------------------------------------------------------


def test_results_are_named_and_described_as_bids_derivatives(two):
    two.run()
    found = {path.relative_to(two.output).as_posix() for path in two.output.rglob("*") if path.is_file()}
    stem = "sub-02/ses-6mo/anat/sub-02_ses-6mo_run-1_space-T1w"
    of_one = {f"{stem}_{kind}.{end}" for kind in ("dseg", "desc-brain_mask") for end in ("nii.gz", "json")}
    of_one |= {f"{stem}_label-{name}_probseg{end}" for name in ("CSF", "GM", "WM") for end in (".nii.gz", ".json")}
    of_one |= {"sub-02/figures/sub-02_ses-6mo_run-1_space-T1w_dseg.png", "logs/sub-02_ses-6mo.log"}
    of_one |= {"sub-02_ses-6mo.html"}
    assert {path for path in found if "sub-02" in path} == of_one
    shared = {path for path in found if "sub-" not in path}
    assert shared == {
        "dataset_description.json", "README", "CITATION.cff", "dseg.tsv", ".bidsignore", "group.tsv", "group.json",
        "index.html",
    }  # fmt: skip
    description = json.loads((two.output / "dataset_description.json").read_text("utf-8"))
    assert description["DatasetType"] == "derivative"
    made_by = {"Name": "InfantBrainSeg", "Version": PROGRAM_VERSION, "CodeURL": PROGRAM_URL}
    assert description["GeneratedBy"] == [made_by]
    assert description["SourceDatasets"] == [{"URL": two.data.as_uri()}]
    sidecar = two.sidecar("sub-02_ses-6mo_run-1")
    source = "bids:raw:sub-02/ses-6mo/anat/sub-02_ses-6mo_run-1"
    assert sidecar["Sources"] == [f"{source}_T1w.nii.gz", f"{source}_T2w.nii.gz"]
    assert sidecar["step"] == 8
    assert list((two.output / ".cohort").iterdir()) == []


def test_the_label_table_says_what_each_value_is(two):
    two.run("participant")
    with open(two.output / "dseg.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["index"], row["abbreviation"], row["mapping"]) for row in rows] == [
        ("0", "BG", "0"), ("1", "CSF", "3"), ("2", "GM", "1"), ("3", "WM", "2"),
    ]  # fmt: skip


def test_the_home_page_is_that_of_the_extension():
    assert f'set(EXTENSION_HOMEPAGE "{PROGRAM_URL}")' in (REPOSITORY / "CMakeLists.txt").read_text("utf-8")


def test_options_that_all_bids_apps_have(two, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit) as caught:
        cohort.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"InfantBrainSeg {PROGRAM_VERSION}\n"
    cores = tmp_path / "cores"
    two.program.write_text(
        f"import os; open({str(cores)!r}, 'w').write(str(len(os.sched_getaffinity(0))))\n{two.program.read_text()}"
    )
    two.run("participant", "--skip-bids-validation", "--n-cpus", 1, "--participant-label", "01")
    assert cores.read_text() == "1"


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_work_dir_holds_what_is_not_complete_and_may_lie_on_another_disk(two, tmp_path, monkeypatch, other_disk):
    real = os.replace

    def replace(source, target):
        if other_disk and str(tmp_path / "work") in str(source) and str(tmp_path / "work") not in str(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    gate = two.hold("sub-01")
    seen = []

    def look():
        wait_until(lambda: "sub-01" in two.audit("begun"))
        seen.append([path.name for path in (tmp_path / "work").iterdir()])
        gate.unlink()

    thread = threading.Thread(target=look)
    thread.start()
    two.run("participant", "-w", tmp_path / "work", "--participant-label", "01")
    thread.join()
    assert [name.endswith("-sub-01") for name in seen[0]] == [True]
    assert two.is_complete("sub-01")
    assert list((tmp_path / "work").iterdir()) == list((two.output / ".cohort").iterdir()) == []


def test_the_classic_form_of_bids_apps_works_too(two):
    arguments = [two.data, two.output, "participant", "--participant_label", "02", "--weights", two.weights]
    cohort.main([*map(str, arguments), "--device", "cpu"], program=two.program)
    assert two.audit("ended") == ["sub-02_ses-6mo_run-1"]
    assert not (two.output / "index.html").exists()


@pytest.mark.parametrize(
    "more",
    [["both"], ["--raw", "--align-t2"], ["--workers", "0"], ["--device", "tpu"], ["--skip", "alignment"],
     ["--raw", "--skip", "segmentation"], ["--workers", "2", "--scheduler", "tcp://a:1"]],
)  # fmt: skip
def test_wrong_usage_ends_with_2(two, more, capsys):
    with pytest.raises(SystemExit) as caught:
        two.run(*more)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
    assert not two.output.exists()


def test_with_the_real_segmentation_volumes_scores_and_maps_are_those_of_segment_py(tmp_path):
    quick = QuickCohort(tmp_path)
    shape, affine = grid(spacing=(1, 1.1, 1), rim_mm=1.0)
    t1, t2, labels = scans(shape, affine)
    for folder, name, array in (
        ("sub-01/anat", "sub-01_T1w", t1.array),
        ("sub-01/anat", "sub-01_T2w", t2.array),
        ("derivatives/manual/sub-01/anat", "sub-01_dseg", np.array([0, 4, 3, 2], np.int32)[labels]),  # FreeSurfer's
    ):
        (quick.data / folder).mkdir(parents=True, exist_ok=True)
        write_volume(quick.data / folder / f"{name}.nii.gz", array, affine)
    save_weights(quick.weights, build_network("model5"), {"window": 16})
    cohort.main([*quick.arguments, "--step", "16"])
    found = read_labels(quick.labels("sub-01"))
    assert found.array.shape == shape
    sidecar = quick.sidecar("sub-01")
    for row, label in zip(sidecar["tissues"], (1, 2, 3), strict=True):
        assert sidecar["volumes_ml"][row["tissue"]] == pytest.approx((found.array == label).sum() * 1.1 / 1000)
        overlap = 2 * ((found.array == label) & (labels == label)).sum()
        assert row["dice"] == pytest.approx(overlap / ((found.array == label).sum() + (labels == label).sum()))
    maps = [
        read_volume(quick.labels("sub-01").with_name(f"sub-01_space-T1w_label-{name}_probseg.nii.gz")).array
        for name in ("CSF", "GM", "WM")
    ]
    inside = found.array > 0
    assert (np.argmax(maps, axis=0)[inside] + 1 == found.array[inside]).all()


def test_each_session_has_a_page_at_the_top_level(two):
    two.run()
    for name in ("sub-01.html", "sub-02_ses-6mo.html"):
        assert (two.output / name).read_text() == "steps"
        assert f'href="{name}"' in (two.output / "index.html").read_text("utf-8")


# ---- What is run again -------------------------------------------------------------------------------------


def test_a_rerun_runs_nothing(two, capsys):
    two.run()
    before = {path: path.stat().st_mtime_ns for path in two.output.rglob("*_dseg*")}
    two.forget()
    two.run()
    assert two.audit("begun") == []
    assert "2 unchanged" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_only_the_subject_whose_scan_changed_is_run_again(two, capsys):
    two.run("participant")
    two.forget()
    (two.data / "sub-01" / "anat" / "sub-01_T2w.nii.gz").write_bytes(b"other")
    capsys.readouterr()
    two.run("participant")
    assert two.audit("ended") == ["sub-01"]
    assert "(T2 changed)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "more", "reason"),
    [
        (lambda two: None, ["--step", 16], "--step was 8 and is 16"),
        (lambda two: None, ["--align-t2"], "--align-t2 was off and is on"),
        (lambda two: write_weights(two.weights, b"new"), [], "the weights changed"),
        (lambda two: (two.data / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii").write_bytes(b"m"), [],
         "the mask is new"),
        (lambda two: (two.output / "sub-01/figures/sub-01_space-T1w_dseg.png").unlink(), [],
         "sub-01_space-T1w_dseg.png is missing"),
        (lambda two: (two.output / "sub-01/anat/sub-01_space-T1w_dseg.json").unlink(), [],
         "its last run was broken off"),
        (lambda two: (two.data / "participants.tsv").write_text("participant_id\tage_months\nsub-01\t6\n"), [],
         "the age in months was none and is 6.0"),
    ],
)  # fmt: skip
def test_a_changed_option_weights_mask_or_a_missing_file_run_it_again_and_it_says_why(
    two, change, more, reason, capsys
):
    only = ["participant", "--participant-label", "sub-01"]
    two.run(*only)
    two.forget()
    change(two)
    two.run(*only, *more)
    assert two.audit("ended") == ["sub-01"]
    assert f"({reason})" in capsys.readouterr().out
    two.forget()
    two.run(*only, *more)
    assert two.audit("begun") == []


def test_the_uncertainty_is_written_on_request_with_a_sidecar_and_leaves_with_its_result(two):
    two.run("participant", "--participant-label", "01", "--uncertainty")
    path = two.labels("sub-01").with_name("sub-01_space-T1w_desc-uncertainty_probseg.nii.gz")
    assert path.read_bytes() == b"uncertainty"
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text("utf-8"))
    assert sidecar["Description"].startswith("Entropy")
    two.run("participant", "--participant-label", "01", "--step", 16)
    assert not path.exists()


def test_probabilities_of_an_earlier_result_do_not_stay_beside_a_new_one(two):
    two.run("participant", "--participant-label", "01")
    two.run("participant", "--participant-label", "01", "--step", 16, "--no-probabilities")
    assert list(two.output.rglob("*probseg*")) == []
    two.forget()
    two.run("participant", "--participant-label", "01", "--step", 16)
    assert two.audit("ended") == ["sub-01"]


def test_results_inside_the_data_set_are_not_taken_for_references(two):
    two.output = two.data / "derivatives" / "ours"
    two.run("participant")
    two.forget()
    two.run("participant")
    two.output = two.data / "derivatives" / "ours again"
    two.run("participant", "--participant-label", "01")
    assert two.audit("ended") == ["sub-01"]
    assert two.sidecar("sub-01")["sources"]["reference"] is None


# ---- Failures ----------------------------------------------------------------------------------------------


def test_a_subject_that_fails_does_not_stop_the_others(two, capsys):
    write_data(two.data, "sub-00", t1=b"bad")
    status = run_command(lambda arguments: two.run())
    said = capsys.readouterr()
    assert status == 1
    scan = two.data / "sub-00" / "anat" / "sub-00_T1w.nii.gz"
    sentence = f"{scan} is no scan; expected one; choose another."
    assert said.err == f"1 of 3 subjects failed; the others are complete. sub-00: {sentence}\n"
    assert f"sub-00: failed: {sentence}" in said.out
    assert sorted(two.audit("ended")) == ["sub-01", "sub-02_ses-6mo_run-1"]
    assert sentence in (two.output / "logs" / "sub-00.log").read_text("utf-8")
    assert sentence in (two.output / "index.html").read_text("utf-8")
    assert not (two.output / "sub-00").exists()

    scan.write_bytes(b"scan")
    two.run()
    assert "is no scan" not in (two.output / "index.html").read_text("utf-8")


def test_a_failed_rerun_leaves_the_earlier_result_as_it_was(two):
    two.run("participant", "--participant-label", "01")
    (two.data / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"bad")
    with pytest.raises(UserError, match="1 of 1 subjects failed"):
        two.run("participant", "--participant-label", "01")
    assert two.is_complete("sub-01")


def test_a_process_that_was_killed_is_named_and_memory_suggested(two):
    write_data(two.data, "sub-00", t1=b"crash")
    with pytest.raises(UserError, match=r"sub-00 was ended from outside \(status -9\); .* memory may have been short"):
        two.run("participant")
    assert two.is_complete("sub-01")


def test_the_sidecar_says_what_belongs_to_the_subject_and_how_its_reference_was_understood(two):
    manual = two.data / "derivatives" / "manual" / "sub-01" / "anat"
    manual.mkdir(parents=True)
    write_volume(manual / "sub-01_dseg.nii.gz", np.arange(27, dtype=np.uint8).reshape(3, 3, 3) % 4, np.eye(4))
    (manual.parents[1] / "dseg.tsv").write_text("index\tname\n1\tGM\n2\tWM\n3\tCSF\n")
    (manual / "sub-01_run-7_desc-brain_mask.nii.gz").touch()
    two.run()
    sidecar = two.sidecar("sub-01")
    assert sidecar["sources"]["reference"] == str(manual / "sub-01_dseg.nii.gz")
    left, values = sidecar["notes"]
    assert left == "left aside as its brain mask: sub-01_run-7_desc-brain_mask.nii.gz (it is of run-7)"
    assert "were taken as 1 Gray matter, 2 White matter, 3 CSF, as" in values
    assert left in (two.output / "index.html").read_text("utf-8")
    rows = json.loads((two.output / "group.json").read_text("utf-8"))["subjects"]
    assert "reference sub-01_dseg.nii.gz, no age; left aside as its brain mask" in rows[0]["inputs"]


def test_a_reference_with_unknown_labels_fails_with_a_way_out(two):
    manual = two.data / "derivatives" / "manual" / "sub-01" / "anat"
    manual.mkdir(parents=True)
    write_volume(manual / "sub-01_dseg.nii.gz", np.full((3, 3, 3), 77777, np.int32), np.eye(4))
    with pytest.raises(UserError, match=r"label values 77777 \(unknown: 77777\).*--no-scores"):
        two.run("participant")
    two.run("participant", "--no-scores")
    assert two.is_complete("sub-01")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--step", "33"], "The overlap step is 33 voxels; a whole number from 1 to the window's side of 32"),
        (["--participant-label", "07"], "names the unknown sub-07; expected one of sub-01, sub-02"),
        (["--session-label", "9"], "names the unknown ses-9; expected one of ses-6mo"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
    ],
)
def test_what_every_subject_would_say_is_said_once_before_anything_is_made(two, more, sentence):
    with pytest.raises(UserError, match=sentence):
        two.run(*more)
    assert not two.output.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("dataset_description.json", '{"Name": "precious", "GeneratedBy": "me"}'), ("sub-01", "precious")],
)
def test_a_folder_with_somebody_elses_files_is_left_alone(two, name, content):
    two.output.mkdir()
    (two.output / name).write_text(content)
    with pytest.raises(UserError, match=rf"holds files that InfantBrainSeg did not make \({name}, say\)"):
        two.run()
    assert {path.name: path.read_text() for path in two.output.iterdir()} == {name: content}


def test_the_data_set_itself_is_no_output_folder(two):
    with pytest.raises(UserError, match="expected a folder of its own"):
        cohort.main(["--bids", str(two.data), "--output", str(two.data)])


def test_a_label_map_that_somebody_edited_is_not_replaced(two):
    two.run("participant")
    two.labels("sub-01").write_bytes(b"corrected by hand")
    two.run("participant")
    with pytest.raises(UserError, match=r"sub-01_space-T1w_dseg\.nii\.gz was edited since it was made"):
        two.run("participant", "--step", 16)
    assert two.labels("sub-01").read_bytes() == b"corrected by hand"
    assert two.sidecar("sub-02_ses-6mo_run-1")["step"] == 16
    two.labels("sub-01").unlink()
    two.run("participant", "--step", 16)
    assert two.is_complete("sub-01")


# ---- Jobs, and the command of a subject --------------------------------------------------------------------


def test_a_listed_job_runs_its_subject_alone_whatever_the_paths_are_called(tmp_path, capsys):
    odd = tmp_path / 'it\'s -- "näme"'
    odd.mkdir()
    quick = QuickCohort(odd, "sub-01", "sub-02_ses-6mo")
    quick.run("--list-jobs", "--step", 16, "--no-probabilities", "--max-memory", 2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert not quick.output.exists()
    _, script, *arguments = shlex.split(lines[1])
    assert Path(script) == Path(cohort.__file__)
    cohort.main(arguments, program=quick.program)
    assert quick.audit("ended") == ["sub-02_ses-6mo"]
    assert quick.sidecar("sub-02_ses-6mo")["fingerprint"]["options"]["--step"] == 16
    assert list(quick.output.rglob("*probseg*")) == []


def test_options_reach_the_segmentation_only_when_they_were_asked_for():
    subject = CohortSubject("01", "", "sub-01", Path("/d/t1.nii"), Path("/d/t2.nii"))
    settings = CohortSettings(Path("/w"), SegmentationOptions(step=8), probabilities=False)
    plain = Task(subject, Path("/d"), Path("/o"), settings, Path("/stop"))
    command = segment_command(plain, Path("/f"), None)
    assert [word for word in command if word.startswith("--")] == [
        "--t1", "--t2", "--output", "--weights", "--step", "--picture", "--report", "--save-mask",
    ]  # fmt: skip
    subject = CohortSubject("01", "", "sub-01", Path("/d/t1.nii"), Path("/d/t2.nii"), age_months=6.5)
    how = SegmentationOptions(step=8, raw=True, skip=("alignment",), brain_extraction="hd-bet")
    settings = CohortSettings(Path("/w"), how, max_memory=3)
    text = " ".join(segment_command(Task(subject, Path("/d"), Path("/o"), settings, Path("/stop")), Path("/f"), None))
    assert text.split(" --weights /w ")[1].split(" --picture ")[0] == (
        "--step 8 --raw --skip alignment --brain-extraction hd-bet --age-months 6.5"
    )
    assert text.endswith("--probabilities /f/probabilities --max-memory 3")
