"""The snippet for Slicer's Python console in docs/scripting.md runs as it stands."""

import re
from pathlib import Path

import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

GUIDE = Path(__file__).resolve().parents[2] / "docs/scripting.md"


def test_the_console_snippet_runs_and_scores_the_sample_subject(open_panel, slicer, capsys):
    section = GUIDE.read_text(encoding="utf-8").split("## Slicer's Python console")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    assert "overlapStep=16" in code
    open_panel()
    from InfantBrainSegLib.sample_data import register_sample_data

    register_sample_data()  # which Slicer does when it has started
    names = {"slicer": slicer}
    exec(code.replace("overlapStep=16", "overlapStep=32"), names)  # an eighth of the time
    printed = capsys.readouterr().out
    dice = [float(number) for number in re.search(r"\[([\d. ]+)\]", printed).group(1).split()]
    assert len(dice) == 3
    assert all(0.5 < value < 1 for value in dice)
    assert names["segmentation"].GetSegmentation().GetNumberOfSegments() == 3
    assert names["job"].wait(20)
    assert names["job"].state.value == "cancelled"
