"""What a user sees without scrolling, on the sizes that Slicer's widgets have; what folds and unfolds by itself."""

import pytest
from pretend_worker import progress, result_of

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

WHOLE_SCREEN, SMALL_SCREEN = (1920, 1080), (1366, 768)
SHOWN_IN_SLICER = 765  # pixels of the module panel on the whole screen with Data Probe unfolded
FOR_OUR_PANEL = 720
SECTIONS = ("inputs", "model", "settings", "advanced", "results", "batch")
FIRST_RUN = (
    "t1Selector", "t2Selector", "maskSelector", "referenceSelector", "rawCheckBox", "alignT2CheckBox", "modelSelector",
    "cardLabel", "stepRow4RadioButton", "deviceComboBox", "segmentButton", "statusLabel", "resultsCollapsibleButton",
    "batchCollapsibleButton",
)  # fmt: skip
AFTER_IT = ("stepRow2RadioButton", "segmentButton", "outputSelector", "show3DButton", "scoreTable", "warningsLabel",
            "scoreLabel", "scoreButton", "disagreementCheckBox", "uncertaintyCheckBox", "tableButton",
            "exportButton", "batchCollapsibleButton")  # fmt: skip


@pytest.fixture
def opened(stand_in, open_panel, pretend, label_file):
    opened = open_panel(pretend(segment=[progress(), {"sleep": 0.5}, *result_of(label_file)]))
    opened.wait_until_ready()
    stand_in.show_window(size=WHOLE_SCREEN)
    return opened


def section(opened, name):
    return getattr(opened.ui, f"{name}CollapsibleButton")


def settle(opened):
    opened.stand_in.pump(seconds=0.1)


def height(opened):
    """Return how many pixels the panel needs at the width that it has."""
    settle(opened)
    widget = opened.ui.segmentButton.parent()
    return widget.layout().heightForWidth(widget.width)


def is_seen(opened, name):
    """Whether a widget lies within the part of the module panel that is shown, scrolled to its top."""
    import qt

    scroll = opened.stand_in.window._state.panel.scroll
    widget = getattr(opened.ui, name)
    top = widget.mapTo(scroll.widget(), qt.QPoint(0, 0)).y()
    return widget.visible and top + widget.height <= scroll.viewport().height()


def test_the_bench_shows_as_much_of_a_panel_as_slicer(opened):
    assert abs(opened.stand_in.window._state.panel.scroll.viewport().height() - SHOWN_IN_SLICER) <= 2


def test_the_widgets_are_as_high_as_in_slicer(opened):
    ui, folded = opened.ui, section(opened, "advanced")
    settle(opened)
    measured = {
        "t1Selector": 25,
        "modelSelector": 25,
        "detailsButton": 25,
        "rawCheckBox": 23,
        "stepRow2RadioButton": 23,
    }
    assert {name: getattr(ui, name).height for name in measured} == measured
    assert ui.stepHeader.height == 17
    assert ui.t1Selector.geometry.y() == 28  # below the head of its section
    assert ui.t2Selector.geometry.y() - ui.t1Selector.geometry.y() == 29
    assert ui.stepRow3RadioButton.geometry.y() - ui.stepRow2RadioButton.geometry.y() == 25
    assert folded.height == 24
    folded.collapsed, folded.collapsedHeight = False, 14  # as it is unless the panel's file says otherwise
    folded.collapsed = True
    settle(opened)
    assert folded.height == 38
    folded.collapsed = False
    section(opened, "results").collapsed = False
    settle(opened)
    assert (ui.ageSpinBox.height, ui.opacitySlider.height) == (26, 26)


def test_all_that_a_first_run_needs_is_seen_without_scrolling(opened):
    opened.add_pair()
    settle(opened)
    assert [name for name in FIRST_RUN if not is_seen(opened, name)] == []
    assert height(opened) <= FOR_OUR_PANEL
    assert [name for name in SECTIONS if section(opened, name).collapsed] == ["advanced", "results", "batch"]
    opened.ui.segmentButton.click()
    settle(opened)
    assert [name for name in ("progressBar", "keepButton", "statusLabel") if not is_seen(opened, name)] == []


