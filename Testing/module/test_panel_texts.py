"""What the panel proposes, remembers and writes: pairs of scans, times, scores, the model card."""

import math

import numpy as np
import pytest

from model_core.metric_table import METRIC

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]


@pytest.fixture(autouse=True)
def _module(open_panel):
    """Make InfantBrainSegLib importable, by the module as it is loaded."""
    open_panel("/nowhere/python")


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["sub-01_T1w", "sub-01_T2w"], ("sub-01_T1w", "sub-01_T2w")),
        (["T2", "T1"], ("T1", "T2")),
        (["subject-1-T1", "subject-1-T2", "subject-1-label"], ("subject-1-T1", "subject-1-T2")),
        (["3: MPRAGE sag", "4: T2 SPACE"], ("3: MPRAGE sag", "4: T2 SPACE")),
        (["T1", "scan"], ("T1", "scan")),  # the only other volume, on the same grid
        (["T1", "scan", "mask"], None),
        (["T1", "scan (coarse)"], None),
        (["T1", "T2", "T2 (coarse)"], ("T1", "T2")),  # of two T2 the one on T1's grid
        (["T1", "T1 repeated", "T2"], None),
        (["part1", "st2x"], None),
        (["T1 minus T2", "other"], None),
        (["T12", "t21"], None),
        (["T1"], None),
        ([], None),
    ],
)
def test_a_pair_is_proposed_only_where_it_is_obvious(slicer, names, pair):
    from InfantBrainSegLib.proposals import propose_pair

    for name in names:
        side = 10 if "coarse" in name else 20
        slicer.util.addVolumeFromArray(np.ones((side, side, side)), name=name)
    proposed = propose_pair()
    assert (proposed and tuple(node.GetName() for node in proposed)) == pair


def test_label_maps_and_colors_are_no_scans(slicer):
    from InfantBrainSegLib.proposals import propose_pair

    slicer.util.addVolumeFromArray(np.ones((9, 9, 9)), name="T1")
    slicer.util.addVolumeFromArray(np.ones((9, 9, 9), np.uint8), None, "T2 labels", "vtkMRMLLabelMapVolumeNode")
    slicer.util.addVolumeFromArray(np.ones((9, 9, 9, 3)), None, "T2 colors", "vtkMRMLVectorVolumeNode")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T2 without image")
    assert propose_pair() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"), (25.4, "25 s"), (89.4, "89 s"), (90, "1 min 30 s"), (150, "2 min 30 s"), (358, "6 min"),
        (600, "10 min"), (5340, "89 min"), (6600, "1 h 50 min"), (7200, "2 h 0 min"),
    ],
)  # fmt: skip
def test_durations_are_told_as_people_tell_them(seconds, text):
    from InfantBrainSegLib.step_choice import format_seconds

    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("dice", 0.88284, "0.883"), ("mhd_3d", 0.7177, "0.72"), ("asd_mm", 0.2109, "0.21"), ("hd95_mm", 2.0, "2.00"),
        ("volume_ml", 436.32, "436.3"), ("volume_difference_percent", 12.885, "+12.9"),
        ("volume_difference_percent", -25.6, "-25.6"), ("dice", None, "–"), ("hd95_mm", "inf", "∞"),
        ("volume_ml", 0.0, "0.0"),
    ],
)  # fmt: skip
def test_scores_are_rounded_for_the_panel(key, value, text):
    from InfantBrainSegLib.score_table import format_score

    assert format_score(key, value) == text


