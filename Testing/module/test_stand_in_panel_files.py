"""The check of .ui files finds what Slicer would not understand."""

from pathlib import Path

import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

from Testing.slicer_stand_in import application, ui_check

pytest_plugins = ["Testing.slicer_stand_in.fixtures"]
UI = Path(__file__).parent / "data" / "bench_demo" / "Resources" / "UI" / "BenchDemo.ui"


def test_a_sound_panel_file_has_no_findings():
    assert ui_check.findings(UI) == []


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        ('class="ctkSliderWidget"', 'class="ctkSlidingWidget"', "no class ctkSlidingWidget"),
        ('<property name="addEnabled">', '<property name="addable">', "no property addable"),
        ("<signal>mrmlSceneChanged(vtkMRMLScene*)", "<signal>sceneChanged(vtkMRMLScene*)", "no signal sceneChanged"),
        ("<slot>setMRMLScene(vtkMRMLScene*)", "<slot>setScene(vtkMRMLScene*)", "no slot setScene"),
        ("<receiver>inputSelector", "<receiver>nobody", "no object nobody"),
        (
            "<class>qMRMLTableView</class><extends>QTableView",
            "<class>qMRMLTableView</class><extends>QComboBox",
            "does not extend",
        ),
        ('class="QLabel" name="statusLabel">', 'class="QLabel" name="inputLabel">', "used 2 times"),
    ],
)
def test_what_slicer_would_not_understand_in_a_panel_file_is_found(tmp_path, before, after, finding):
    text = UI.read_text()
    assert before in text
    broken = tmp_path / "Broken.ui"
    broken.write_text(text.replace(before, after))
    assert any(finding in line for line in ui_check.findings(broken))


def test_a_parameter_on_a_widget_without_connector_is_found(tmp_path):
    parameter = '<property name="SlicerParameterName" stdset="0"><string>names</string></property>'
    broken = tmp_path / "Broken.ui"
    broken.write_text(UI.read_text().replace('name="progressBar">', f'name="progressBar">{parameter}'))
    assert any("no parameter can be connected to a QProgressBar" in line for line in ui_check.findings(broken))
    assert ui_check.main([str(broken)]) == 1
    assert ui_check.main([str(UI)]) == 0


def test_a_broken_panel_file_is_not_loaded(stand_in, tmp_path):
    broken = tmp_path / "Broken.ui"
    broken.write_text(UI.read_text().replace('<property name="addEnabled">', '<property name="addable">'))
    with pytest.raises(RuntimeError, match="addable"):
        application.slicer.util.loadUI(str(broken))
