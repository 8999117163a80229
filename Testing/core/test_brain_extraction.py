"""Brain extraction by tools that are installed: their commands, their faults, their ends."""

import json
import os
import signal
import threading
import time

import nibabel
import numpy as np
import pytest
from head_phantoms import T1_HEAD, head_at, head_grid, head_scan, install_hd_bet, write_program
from scan_phantoms import world_points

from model_core.errors import UserError
from model_core.preprocessing.brain_extraction import check_mask, choose_extractor, extract_brain
from model_core.system.environment import TOOL_ENVIRONMENT
from model_core.volumes import Volume, write_volume


@pytest.fixture(scope="module")
def head():
    """T1 in an unusual orientation, and its brain."""
    shape, affine = head_grid(spacing=(3.0, 3.0, 3.0), codes="PIL")
    brain = np.isin(head_at(world_points(shape, affine)), (1, 2, 3))
    return head_scan(T1_HEAD, shape, affine, 1, "t1.nii.gz"), Volume(brain, affine, "brain")


def install(tmp_path, monkeypatch, name, script):
    write_program(tmp_path / "bin", name, script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_hd_bet_2_gets_a_canonical_scan_and_its_mask_comes_back_to_t1s_grid(head, tmp_path, monkeypatch):
    t1, brain = head
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(brain.array.astype(np.uint8), brain.affine))
    log, scan = install_hd_bet(tmp_path, monkeypatch, Volume(canonical.get_fdata() > 0, canonical.affine))
    mask = extract_brain(t1, choose_extractor("hd-bet"))
    assert np.array_equal(mask.array, brain.array)
    assert np.array_equal(mask.affine, t1.affine)
    assert log.read_text().split()[4:] == ["--save_bet_mask", "-device", "cpu", "--disable_tta"]
    assert nibabel.aff2axcodes(nibabel.load(scan).affine) == ("R", "A", "S")


def test_hd_bet_1_is_asked_in_its_own_words(head, tmp_path, monkeypatch):
    t1, brain = head
    write_volume(tmp_path / "answer.nii.gz", brain.array, brain.affine)
    script = f"""
if [ "$1" = --help ]; then echo "options: -mode -tta -s"; exit 0; fi
echo "$@" > "{tmp_path}/log"; cp "{tmp_path}/answer.nii.gz" brain_mask.nii.gz"""
    install(tmp_path, monkeypatch, "hd-bet", script)
    assert np.array_equal(extract_brain(t1, choose_extractor("hd-bet"), gpu=True).array, brain.array)
    assert (tmp_path / "log").read_text().split() == [
        "-i",
        "scan.nii.gz",
        "-o",
        "brain.nii.gz",
        "-s",
        "1",
        "-device",
        "0",
    ]


@pytest.mark.parametrize("name", ["mri_synthstrip", "synthstrip-docker"])
def test_synthstrip_and_its_docker_wrapper_are_found(head, tmp_path, monkeypatch, name):
    t1, brain = head
    write_volume(tmp_path / "answer.nii.gz", brain.array, brain.affine)
    script = f'[ "$*" = "-i scan.nii.gz -o brain.nii.gz -m mask.nii.gz" ] && cp "{tmp_path}/answer.nii.gz" mask.nii.gz'
    install(tmp_path, monkeypatch, name, script)
    tool = choose_extractor("synthstrip")
    assert np.array_equal(extract_brain(t1, tool).array, brain.array)


def test_synthstrip_of_pip_is_found_with_the_standard_model_that_is_named(head, tmp_path, monkeypatch):
    t1, brain = head
    write_volume(tmp_path / "answer.nii.gz", brain.array, brain.affine)
    options = f"-i scan.nii.gz -o brain.nii.gz -m mask.nii.gz --model {tmp_path / 'synthstrip.1.pt'}"
    script = f'[ "$*" = "{options}" ] && cp "{tmp_path}/answer.nii.gz" mask.nii.gz'
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    install(tmp_path, monkeypatch, "nipreps-synthstrip", script)
    with pytest.raises(UserError, match=r"synthstrip has no model: download .*synthstrip\.1\.pt .*SYNTHSTRIP_MODEL"):
        choose_extractor("synthstrip")
    (tmp_path / "synthstrip.1.pt").touch()
    monkeypatch.setenv("SYNTHSTRIP_MODEL", str(tmp_path / "synthstrip.1.pt"))
    assert np.array_equal(extract_brain(t1, choose_extractor("synthstrip")).array, brain.array)
    monkeypatch.delenv("SYNTHSTRIP_MODEL")
    (tmp_path / "models").mkdir()
    (tmp_path / "synthstrip.1.pt").rename(tmp_path / "models" / "synthstrip.1.pt")
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path))
    assert choose_extractor("synthstrip").program == str(tmp_path / "bin" / "nipreps-synthstrip")


