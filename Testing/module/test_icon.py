"""The icon that Slicer shows is the drawing in InfantBrainSeg.svg."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

pytest.importorskip("PySide6", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

REPOSITORY = Path(__file__).resolve().parents[2]
ICON = Path("InfantBrainSeg/Resources/Icons/InfantBrainSeg.svg")


def test_the_command_in_the_drawing_renders_the_icon(tmp_path):
    (tmp_path / ICON).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / ICON, tmp_path / ICON)
    command = re.search(r'python -c "(.*?)"', (tmp_path / ICON).read_text(encoding="utf-8"), re.DOTALL).group(1)
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=True)
    rendered, stored = (imread(root / ICON.with_suffix(".png")) for root in (tmp_path, REPOSITORY))
    assert rendered.shape == stored.shape == (128, 128, 4)
    assert np.abs(rendered - stored).mean() < 0.01


def test_the_icon_is_clear_around_the_brain_and_shows_all_three_tissues():
    icon = imread(REPOSITORY / ICON.with_suffix(".png"))
    assert icon[[0, 0, -1, -1], [0, -1, 0, -1], 3].max() == 0
    solid = np.round(icon[icon[..., 3] == 1][:, :3] * 255).astype(int)
    for tissue in ((85, 187, 255), (132, 128, 196), (250, 250, 210)):
        assert (np.abs(solid - tissue).max(axis=1) <= 1).mean() > 0.1
