"""The panel's file against Slicer's names, against its parameters, and its words for every control."""

import ast
import re
import sys
import typing
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

from Testing.slicer_stand_in import ui_check

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

MODULE = Path(__file__).resolve().parents[2] / "InfantBrainSeg"
UI = MODULE / "Resources" / "UI" / "InfantBrainSeg.ui"
SAMPLE_LABELS = MODULE.parent / "Resources" / "SampleSubject" / "labels.nii.gz"
SILENT = {"QWidget", "qMRMLWidget", "Line", "QFrame"}  # containers
CODE = [MODULE / "InfantBrainSeg.py", *(MODULE / "InfantBrainSegLib").glob("*.py")]


def widgets():
    return list(ElementTree.parse(UI).getroot().iter("widget"))


def test_slicer_has_every_name_in_the_panels_file():
    assert ui_check.findings(UI) == []


def test_every_control_says_what_it_is_for():
    silent = [
        widget.get("name")
        for widget in widgets()
        if widget.get("class") not in SILENT and widget.find("property[@name='toolTip']/string") is None
    ]
    assert silent == []


def test_the_parameters_named_in_the_file_exist(open_panel):
    open_panel("/nowhere/python")
    from InfantBrainSegLib.parameters import InfantBrainSegParameterNode

    named = {
        element.text for element in ElementTree.parse(UI).iterfind(".//property[@name='SlicerParameterName']/string")
    }
    assert named <= set(typing.get_type_hints(InfantBrainSegParameterNode))
    assert {"t1", "t2", "output"} <= named
    assert named.isdisjoint({"mask", "reference"})  # of two classes each: no selector can be connected to them


def test_every_widget_that_the_code_asks_for_is_in_the_file():
    names = {widget.get("name") for widget in widgets()}
    asked = {
        name for path in CODE for name in re.findall(r"\bui\.([a-z]\w*[A-Z]\w*)", path.read_text(encoding="utf-8"))
    }
    assert asked - names == set()
    assert "segmentButton" in asked


def test_nothing_that_slicer_lacks_is_imported_into_its_process():
    imports = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    imported = {name for path in CODE for name in imports.findall(path.read_text(encoding="utf-8"))}
    of_slicer = {"slicer", "vtk", "qt", "numpy", "SampleData"}
    ours = {"InfantBrainSegLib", "model_core", "PyTorchUtils"}  # PyTorchUtils only once it is asked for
    assert imported - set(sys.stdlib_module_names) == of_slicer | ours


@pytest.fixture
def sample_data(stand_in, open_panel, slicer):
    """SampleData with the sample subject registered as at the start of Slicer."""
    slicer.modules.sampleDataSources = {}
    open_panel("/nowhere/python")
    import SampleData

    return SampleData


def test_the_sample_subject_is_on_the_sample_data_page(stand_in, sample_data):
    (source,) = sample_data.SampleDataLogic.sampleDataSourcesByCategory("Infant brain")
    assert Path(source.thumbnailFileName).is_file()
    assert all(uri.startswith("file:///") for uri in source.uris)
    nodes = sample_data.press_button("InfantBrain")
    assert [node.GetName() for node in nodes] == ["Infant T1", "Infant T2", "Infant reference"]
    assert nodes[2].IsA("vtkMRMLLabelMapVolumeNode")


def test_the_console_downloads_the_sample_subject_without_a_network(stand_in, slicer, sample_data):
    nodes = sample_data.downloadSamples("InfantBrain")
    assert [node.GetName() for node in nodes] == ["Infant T1", "Infant T2", "Infant reference"]
    assert [node.GetClassName() for node in nodes] == [*["vtkMRMLScalarVolumeNode"] * 2, "vtkMRMLSegmentationNode"]
    labels = slicer.util.loadLabelVolume(str(SAMPLE_LABELS))
    for number, name in enumerate(("CSF", "Gray matter", "White matter"), 1):
        segment = nodes[2].GetSegmentation().GetSegmentIdBySegmentName(name)
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(nodes[2], segment, labels) > 0
        assert np.array_equal(inside, slicer.util.arrayFromVolume(labels) == number)
    stand_in.close_scene()
    assert sample_data.downloadSample("InfantBrain").GetName() == "Infant T1"


def test_files_of_an_earlier_version_in_the_cache_are_not_taken(stand_in, slicer, sample_data):
    old = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / "InfantBrain-T1.nii.gz"
    old.write_bytes(b"an earlier T1")
    assert sample_data.downloadSample("InfantBrain").GetImageData().GetDimensions() == (136, 164, 129)


def untranslated(path):
    """Return the sentences in a file, or parts of them, that do not go through tr: no docstrings, none for the log."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in ("_", "translate", "logging"):
            passed.update(map(id, ast.walk(node)))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr):
            passed.update(map(id, ast.walk(node.body[0])))
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in texts if id(node) not in passed and re.search(r"\w \w.*([.…]$|; )", node.value)]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_every_sentence_of_the_panel_can_be_translated(path):
    for_developers = path.name in ("core_paths.py", "self_tests.py")  # an incomplete extension, failed self tests
    assert for_developers or untranslated(path) == []
