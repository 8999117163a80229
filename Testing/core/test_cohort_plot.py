"""Where a cohort's plot puts volumes, ages and medians."""

import pytest

from model_core.cohorts.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plan_plot, ticks
from model_core.cohorts.rows import COMPLETE, Row
from model_core.ratings import BAD


def rows(*ages_and_volumes):
    keys = ("csf", "gm", "wm", "total")
    return [
        Row(f"sub-{at}", COMPLETE, age_months=age, volumes=dict.fromkeys(keys, volume))
        for at, (age, volume) in enumerate(ages_and_volumes)
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3, 4.9, [1, 2, 3, 4]),
        (95, 205, [100, 125, 150, 175, 200]),
        (5.9, 8.1, [6, 6.5, 7, 7.5, 8]),
        (-0.012, 0.012, [-0.01, -0.005, 0, 0.005, 0.01]),
        (380, 1480, [500, 750, 1000, 1250]),
    ],
)
def test_ticks_are_round_numbers_and_no_more_than_five(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_volumes_over_ages_lie_where_a_ruler_puts_them():
    panels = plan_plot(rows((4, 100.0), (6, 150.0), (8, 200.0)))
    assert [panel.title for panel in panels] == ["CSF", "Gray matter", "White matter", "CSF + GM + WM"]
    first, middle, last = panels[1].points
    assert middle.x == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=0.1)
    assert middle.y == pytest.approx((TOP + HEIGHT - BOTTOM) / 2, abs=0.1) == panels[1].median
    # The axes reach 12 % of the range further on both sides, so that the whole is 1.24 of it.
    width = WIDTH - RIGHT - LEFT
    assert (first.x, last.x) == pytest.approx((LEFT + width * 0.12 / 1.24, LEFT + width * 1.12 / 1.24), abs=0.1)
    assert first.y > middle.y > last.y  # more is further up
    assert first.said == "sub-0: 100.0 ml at 4 months"


def test_a_subject_without_an_age_has_a_place_of_its_own():
    panel = plan_plot(rows((4, 100.0), (6, 150.0), (8, 200.0), (None, 120.0)))[0]
    place, text = panel.x_ticks[-1]
    assert text == "no age"
    assert panel.points[-1].x == place > max(point.x for point in panel.points[:3])


def test_few_ages_are_no_axis():
    panel = plan_plot(rows((4, 100.0), (4, 150.0), (6, 200.0)))[0]
    assert (panel.x_ticks, panel.x_title) == ([], "")


def test_what_is_rated_bad_is_no_part_of_the_median_and_has_a_point_only_among_the_others():
    bad = rows((4, 100.0), (6, 150.0), (8, 200.0), (5, 190.0), (7, 900.0))
    bad[3].rating = bad[4].rating = BAD
    panel, same = plan_plot(bad)[0], plan_plot(bad[:3])[0]
    assert panel.median == same.median
    assert [point.name for point in panel.points] == ["sub-0", "sub-1", "sub-2", "sub-3"]
    assert panel.dots == same.dots
    assert panel.by_name["sub-3"].said == "sub-3: 190.0 ml at 5 months, rated bad and left out"


def test_equal_volumes_have_a_panel_and_no_subject_that_counts_has_none():
    assert plan_plot(rows((4, 100.0), (4, 100.0)))[0].points[0].y == pytest.approx((TOP + HEIGHT - BOTTOM) / 2, abs=0.1)
    (only,) = rows((4, 100.0))
    only.rating = BAD
    assert plan_plot([only]) == []
