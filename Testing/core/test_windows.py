"""Where windows lie: the counts of the paper, cover, and grids that nest."""

from itertools import product

import numpy as np
import pytest

from model_core.errors import UserError
from model_core.windows import plan_stages, plan_windows


def starts_by_definition(side, window, step):
    """One axis: 0, step, 2·step, … ≤ S−window, plus S−window if it is not among them."""
    starts = []
    position = 0
    while position <= side - window:
        starts.append(position)
        position += step
    if side - window not in starts:
        starts.append(side - window)
    return starts


@pytest.mark.parametrize(("step", "count"), [(4, 11880), (8, 1920), (16, 378), (32, 80)])
def test_the_paper_s_box_has_the_paper_s_number_of_windows(step, count):
    assert plan_windows((100, 116, 148), 32, step).shape == (count, 3)


def test_windows_of_a_small_volume_are_the_ones_worked_out_by_hand():
    windows = plan_windows((5, 4, 7), 4, 2)
    assert windows.tolist() == [[0, 0, 0], [0, 0, 2], [0, 0, 3], [1, 0, 0], [1, 0, 2], [1, 0, 3]]
    assert np.issubdtype(windows.dtype, np.integer)


@pytest.mark.parametrize("shape", [(32, 32, 32), (33, 47, 64), (41, 32, 90)])
@pytest.mark.parametrize("step", [4, 5, 8, 12, 16, 31, 32])
def test_windows_stand_in_c_order_as_defined(shape, step):
    expected = list(product(*(starts_by_definition(side, 32, step) for side in shape)))
    assert list(map(tuple, plan_windows(shape, 32, step).tolist())) == expected


@pytest.mark.parametrize("window", [8, 12, 13])
def test_every_voxel_is_covered_at_every_step(window):
    shape = (13, 16, 29)
    for step in range(1, window + 1):
        covered = np.zeros(shape, dtype=bool)
        for i, j, k in plan_windows(shape, window, step):
            covered[i : i + window, j : j + window, k : k + window] = True
        assert covered.all(), step


def test_the_stages_of_step_4_are_the_nested_grids_of_32_16_8_and_4():
    stages = plan_stages((100, 116, 148), 32, 4)
    assert [(stage.step, len(stage.starts)) for stage in stages] == [
        (32, 80),
        (16, 378 - 80),
        (8, 1920 - 378),
        (4, 11880 - 1920),
    ]


@pytest.mark.parametrize(
    ("step", "steps"), [(8, [32, 16, 8]), (12, [24, 12]), (5, [20, 10, 5]), (32, [32]), (17, [17])]
)
def test_stages_double_the_step_as_long_as_it_fits_the_window(step, steps):
    assert [stage.step for stage in plan_stages((70, 45, 32), 32, step)] == steps


@pytest.mark.parametrize("shape", [(32, 32, 32), (50, 33, 65), (71, 40, 37)])
@pytest.mark.parametrize(("window", "step"), [(32, 4), (32, 8), (32, 5), (32, 12), (32, 3), (24, 6), (24, 7), (16, 1)])
def test_after_each_stage_exactly_the_windows_of_its_step_have_run_and_none_twice(shape, window, step):
    done = []
    for stage in plan_stages(shape, window, step):
        assert stage.starts.tolist() == sorted(stage.starts.tolist())
        done += map(tuple, stage.starts.tolist())
        assert len(set(done)) == len(done)
        assert set(done) == set(map(tuple, plan_windows(shape, window, stage.step).tolist()))
    assert len(done) == len(plan_windows(shape, window, step))


@pytest.mark.parametrize("step", [0, -8, 33, 4.5])
def test_a_step_that_no_user_can_mean_is_told_in_a_sentence(step):
    with pytest.raises(UserError, match=rf"overlap step is {step} voxels; a whole number from 1 to .* 32"):
        plan_windows((40, 40, 40), 32, step)


@pytest.mark.parametrize("shape", [(31, 40, 40), (40, 40), (40, 40, 0)])
def test_a_volume_smaller_than_a_window_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape is .* at least the window's 32 voxels"):
        plan_windows(shape, 32, 8)