def test_a_tool_that_is_not_installed_is_named(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "hd-bet", "exit 0")
    with pytest.raises(UserError, match=r"SynthStrip \(mri_synthstrip or .*was not found"):
        choose_extractor("synthstrip")


def test_a_tool_that_fails_says_why_with_its_last_words(head, tmp_path, monkeypatch):
    script = 'echo "first words" >&2; echo "RuntimeError: no weights, no brain" >&2; exit 3'
    install(tmp_path, monkeypatch, "mri_synthstrip", script)
    with pytest.raises(UserError, match=r"SynthStrip failed with status 3: .*no weights, no brain; .*--mask"):
        extract_brain(head[0], choose_extractor("synthstrip"))


def test_a_tool_without_a_mask_is_told(head, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "mri_synthstrip", "exit 0")
    with pytest.raises(UserError, match=r"ended without a mask \(mask.nii.gz\)"):
        extract_brain(head[0], choose_extractor("synthstrip"))


def test_a_program_that_cannot_be_started_is_one_sentence(head, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "mri_synthstrip", "")
    (tmp_path / "bin" / "mri_synthstrip").write_text("#!/no/such/interpreter\n")
    with pytest.raises(UserError, match="could not be started"):
        extract_brain(head[0], choose_extractor("synthstrip"))


def assert_child_ends(folder):
    child = int((folder / "child").read_text())
    until = time.monotonic() + 60
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(child)


def test_an_interrupted_tool_ends_with_its_children(head, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "mri_synthstrip", f'sleep 300 & echo $! > "{tmp_path}/child"; wait')

    def interrupt():
        until = time.monotonic() + 60
        while not ((tmp_path / "child").exists() and (tmp_path / "child").read_text().strip()):
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # A shell's background job, which a test run may be, is started with Ctrl-C switched off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            extract_brain(head[0], choose_extractor("synthstrip"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert_child_ends(tmp_path)


def test_what_is_raised_while_it_runs_ends_a_tool_with_its_children(head, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "mri_synthstrip", f'sleep 300 & echo $! > "{tmp_path}/child"; wait')
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    class NotWantedAnyMore(Exception):
        pass

    def look():
        if (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip():
            assert list(scratch.glob("*/scan.nii.gz"))
            raise NotWantedAnyMore

    with pytest.raises(NotWantedAnyMore):
        extract_brain(head[0], choose_extractor("synthstrip"), scratch=scratch, on_wait=look)
    assert list(scratch.iterdir()) == []
    assert_child_ends(tmp_path)


def test_a_tool_runs_in_the_environment_that_was_handed_over(head, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "mri_synthstrip", f'echo "$PYTHONHOME, $GIVEN" > "{tmp_path}/log"')
    monkeypatch.setenv("PYTHONHOME", "/Slicer/lib/Python")
    monkeypatch.setenv(TOOL_ENVIRONMENT, json.dumps({"PATH": os.environ["PATH"], "GIVEN": "as at the start"}))
    with pytest.raises(UserError, match="without a mask"):
        extract_brain(head[0], choose_extractor("synthstrip"))
    assert (tmp_path / "log").read_text() == ", as at the start\n"


def test_a_tool_of_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="'bet' is no brain extraction; expected built-in or synthstrip"):
        choose_extractor("bet")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# ---- Masks that are no brain -------------------------------------------------------------------------------


def mask_of(array, spacing=5.0):
    return Volume(array, np.diag([spacing, spacing, spacing, 1.0]), "the mask by a tool")


def box(*slices):
    array = np.zeros((40, 40, 40), dtype=bool)
    array[slices] = True
    return array


def test_a_brain_of_one_litre_is_taken():
    check_mask(mask_of(box(slice(5, 25), slice(5, 25), slice(5, 25))))  # 20³ voxels of 0.125 ml


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (box(slice(5, 19), slice(5, 19), slice(5, 19)), "volume of 343 ml; expected a brain of 400 to 2000 ml"),
        (box(slice(1, 39), slice(1, 39), slice(1, 39)), "volume of 6859 ml"),
        (
            box(slice(0, 20), slice(5, 25), slice(5, 20)) | box(slice(30, 38), slice(5, 25), slice(5, 20)),
            "in pieces: the largest has 71% of it",
        ),
        (
            box(slice(None), slice(19, 22), slice(18, 23))
            | box(slice(18, 23), slice(None), slice(18, 23))
            | box(slice(18, 23), slice(18, 23), slice(None))
            | box(slice(10, 30), slice(10, 30), slice(10, 20)),
            "reaches all six faces",
        ),
    ],
    ids=["small", "large", "pieces", "faces"],
)
def test_masks_that_are_no_brain_are_refused(array, words):
    with pytest.raises(UserError, match=words):
        check_mask(mask_of(array))
