"""The size of the network grid by arithmetic alone, and what imports without the libraries of the worker."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scan_phantoms import AXIS_ORDERS, grid, scans

from model_core.grid_size import network_shape
from model_core.preprocessing import prepare_pair

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("voxels", "spacing", "shape"),
    [
        ((100, 120, 90), (1, 1, 1), (108, 128, 98)),  # a margin of 4 at either end
        ((100, 120, 90), (1.0005, 0.9995, 1), (108, 128, 98)),  # near enough to 1 mm to be left alone
        ((50, 50, 50), (2, 3, 1.5), (107, 156, 83)),  # 49 steps of 2, 3, 1.5 mm: 99, 148, 74.5 voxels from end to end
        ((100, 101, 100), (0.5, 0.5, 0.8), (58, 59, 88)),  # 50, 50.5 and 80 mm of scan voxels
        ((1, 1, 1), (1, 2, 0.5), (9, 9, 9)),
    ],
)
def test_the_shape_is_the_brain_at_1_mm_with_a_margin(voxels, spacing, shape):
    assert network_shape(voxels, spacing) == shape


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 1.2, 2.0), (0.5, 0.5, 0.9)])
@pytest.mark.parametrize("order", [0, 11, 40])
def test_it_is_the_shape_of_a_prepared_pair(spacing, order):
    shape, affine = grid(AXIS_ORDERS[order], spacing=spacing)
    t1, t2, labels = scans(shape, affine)
    extents = np.array([np.ptp(along) + 1 for along in np.nonzero(labels)])
    canonical = np.argmax(np.abs(affine[:3, :3]), axis=1)  # which scan axis runs along right, anterior, superior
    assert network_shape(extents[canonical], np.array(spacing)[canonical]) == prepare_pair(t1, t2).t1.shape


def test_what_a_panel_imports_needs_neither_torch_nor_nibabel():
    program = (
        "import sys\n"
        "for name in ('torch', 'nibabel', 'scipy', 'SimpleITK', 'safetensors'): sys.modules[name] = None\n"
        "import model_core.errors, model_core.grid_size, model_core.tissues, model_core.windows\n"
        "import model_core.model_card\n"
        "print(model_core.model_card.read_card(model_core.model_card.DEFAULT_WEIGHTS)['network'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fast_unet\n", "")
