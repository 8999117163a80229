"""The recipe of the default weights: what trains and what tests, stages that go on, a card that tells all."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

from model_core import make_weights
from model_core.confidence.calibration import calibration_of
from model_core.default_weights.held_out import summarise
from model_core.default_weights.recipe import (
    ANATOMIES,
    CUBIC_STAGES,
    HELD_OUT,
    RecipeStage,
    anatomy_files,
    stage_settings,
)
from model_core.system.command_line import run_command
from model_core.volumes import write_volume
from model_core.weights import load_weights

TINY_STAGES = (
    RecipeStage(16, 2, 200, 1.0, only_afresh=True),
    RecipeStage(20, 2, 100, 0.7, output_dropout=0.1, falls=True),
)
TINY_WHOLE_BRAIN_STAGES = (RecipeStage(16, 2, 200, 1.0), RecipeStage(24, 1, 100, 0.7, falls=True))


def test_no_held_out_anatomy_is_trained_on():
    training, held_out = anatomy_files()
    assert [path.name for path in held_out] == [f"{name}.nii.gz" for name in HELD_OUT]
    assert len(training) == 12
    assert not set(training) & set(held_out)
    assert (ANATOMIES / "LICENSE.txt").read_text().strip().startswith("Apache License")


def test_small_windows_come_first_and_the_rate_falls_last():
    windows = [stage.window for stage in CUBIC_STAGES]
    assert windows == sorted(windows) == [16, 24, 32]
    settings = stage_settings("nonlocal_unet", 0.01, "cpu")
    assert [entry.iterations for entry in settings] == [100, 400, 60]
    assert settings[-1].learning_rate_at(settings[-1].iterations - 1) < 0.01 * settings[-1].learning_rate


def test_a_run_that_goes_on_leaves_out_the_smallest_windows_and_meets_other_pairs():
    afresh = stage_settings("nonlocal_unet", 0.01, "cpu")
    once, twice = (stage_settings("nonlocal_unet", 0.01, "cpu", continues=start) for start in ("0a1b2c3d", "0a1b2dff"))
    assert [entry.window for entry in once] == [24, 32]
    assert once[0].seed == 3 * 0x0A1B2C + 1
    assert len({entry.seed for entry in [*afresh, *once, *twice]}) == 7


def test_dual_aggregation_takes_its_own_papers_rate():
    assert stage_settings("dual_aggregation", 1, "cpu", continues="0a1b2c3d")[0].learning_rate == pytest.approx(3.3e-3)


def test_the_spread_is_over_anatomies_not_over_draws():
    def record(anatomy, dice):
        row = {"dice": dice, "mhd_3d": 1.0, "asd_mm": 0.5, "hd95_mm": None}
        return {"draw": "", "anatomy": anatomy, "tissues": dict.fromkeys(("csf", "gm", "wm"), row)}

    summary = summarise([record("a", 0.5), record("a", 0.7), record("b", 0.8), record("b", 1.0)])
    # Means .6 and .9 of the two anatomies: .75 ± .3/√2; the two draws of one: ± .2/√2.
    assert summary["all"]["gm"]["dice"] == pytest.approx(0.75)
    assert summary["all"]["gm"]["dice_sd"] == pytest.approx(0.3 / np.sqrt(2), abs=1e-4)
    assert summary["a"]["gm"]["dice_sd"] == pytest.approx(0.2 / np.sqrt(2), abs=1e-4)
    assert summary["all"]["wm"]["hd95_mm"] is None
    alone = summarise([record("a", 0.5)])["a"]["gm"]
    assert (alone["dice"], alone["dice_sd"]) == (0.5, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where runs of a tiny recipe go: three ball-shaped anatomies, one held out, and two short stages."""
    folder = tmp_path_factory.mktemp("weights")
    distance = np.sqrt(((np.indices((32, 32, 32)) - 16) ** 2).sum(0))
    paths = []
    for name, radius in (("one", 10), ("two", 11), ("other", 12)):
        values = np.select([distance <= 3, distance <= radius - 4, distance <= radius], [4, 2, 3], 0)
        paths.append(folder / f"{name}.nii.gz")
        write_volume(paths[-1], values.astype(np.uint8), np.eye(4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_core.synthesis.deformation.PARENCHYMA_ML", (5.0, 6.0))
        patch.setattr("model_core.default_weights.recipe.CUBIC_STAGES", TINY_STAGES)
        patch.setattr("model_core.default_weights.recipe.RECIPES", {"fast_unet": TINY_WHOLE_BRAIN_STAGES})
        patch.setattr("model_core.synthesis.sampler.FIRST_STOCK", 2)
        patch.setattr(make_weights, "anatomy_files", lambda: (paths[:2], paths[2:]))
        yield folder


def command(output, *more: str) -> int:
    arguments = ["--network", "model2", "--output", str(output), "--scale", "0.01", "--score-step", "20"]
    arguments += ["--calibration-pairs", "0"]
    return run_command(make_weights.main, [*arguments, "--draws", "1", "--device", "cpu", *more])


FAST = ("--network", "fast_unet", "--score-step", "16", "--members", "2", "--calibration-pairs", "4")


@pytest.fixture(scope="module")
def made(folder):
    """A run of one network that began afresh."""
    assert command(folder / "made", "--draws", "2") == 0
    return folder / "made"


@pytest.fixture(scope="module")
def gone_on(folder, made):
    """A run that began with its weights."""
    assert command(folder / "on", "--initial-weights", str(made / "weights.safetensors")) == 0
    return folder / "on"


@pytest.fixture(scope="module")
def ensemble(folder):
    """A run of two members."""
    assert command(folder / "ensemble", *FAST) == 0
    return folder / "ensemble"


def test_a_run_trains_scores_and_tells_all_in_its_card(made):
    network, card = load_weights(made / "weights.safetensors")
    assert network.name == "model2"
    assert card["window"] == 20
    assert [stage["iterations"] for stage in card["recipe"]["stages"]] == [2, 1]
    assert card["iterations"] == 3
    assert card["started_from"] == "random weights"
    assert card["training_data"]["anatomies"] == ["one.nii.gz", "two.nii.gz"]
    assert card["training_data"]["licence"] == "Apache-2.0"
    assert list(card["held_out_scores"]["scores"]) == ["other"]
    scores = json.loads((made / "scores.json").read_text())
    assert [record["draw"] for record in scores["records"]] == ["other draw 1", "other draw 2"]
    dice = [record["tissues"]["gm"]["dice"] for record in scores["records"]]
    assert card["held_out_scores"]["mean"]["gm"]["dice"] == pytest.approx(np.mean(dice), abs=1e-4)
    page = (made / "WEIGHTS.md").read_text()
    for part in ("Not a medical device", "Apache-2.0", "| 1 | 16³ | 2 | 2 |", "other", "No score on real"):
        assert part in page


def test_the_same_command_again_trains_and_scores_nothing(made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made, tmp_path / "made")

    def must_not_run(*arguments, **options):
        raise AssertionError("trained or scored again")

    monkeypatch.setattr(make_weights, "train", must_not_run)
    monkeypatch.setattr("model_core.default_weights.held_out._score", must_not_run)
    assert command(tmp_path / "made", "--draws", "2") == 0, capsys.readouterr().err


def test_a_run_that_begins_with_weights_says_with_which(gone_on):
    card = load_weights(gone_on / "weights.safetensors")[1]
    assert [stage["window"] for stage in card["recipe"]["stages"]] == [20]
    assert card["started_from"]["iterations"] == 3
    assert "random weights" in (gone_on / "WEIGHTS.md").read_text()


def test_a_card_tells_of_all_trainings_back_to_the_first(gone_on, tmp_path):
    assert command(tmp_path / "three", "--initial-weights", str(gone_on / "weights.safetensors")) == 0
    page = (tmp_path / "three" / "WEIGHTS.md").read_text()
    assert [int(count) for count in re.findall(r"\((\d) iterations, 20\d\d-", page)] == [1, 3]  # two's, then one's
    assert page.count("It began with *Weights of model2, trained on synthetic six-month pairs*") == 2
    assert page.count("trained on synthetic T1/T2 pairs, made while training.") == 2
    assert "It began with random weights." in page
    assert "| 20³ | 2 | 1 | 0.0007 |" in page
    assert "{" not in page


def test_members_of_an_ensemble_meet_the_same_pairs_and_differ_by_their_seeds(ensemble):
    network, card = load_weights(ensemble / "weights.safetensors")
    assert card["members"] == len(network.members) == 2
    assert card["parameters"] == 2 * 1_886_244
    seeds = [stage["seed"] for stage in card["recipe"]["stages"]]
    assert seeds == [2026, 2027, 3026, 3027]
    assert [stage["member"] for stage in card["recipe"]["stages"]] == [1, 1, 2, 2]
    first, second = (member.state_dict()["stem.conv.weight"] for member in network.members)
    assert not torch.equal(first, second)
    assert 0 <= card["half_precision_agreement"] <= 1
    one, other = (settings.seed for settings in (member.stages[0] for member in members_of(ensemble)))
    assert (one, other) == (2026, 3026)
    assert {tuple(member.pairs_seeds) for member in members_of(ensemble)} == {(2026, 2027)}


def test_an_ensemble_learns_what_dice_to_expect_and_says_how_well_on_held_out_anatomies(ensemble):
    card = load_weights(ensemble / "weights.safetensors")[1]
    records, checks = (
        json.loads((ensemble / name).read_text())["records"] for name in ("calibration.json", "calibration-check.json")
    )
    assert [record["anatomy"] for record in records] == ["one", "two", "one", "two"]
    assert [record["anatomy"] for record in checks] == ["other", "other"]
    assert len({json.dumps(record["dice"]) for record in [*records, *checks]}) == 6
    calibration = calibration_of(card)
    for tissue in ("csf", "gm", "wm"):
        expected = [calibration.curves[tissue].expect(record["agreement"][tissue]).middle for record in checks]
        true = [record["dice"][tissue] for record in checks]
        error = np.abs(np.subtract(expected, true)).mean()
        assert card["expected_dice"]["check"]["tissues"][tissue]["error"] == pytest.approx(error, abs=1e-3)
    assert (ensemble / "calibration.png").read_bytes().startswith(b"\x89PNG")
    page = (ensemble / "WEIGHTS.md").read_text()
    assert "Expected Dice of a map without a reference" in page
    assert "learned on 4 synthetic pairs" in page


def test_the_expected_dice_can_be_left_out(made):
    assert calibration_of(load_weights(made / "weights.safetensors")[1]) is None
    assert not (made / "calibration.png").exists()


def members_of(output):
    options = make_weights._parse(["--output", str(output), "--members", "2", "--scale", "0.01", "--device", "cpu"])
    return make_weights._members(options)


def test_an_ensemble_goes_on_member_by_member(ensemble, tmp_path, capsys):
    begin = ("--initial-weights", str(ensemble / "weights.safetensors"))
    assert command(tmp_path / "on", *FAST, *begin) == 0
    card = load_weights(tmp_path / "on" / "weights.safetensors")[1]
    assert len(card["recipe"]["stages"]) == 4
    assert card["started_from"]["recipe"]["stages"][0]["seed"] == 2026
    assert command(tmp_path / "three", *FAST, "--members", "3", *begin) == 1
    assert "holds 2 members and 3 are to be trained" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--scale", "0"], ["--initial-weights", "missing.safetensors"]])
def test_what_is_wrong_is_said_in_one_line(folder, capsys, wrong):
    assert command(folder / "wrong", *wrong) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (folder / "wrong" / "weights.safetensors").exists()
