"""The stand-in keeps PythonQt's rules, and what Slicer does not have does not exist on it."""

import functools
import sys

import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

from Testing.slicer_stand_in import api, application, classes

pytest_plugins = ["Testing.slicer_stand_in.fixtures"]


def test_every_class_can_be_built_and_no_stand_in_shows_a_name_that_slicer_lacks(stand_in, slicer):
    for name in api.classes():  # make() raises TypeError for a behaviour with a foreign name
        assert classes.make(name).__name__ == name
    assert set(slicer.ScriptedLoadableModule.__all__) == api.module_names("slicer.ScriptedLoadableModule")
    assert set(slicer.parameterNodeWrapper.__all__) <= api.module_names("slicer.parameterNodeWrapper")


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("ctk.ctkSliderWidget().setMinimum(0)", AttributeError),
        ("slicer.qMRMLNodeComboBox().setNodeTypes(['vtkMRMLNode'])", AttributeError),
        ("ctk.ctkErrorDialog", AttributeError),
        ("slicer.ctkSliderWidget", AttributeError),
        ("slicer.util.LazyImport", AttributeError),
        ("slicer.app.noSuchThing", AttributeError),
        ("qt.Signal", AttributeError),
        ("qt.QPushButton().connect('pressedTwice()', print)", AttributeError),
        ("ctk.ctkSliderWidget().connect('valueChanged(int)', print)", AttributeError),
        ("setattr(qt.QLabel(), 'colour', 1)", AttributeError),
        ("setattr(qt.QLabel(), 'setText', 1)", AttributeError),
        ("setattr(qt.QPushButton(), 'clicked', 1)", AttributeError),
        ("setattr(slicer.qMRMLWidget(), '_private', 1)", AttributeError),
        ("ctk.ctkSliderWidget().value()", TypeError),
        ("qt.QLabel('a').text()", TypeError),
        ("qt.QLabel(text='a')", ValueError),
        ("qt.QLabel().setText(text='a')", ValueError),
        ("ctk.ctkSliderWidget().setValue(value=1)", ValueError),
        ("slicer.qSlicerAbstractCoreModule()", ValueError),
        ("setattr(qt.QPushButton(), 'sizeHint', 1)", AttributeError),
        ("slicer.app.openSettingsDialog()", NotImplementedError),
        ("slicer.modules.volumes.widgetRepresentation()", NotImplementedError),
    ],
)
def test_a_name_that_slicer_lacks_raises(stand_in, statement, error):
    names = {"slicer": application.slicer, "qt": sys.modules["qt"], "ctk": sys.modules["ctk"]}
    with pytest.raises(error):
        eval(statement, names)


def test_a_ctk_class_cannot_be_given_a_virtual_function_from_python(stand_in):
    ctk = sys.modules["ctk"]
    with pytest.raises(TypeError, match="no shells"):
        type("Painted", (ctk.ctkSliderWidget,), {"paintEvent": lambda self, event: None, "__module__": "demo"})


def test_properties_are_attributes_and_sequences_are_tuples(stand_in):
    qt = sys.modules["qt"]
    box = qt.QComboBox()
    box.addItem("first", 10)
    box.addItem("second", 20)
    box.currentIndex = 1
    assert (box.currentText, box.currentData, box.count) == ("second", 20, 2)
    box.name = "choices"
    assert box.objectName == "choices"
    selector = application.slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)


def test_a_slot_gets_as_many_arguments_as_it_declares(stand_in):
    button = sys.modules["qt"].QPushButton()
    seen = []
    button.connect("clicked(bool)", lambda: seen.append("none"))
    button.connect("clicked(bool)", lambda checked: seen.append(checked))
    button.connect("clicked(bool)", lambda *every: seen.append(every))
    button.clicked.connect(functools.partial(seen.append))
    button.click()
    assert seen == ["none", False, (False,), False]


def test_disconnect_ends_a_connection(stand_in):
    slider = sys.modules["ctk"].ctkSliderWidget()
    seen = []
    slider.connect("valueChanged(double)", seen.append)
    slider.value = 3
    assert slider.disconnect("valueChanged(double)", seen.append)
    slider.value = 4
    assert seen == [3.0]


def test_enum_values_are_integers(stand_in):
    qt = sys.modules["qt"]
    states = []
    box = qt.QCheckBox()
    box.connect("stateChanged(int)", lambda state: states.append(state == qt.Qt.Checked))
    box.checked = True
    assert states == [True]
    assert (qt.QMessageBox.Ok | qt.QMessageBox.Cancel) & qt.QMessageBox.Ok


def test_an_exception_in_a_slot_does_not_reach_the_sender_but_the_bench_knows_it(stand_in):
    button = sys.modules["qt"].QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in stand_in.errors] == [ZeroDivisionError]
    stand_in.errors.clear()


def test_a_destroyed_widget_equals_none_and_refuses_to_be_read(stand_in):
    label = sys.modules["qt"].QLabel("gone")
    label.deleteLater()
    stand_in.pump(seconds=0.01)
    assert label == None  # noqa: E711 - the comparison is what is tested
    with pytest.raises(ValueError, match="destroyed"):
        _ = label.text


def test_an_event_filter_of_a_python_class_is_called(stand_in):
    qt = sys.modules["qt"]

    class Counter(qt.QObject):
        count = 0

        def eventFilter(self, watched, event):
            Counter.count += 1
            return False

    button, counter = qt.QPushButton(), Counter()
    button.installEventFilter(counter)
    button.show()
    stand_in.pump(lambda: Counter.count, seconds=1)
    button.hide()
    assert Counter.count > 0


def test_an_exception_in_an_observer_is_known_to_the_bench(stand_in, slicer):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda *_: [].pop())
    node.Modified()
    assert [type(error) for error in stand_in.errors] == [IndexError]
    stand_in.errors.clear()


def test_objects_that_qt_itself_made_keep_the_same_rules(stand_in):
    qt = sys.modules["qt"]
    table = qt.QTableWidget(2, 2)
    header = table.horizontalHeader()
    header.stretchLastSection = True
    assert header.stretchLastSection
    assert isinstance(header, qt.QHeaderView)
    with pytest.raises(AttributeError):
        header.colour = 1
    box = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok)
    pressed = []
    box.button(qt.QDialogButtonBox.Ok).connect("clicked()", lambda: pressed.append(True))
    box.button(qt.QDialogButtonBox.Ok).click()
    assert pressed == [True]


def test_a_collapsed_section_hides_what_is_in_it(stand_in):
    qt, ctk = sys.modules["qt"], sys.modules["ctk"]
    window = qt.QWidget()
    rows = qt.QVBoxLayout(window)
    section, inside = ctk.ctkCollapsibleButton(), qt.QLabel("inside")
    rows.addWidget(section)
    qt.QVBoxLayout(section).addWidget(inside)
    window.show()
    folds = []
    section.connect("contentsCollapsed(bool)", folds.append)
    section.collapsed = True
    assert not inside.visible
    section.checked = True
    assert inside.visible
    assert folds == [True, False]
