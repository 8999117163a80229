"""Maps that a person corrected, in a BIDS data set: which are trained on, and how weights are fine-tuned on them."""

import hashlib
import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
from trained_networks import trained

from model_core import train as command
from model_core.datasets.subjects import find_subjects, load_pair
from model_core.networks.ensemble import Ensemble
from model_core.system.command_line import run_command
from model_core.volumes import write_volume
from model_core.weights import load_weights, save_weights

SIDE = 24
SEGMENTS = ("CSF", "Gray matter", "White matter")


def slabs():
    """Three slabs of tissue, (24, 24, 24) uint8."""
    labels = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    for index in range(3):
        labels[2:-2, 2:-2, 2 + index * 7 : 8 + index * 7] = index + 1
    return labels


def write_scans(data, subject):
    """Write T1 and T2 of slabs."""
    labels = slabs()
    noise = np.random.default_rng(5).uniform(0, 20, labels.shape)
    for suffix, means in (("T1w", [0, 100, 200, 300]), ("T2w", [0, 500, 200, 150])):
        scan = np.where(labels > 0, np.choose(labels, means) + noise, 0).astype(np.float32)
        path = data / subject / "anat" / f"{subject}_{suffix}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, scan, np.eye(4))


def write_map(data, folder, name, labels=None):
    """Write a label map into a derivative, as NIfTI."""
    path = data / "derivatives" / folder / name.split("_")[0] / "anat" / f"{name}_dseg.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, slabs() if labels is None else labels, np.eye(4))
    return path


@pytest.fixture
def corrected(tmp_path):
    """Three subjects that the program segmented; of sub-01 and sub-02 the maps were corrected."""
    data = tmp_path / "corrected"
    for subject in ("sub-01", "sub-02", "sub-03"):
        write_scans(data, subject)
        write_map(data, "infantbrainseg", f"{subject}_space-T1w")
    (data / "derivatives" / "infantbrainseg" / "dataset_description.json").write_text(
        json.dumps({"Name": "InfantBrainSeg segmentations", "GeneratedBy": [{"Name": "InfantBrainSeg"}]})
    )
    for subject in ("sub-01", "sub-02"):
        write_map(data, "corrected", f"{subject}_space-T1w_desc-corrected")
    return data


@pytest.fixture
def initial(tmp_path):
    path = tmp_path / "initial.safetensors"
    save_weights(path, trained("fast_unet"), {"title": "Weights to begin with", "window": 16})
    return path


@pytest.fixture
def handed_over(monkeypatch):
    """What the command hands to the training loop, which is not run."""
    calls = []

    def record(settings, sampler, output, **others):
        calls.append({"settings": settings} | others)
        return output / "weights.safetensors"

    monkeypatch.setattr(command, "train", record)
    return calls


def labels_used(data):
    return {subject.name: subject.labels and subject.labels.name for subject in find_subjects(data)}


class TestWhichMaps:
    def test_corrected_maps_are_taken_and_what_the_program_made_is_no_reference(self, corrected):
        assert labels_used(corrected) == {
            "sub-01": "sub-01_space-T1w_desc-corrected_dseg.nii.gz",
            "sub-02": "sub-02_space-T1w_desc-corrected_dseg.nii.gz",
            "sub-03": None,
        }
        (note,) = find_subjects(corrected)[2].notes
        assert "InfantBrainSeg made it and no person corrected it; save a corrected one in derivatives" in note

    def test_a_corrected_map_comes_before_that_of_another_program(self, corrected):
        write_map(corrected, "another", "sub-01")
        assert labels_used(corrected)["sub-01"] == "sub-01_space-T1w_desc-corrected_dseg.nii.gz"

    def test_a_sidecar_that_says_manual_makes_a_map_of_the_program_a_reference(self, corrected):
        sidecar = corrected / "derivatives/infantbrainseg/sub-03/anat/sub-03_space-T1w_dseg.json"
        sidecar.write_text('{"Manual": false}')
        assert labels_used(corrected)["sub-03"] is None
        sidecar.write_text('{"Manual": true}')
        assert labels_used(corrected)["sub-03"] == "sub-03_space-T1w_dseg.nii.gz"

    def test_a_segmentation_as_slicer_saves_it_is_read_by_the_names_of_its_segments(self, corrected):
        path = corrected / "derivatives/corrected/sub-03/anat/sub-03_desc-corrected_dseg.seg.nrrd"
        path.parent.mkdir(parents=True)
        values = np.array([0, 2, 1, 3], np.uint8)[slabs()]
        image = sitk.GetImageFromArray(values.T)  # SimpleITK's arrays begin with the last axis
        image.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel().tolist())  # its space is left-posterior-superior
        for at, (name, value) in enumerate(zip(SEGMENTS, (2, 1, 3), strict=True)):
            image.SetMetaData(f"Segment{at}_Name", name)
            image.SetMetaData(f"Segment{at}_LabelValue", str(value))
        sitk.WriteImage(image, str(path))
        as_nifti, _, from_slicer = find_subjects(corrected)
        assert from_slicer.labels == path
        assert np.array_equal(load_pair(from_slicer).labels, load_pair(as_nifti).labels)


