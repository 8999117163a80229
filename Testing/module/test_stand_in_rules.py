"""Rules of Slicer's Python layer that the stand-in keeps; the table in its README says where each one stands."""

import sys

import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures"]


@pytest.fixture
def wrapped(stand_in, slicer):
    """Call it with a type to get a fresh parameter node with one parameter `it` of that type, without a default."""

    def wrap(kind):
        wrapper = slicer.parameterNodeWrapper.parameterNodeWrapper(type("Some", (), {"__annotations__": {"it": kind}}))
        return wrapper(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    return wrap


@pytest.fixture
def selector(stand_in, slicer):
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
def test_a_widgets_tooltip_is_kept_as_rich_text_and_an_actions_as_it_is(stand_in, write):
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


def test_requirements_are_read_as_pip_has_them_but_for_options_and_comments_behind_them(stand_in, slicer, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# why\n\n-c constraints.txt\nnumpy>=1.2\n")
    assert [str(requirement) for requirement in slicer.packaging.load_requirements(path)] == ["numpy>=1.2"]
    path.write_text("numpy>=1.2  # why\n")
    with pytest.raises(ValueError, match="numpy"):
        slicer.packaging.load_requirements(path)


def test_packages_are_neither_asked_for_nor_installed_under_testing(stand_in, slicer):
    stand_in.packaging.pretend_missing.add("nibabel")
    assert slicer.packaging.pip_ensure("nibabel>=5") is None
    assert stand_in.dialogs.texts() == []
    assert [name for name, _ in stand_in.packaging.calls] == ["pip_ensure"]
    assert not slicer.packaging.pip_check("nibabel>=5")


def test_a_question_under_testing_is_answered_with_no(stand_in, slicer):
    assert slicer.util.confirmOkCancelDisplay("Replace it?") is False  # its True equals no button


def test_the_context_of_a_text_is_its_package_and_file(stand_in, slicer, tmp_path):
    (tmp_path / "Lib").mkdir()
    for name in ("__init__.py", "panel.py"):
        (tmp_path / "Lib" / name).touch()
    (tmp_path / "Module.py").touch()
    contexts = [slicer.i18n.getContext(str(tmp_path / name)) for name in ("Lib/panel.py", "Module.py")]
    assert contexts == ["Lib.panel", "Module"]


def test_the_start_of_slicer_is_told_once(stand_in, slicer, tmp_path):
    told = []
    slicer.app.connect("startupCompleted()", lambda: told.append(None))
    for name in ("FirstOfTwo", "SecondOfTwo"):
        file = tmp_path / f"{name}.py"
        file.write_text(
            f"from slicer.ScriptedLoadableModule import *\n\n\nclass {name}(ScriptedLoadableModule):\n    pass\n"
        )
        stand_in.load_module(file)
    assert len(told) == 1
    for name in ("FirstOfTwo", "SecondOfTwo"):
        stand_in.unload_module(name)
    sys.path.remove(str(tmp_path))


def test_a_module_that_is_shown_is_not_entered_again(stand_in, slicer, tmp_path):
    file = tmp_path / "EnteredOnce.py"
    file.write_text(
        "from slicer.ScriptedLoadableModule import *\n\n\n"
        "class EnteredOnce(ScriptedLoadableModule):\n    pass\n\n\n"
        "class EnteredOnceWidget(ScriptedLoadableModuleWidget):\n"
        "    entered = 0\n\n"
        "    def enter(self):\n        self.entered += 1\n"
    )
    stand_in.load_module(file)
    for _ in range(2):
        slicer.util.selectModule("EnteredOnce")
    widget = slicer.util.getModuleWidget("EnteredOnce")
    assert (widget.entered, widget.parent.isEntered) == (1, True)
    slicer.util.reloadScriptedModule("EnteredOnce")
    reloaded = slicer.util.getModuleWidget("EnteredOnce")
    assert (reloaded.entered, reloaded.parent.isEntered) == (0, True)
    stand_in.unload_module("EnteredOnce")
    sys.path.remove(str(tmp_path))
