"""Rules of Slicer's Python layer that the bench keeps; the table in the bench's README says where each one stands."""

import sys

import pytest

pytest.importorskip("slicer_core", reason="the bench's packages are missing: pip install -e .[bench]")

pytest_plugins = ["Testing.slicer_bench.fixtures"]


@pytest.fixture
def wrapped(bench, slicer):
    """Call it with a type to get a fresh parameter node with one parameter `it` of that type, without a default."""

    def wrap(kind):
        wrapper = slicer.parameterNodeWrapper.parameterNodeWrapper(type("Some", (), {"__annotations__": {"it": kind}}))
        return wrapper(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    return wrap


@pytest.fixture
def selector(bench, slicer):
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    return selector


def test_a_union_of_node_classes_without_none_cannot_be_made_for_its_default_cannot_be_written(slicer, wrapped):
    with pytest.raises(TypeError, match="Unable to write value 'None'"):
        wrapped(slicer.vtkMRMLLabelMapVolumeNode | slicer.vtkMRMLSegmentationNode)


def test_a_union_with_none_is_stored_but_connected_to_no_selector(slicer, wrapped, selector):
    parameters = wrapped(slicer.vtkMRMLLabelMapVolumeNode | slicer.vtkMRMLSegmentationNode | None)
    assert parameters.it is None
    with pytest.raises(RuntimeError, match="no connector"):
        parameters.connectParametersToGui({"it": selector})


def test_a_union_keeps_a_value_under_the_number_of_the_member_that_takes_it(slicer, wrapped):
    parameters = wrapped(slicer.vtkMRMLLabelMapVolumeNode | slicer.vtkMRMLSegmentationNode | None)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    parameters.it = node
    assert parameters.parameterNode.GetNodeReference("it.1") is node
    parameters.it = None
    assert parameters.parameterNode.GetNodeReference("it.1") is None
    assert parameters.it is None
    with pytest.raises(TypeError):
        parameters.it = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")


def test_a_union_of_plain_types_begins_with_the_first_ones_default_and_an_optional_one_with_none(wrapped):
    assert wrapped(int | str).it == 0
    assert wrapped(int | None).it is None
    assert wrapped(int | str | None).it == 0


def test_a_selector_takes_its_node_types_from_the_class_of_the_parameter(slicer, wrapped, selector):
    wrapped(slicer.vtkMRMLTableNode).connectParametersToGui({"it": selector})
    assert selector.nodeTypes == ("vtkMRMLTableNode",)


def test_an_abstract_class_can_be_stored_but_not_connected(slicer, wrapped, selector):
    parameters = wrapped(slicer.vtkMRMLVolumeNode)
    with pytest.raises(TypeError, match="abstract"):
        parameters.connectParametersToGui({"it": selector})


def test_a_parameter_keeps_its_value_until_its_node_is_modified(wrapped):
    parameters = wrapped(int)
    node = parameters.parameterNode
    node.DisableModifiedEventOn()
    node.SetParameter("it", "7")
    assert parameters.it == 0
    node.DisableModifiedEventOff()
    node.Modified()
    assert parameters.it == 7


def test_a_disconnected_panel_no_longer_observes_the_parameter_node(slicer, wrapped, selector):
    parameters = wrapped(slicer.vtkMRMLTableNode)
    tag = parameters.connectParametersToGui({"it": selector})
    parameters.disconnectGui(tag)
    parameters.it = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    assert selector.currentNode() is None


@pytest.mark.parametrize("write", ["property", "method"])
def test_a_widgets_tooltip_is_kept_as_rich_text_and_an_actions_as_it_is(bench, write):
    qt = sys.modules["qt"]
    button, action = qt.QPushButton(), qt.QAction("Run", None)
    for owner in (button, action):
        if write == "property":
            owner.toolTip = "T1 < T2 & more"
        else:
            owner.setToolTip("T1 < T2 & more")
    assert button.toolTip == "<p>T1 &lt; T2 &amp; more</p>"
    assert action.toolTip == "T1 < T2 & more"
    button.toolTip = "<b>rich</b> already"
    assert button.toolTip == "<b>rich</b> already"
    button.toolTip = ""
    assert button.toolTip == ""