class TestCommand:
    def test_network_window_and_the_settings_of_fine_tuning_follow_the_initial_weights(
        self, corrected, initial, tmp_path, handed_over, capsys
    ):
        arguments = ["--data", str(corrected), "--output", str(tmp_path / "run"), "--initial-weights", str(initial)]
        command.main(arguments)
        command.main([*arguments, "--iterations", "8", "--keep-initial", "0.25", "--schedule", "constant"])
        first, second = (call["settings"] for call in handed_over)
        assert (first.network, first.window, first.optimizer, first.batch) == ("fast_unet", 16, "adamw", 2)
        assert first.learning_rate == pytest.approx(3e-4)
        assert (first.schedule, first.iterations, first.warmup, first.keep_initial) == ("cosine", 100, 10, 0.75)
        assert (second.schedule, second.iterations, second.warmup, second.keep_initial) == ("constant", 8, 2, 0.25)
        assert "Skipped, because they have no label map: sub-03" in capsys.readouterr().out

    def test_the_card_says_what_was_fine_tuned_on_how_many_subjects_and_the_share_kept(
        self, corrected, initial, tmp_path
    ):
        arguments = ["--data", str(corrected), "--output", str(tmp_path / "run"), "--initial-weights", str(initial)]
        assert run_command(command.main, [*arguments, "--iterations", "2", "--device", "cpu"]) == 0
        _, card = load_weights(tmp_path / "run" / "weights.safetensors")
        assert card["fine_tuned_from"] == {
            "file": "initial.safetensors",
            "title": "Weights to begin with",
            "sha256": hashlib.sha256(initial.read_bytes()).hexdigest(),
            "subjects": 2,
            "share_kept": 0.75,
        }
        assert card["training_data"]["subjects"] == ["sub-01", "sub-02"]
        assert card["weights"] == "those of the last iteration, and the initial ones with a share of 0.75"
        assert card["continued_from"]["title"] == "Weights to begin with"

    def test_a_run_does_not_go_on_from_other_initial_weights(self, corrected, initial, tmp_path, capsys):
        arguments = ["--data", str(corrected), "--output", str(tmp_path / "run"), "--initial-weights", str(initial)]
        quick = ["--iterations", "1", "--device", "cpu"]
        assert run_command(command.main, [*arguments, *quick]) == 0
        capsys.readouterr()
        save_weights(initial, trained("fast_unet", seed=4), {"title": "Weights to begin with", "window": 16})
        assert run_command(command.main, [*arguments, *quick, "--resume"]) == 1
        stderr = capsys.readouterr().err
        assert "was made otherwise" in stderr
        assert "sha256" in stderr

    def test_an_ensemble_trains_on_crops_as_its_members_do(self, corrected, initial, tmp_path):
        save_weights(initial, Ensemble([trained("fast_unet"), trained("fast_unet", seed=4)]), {"window": 16})
        arguments = ["--data", str(corrected), "--output", str(tmp_path / "run"), "--initial-weights", str(initial)]
        assert run_command(command.main, [*arguments, "--iterations", "1", "--device", "cpu"]) == 0
        assert load_weights(tmp_path / "run" / "weights.safetensors")[1]["members"] == 2

    def test_a_share_of_no_weights_is_wrong_usage(self, corrected, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            command.main(["--data", str(corrected), "--output", str(tmp_path / "run"), "--keep-initial", "0.5"])
        assert ended.value.code == 2
        assert "--keep-initial is a share of the weights of --initial-weights" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            (["--network", "model5"], "--network is model5 and .* holds weights of fast_unet; expected one network"),
            (["--keep-initial", "1"], "--keep-initial is 1.0; expected 0 or more and below 1"),
            (["--window", "20"], "--window is 20; fast_unet takes multiples of 8"),
        ],
    )
    def test_what_does_not_fit_the_weights_is_told_in_a_sentence(
        self, corrected, initial, tmp_path, capsys, wrong, sentence
    ):
        arguments = ["--data", str(corrected), "--output", str(tmp_path / "run"), "--initial-weights", str(initial)]
        assert run_command(command.main, [*arguments, *wrong]) == 1
        stderr = capsys.readouterr().err
        assert re.search(sentence, stderr)

    def test_maps_that_nobody_corrected_are_refused(self, corrected, initial, tmp_path, capsys):
        for path in (corrected / "derivatives" / "corrected").rglob("*.nii.gz"):
            path.unlink()
        arguments = ["--data", str(corrected), "--output", str(tmp_path / "run"), "--initial-weights", str(initial)]
        assert run_command(command.main, arguments) == 1
        said = capsys.readouterr()
        assert "No subject in" in said.err
        assert "no person corrected it" in said.out