def test_a_run_folds_the_inputs_and_unfolds_its_results_which_are_all_seen(opened):
    opened.add_pair()
    opened.run()
    opened.panel.results.show_warnings(["The volumes are small for 7 months; look at the segmentation."] * 2)
    opened.ui.scoreLabel.text = "A T1 segmentation against Reference, on one grid. Choose a tissue to see where. " * 2
    settle(opened)
    assert [name for name in SECTIONS if section(opened, name).collapsed] == ["inputs", "advanced", "batch"]
    assert [name for name in AFTER_IT if not is_seen(opened, name)] == []
    assert height(opened) <= FOR_OUR_PANEL


def test_what_the_user_folds_stays_folded_until_the_next_run_ends(opened):
    opened.add_pair()
    opened.run()
    section(opened, "inputs").collapsed = False
    section(opened, "results").collapsed = True
    opened.panel.refresh()
    opened.stand_in.leave_module()
    opened.stand_in.open_module("InfantBrainSeg")
    assert not section(opened, "inputs").collapsed
    opened.run()
    assert section(opened, "inputs").collapsed
    assert not section(opened, "results").collapsed


def test_a_closed_scene_brings_the_inputs_back(opened):
    opened.add_pair()
    opened.run()
    opened.stand_in.close_scene()
    assert [name for name in SECTIONS if section(opened, name).collapsed] == ["advanced", "results", "batch"]


def test_a_scene_with_a_result_shows_it(opened, slicer, tmp_path):
    opened.panel.parameters.output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    opened.stand_in.close_scene()
    slicer.util.loadScene(str(path))
    assert opened.panel.parameters.output.GetName() == "Result"
    assert not section(opened, "results").collapsed


def test_what_is_told_while_the_results_are_folded_does_not_stand_outside_of_them(opened):
    section(opened, "results").collapsed = True
    opened.panel.results.show_warnings(["Look at it."])
    settle(opened)
    assert not opened.ui.warningsLabel.visible
    section(opened, "results").collapsed = False
    settle(opened)
    assert opened.ui.warningsLabel.visible


def test_the_card_is_one_line_until_its_details_are_asked_for(opened):
    settle(opened)
    assert opened.ui.cardLabel.text.startswith("Dice: CSF 0.")
    assert opened.ui.cardLabel.height <= 20
    assert not opened.ui.cardBrowser.visible
    opened.ui.detailsButton.click()
    settle(opened)
    assert opened.ui.cardBrowser.visible
    assert "Training data:" in opened.ui.cardBrowser.toPlainText()


@pytest.mark.parametrize("unfolded", SECTIONS)
def test_nothing_is_cut_on_a_small_screen_whatever_is_unfolded(opened, unfolded):
    import qt

    opened.add_pair()
    section(opened, unfolded).collapsed = False
    opened.stand_in.show_window(size=SMALL_SCREEN)
    settle(opened)
    scroll = opened.stand_in.window._state.panel.scroll
    assert scroll.verticalScrollBar().maximum() >= height(opened) + 42 - scroll.viewport().height()
    assert opened.ui.segmentButton.parent().minimumSizeHint.width() <= 420
    for widget in section(opened, unfolded).findChildren(qt.QWidget):
        if widget.visible and widget.parent() == section(opened, unfolded):
            needed = (
                widget.heightForWidth(widget.width) if widget.hasHeightForWidth() else widget.minimumSizeHint.height()
            )
            assert widget.height >= needed, widget.name


def test_the_rows_of_the_score_table_fit(opened):
    section(opened, "results").collapsed = False
    settle(opened)
    table = opened.ui.scoreTable
    assert sum(table.rowHeight(row) for row in range(3)) == table.viewport().height
    assert table.verticalHeader().defaultSectionSize >= 20
