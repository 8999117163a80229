"""The decorator @parameterNodeWrapper: a class of typed parameters on a vtkMRMLScriptedModuleNode."""

import typing
import weakref
from typing import Any

import slicer.util
from vtkmodules.vtkCommonCore import vtkCommand

from ...pythonqt import qt
from .annotations import Default, first, split
from .connectors import GuiConnector, createGuiConnector
from .values import storage_of

SlicerParameterNamePropertyName = "SlicerParameterName"
# Wrapper, observer and the node's Python object form a ring. Without a reference from outside, Python would collect it
# although the scene still holds the node, and the node would then call an observer that is gone.
_observed_nodes: list[Any] = []


class _Parameter:
    """One typed attribute of a wrapper class."""

    def __init__(self, name: str, annotated: Any, default: Default | None) -> None:
        self.name, self.annotated = name, annotated
        self.storage = storage_of(annotated)
        self.default = default or Default(self.storage.first())

    def __get__(self, wrapper: Any, owner: type) -> Any:
        if wrapper is None:
            return self
        return wrapper._kept[self.name]

    def __set__(self, wrapper: Any, value: Any) -> None:
        with slicer.util.NodeModify(wrapper.parameterNode):  # observers come when the kept value is the new one
            self.storage.write(wrapper.parameterNode, wrapper._prefix + self.name, value)
            self.keep(wrapper)

    def keep(self, wrapper: Any) -> None:
        """Keep the node's value, as Slicer does: until the node is modified, or set by this wrapper, it stays.

        Where the node has none, as after a scene was closed, the default is put there.
        """
        node, name = wrapper.parameterNode, wrapper._prefix + self.name
        if not self.storage.is_in(node, name):
            self.storage.write(node, name, self.default.value)
        wrapper._kept[self.name] = self.storage.read(node, name)


class _WrapperBase:
    """The members that every wrapper class gets."""

    allParameters: typing.ClassVar[dict[str, _Parameter]] = {}
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode, self._prefix = parameterNode, prefix or ""
        self._connectors: dict[int, dict[str, GuiConnector]] = {}
        self._gui_observers: dict[int, int] = {}
        self._updating_gui = False
        self._kept: dict[str, Any] = {}
        for parameter in self.allParameters.values():
            parameter.keep(self)
        _observed_nodes.append(parameterNode)
        wrapper = weakref.ref(self)
        tag = parameterNode.AddObserver(vtkCommand.ModifiedEvent, lambda *_: wrapper() and wrapper()._take_up())
        weakref.finalize(self, parameterNode.RemoveObserver, tag)

    def _take_up(self) -> None:
        for parameter in self.allParameters.values():
            parameter.keep(self)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"there is no parameter {name}; there are {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def default(self, name: str) -> Default:
        return self._parameter(name).default

    def isCached(self, name: str) -> bool:
        self._parameter(name)
        return True

    @classmethod
    def dataType(cls, name: str) -> Any:
        if name not in cls.allParameters:
            raise ValueError(f"there is no parameter {name}; there are {', '.join(cls.allParameters)}")
        return cls.allParameters[name].annotated

    def getValue(self, name: str) -> Any:
        return self._parameter(name).__get__(self, type(self))

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).__set__(self, value)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        """Connect every widget that carries SlicerParameterName; gui is a widget or childWidgetVariables' result."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else gui.__dict__.values()
        named = [(widget.property(SlicerParameterNamePropertyName), widget) for widget in widgets]
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {
            name: target if isinstance(target, GuiConnector) else createGuiConnector(target, self.dataType(name))
            for name, target in mapping.items()
        }
        tag = len(self._connectors)
        while tag in self._connectors:
            tag += 1
        self._connectors[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._gui_callback(name, connector))
        self._gui_observers[tag] = self.AddObserver(vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        return tag

    def _gui_callback(self, name: str, connector: GuiConnector) -> Any:
        def changed() -> None:
            if not self._updating_gui:
                with slicer.util.NodeModify(self.parameterNode):
                    self.setValue(name, connector.read())

        return changed

    def _update_gui(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for connectors in list(self._connectors.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False

    def disconnectGui(self, tag: int) -> None:
        for connector in self._connectors.pop(tag, {}).values():
            connector.onChanged(None)
        if tag in self._gui_observers:
            self.RemoveObserver(self._gui_observers.pop(tag))


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    children = widget.findChildren(qt.QWidget)
    return next((w for w in children if w.property(SlicerParameterNamePropertyName) == parameter), None)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: the annotated names become parameters in the scene, and the class gets its members.

    Raises:
        ValueError: the class uses a name that the wrapper needs itself.
    """
    if classtype is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotated in typing.get_type_hints(classtype, include_extras=True).items():
        if name in dir(_WrapperBase):
            raise ValueError(f"a parameter cannot have the reserved name '{name}'")
        default = Default(getattr(classtype, name)) if hasattr(classtype, name) else first(split(annotated)[1], Default)
        parameters[name] = _Parameter(name, annotated, default)
        setattr(classtype, name, parameters[name])
    classtype.allParameters = parameters
    for name, member in vars(_WrapperBase).items():
        if name == "allParameters" or (name.startswith("__") and name != "__init__"):
            continue
        if name != "__init__" and hasattr(classtype, name):
            raise ValueError(f"a wrapper class cannot define the reserved name '{name}'")
        setattr(classtype, name, member)
    return classtype