def test_the_table_node_keeps_full_values_units_and_what_is_not_defined(slicer):
    from InfantBrainSegLib.score_table import fill_score_table, new_score_table

    rows = [{"tissue": tissue, **dict.fromkeys(METRIC, 1 / 3)} for tissue in ("csf", "gm", "wm")]
    rows[0] |= {"dice": None, "asd_mm": "inf"}
    node = new_score_table("Scores")
    for _ in range(2):  # filled again it holds no more
        fill_score_table(node, rows, "A against B")
    table = node.GetTable()
    assert (node.GetNumberOfColumns(), node.GetNumberOfRows()) == (1 + len(METRIC), 3)
    assert math.isnan(table.GetColumnByName("Dice").GetValue(0))
    assert table.GetColumnByName("ASD").GetValue(0) == math.inf
    assert table.GetColumnByName("Dice").GetValue(1) == 1 / 3
    assert [node.GetColumnUnitLabel(name) for name in ("Dice", "ASD", "Volume", "Volume difference")] == [
        "", "mm", "ml", "%",
    ]  # fmt: skip
    assert node.GetDescription() == "A against B"
    assert node.GetLocked()


def test_times_are_remembered_by_device_and_network():
    from InfantBrainSegLib.settings import Timings, write_setting

    timings = Timings()
    assert timings.seconds_per_window("CPU, 2 cores", "nonlocal_unet") is None
    timings.record("CPU, 2 cores", "nonlocal_unet", 0.25)
    timings.record("NVIDIA X", "nonlocal_unet", 0.01)
    timings.record("CPU, 2 cores", "nonlocal_unet", 0.2)
    assert Timings().seconds_per_window("CPU, 2 cores", "nonlocal_unet") == 0.2
    assert Timings().seconds_per_window("NVIDIA X", "nonlocal_unet") == 0.01
    assert Timings().seconds_per_window("NVIDIA X", "dual_aggregation") is None
    for broken in ("no JSON", "[1]", '{"CPU, 2 cores|nonlocal_unet": "fast"}'):
        write_setting("SecondsPerWindow", broken)
        assert timings.seconds_per_window("CPU, 2 cores", "nonlocal_unet") is None


def test_progress_is_told_on_the_bar_and_in_one_word():
    from InfantBrainSegLib.jobs import JobProgress
    from InfantBrainSegLib.run_controls import describe_progress

    assert describe_progress(JobProgress()) == ""
    running = JobProgress("segmenting", 1234, 5678, 150.0, 8, 16)
    assert describe_progress(running) == "1,234 of 5,678 windows · 2 min 30 s left"
    assert str(running) == "segmenting: 1234 of 5678 windows, step 8, 150 s left"
    assert str(JobProgress("aligning")) == "aligning"


def test_the_card_says_what_users_ask_and_trusts_nothing():
    from InfantBrainSegLib.card_text import describe_card

    subjects = {
        name: {tissue: {"dice": dice} for tissue in ("csf", "gm", "wm")} for name, dice in (("a", 0.8), ("b", 0.9))
    }
    text = describe_card(
        {
            "network": "nonlocal_unet",
            "parameters": 1234567,
            "window": 32,
            "training_data": {"description": "brains & <b>more</b>", "licence": "CC-BY-4.0"},
            "held_out_scores": {"overlap_step": 8, "scores": subjects},
            "intended_use": "research",
            "limits": "none known",
            "seed": 3,
        }
    )
    for part in (
        "<b>Network:</b> Non-local U-Net, 1,234,567 parameters, windows of 32³ voxels",
        "brains &amp; &lt;b&gt;more&lt;/b&gt;",
        "<b>Licence of the data:</b> CC-BY-4.0",
        "Dice CSF 0.850, Gray matter 0.850, White matter 0.850 (mean of 2 held-out subjects, step 8)",
        "<b>Limits:</b> none known",
        "<b>Seed:</b> 3",
    ):
        assert part in text


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"network": "own <network>", "training_data": ["a", "b"], "held_out_scores": "good"},
        {"held_out_scores": {"scores": {"a": {"csf": {}}}}, "parameters": "many"},
        {"validation": {"dice": {"CSF": 0.9}}, "limits": {"age": "6-8 months"}},
    ],
)
def test_a_strange_card_is_still_described(card):
    from InfantBrainSegLib.card_text import describe_card

    text = describe_card(card)
    assert "<b>Scores:</b>" in text
    assert "<network>" not in text
