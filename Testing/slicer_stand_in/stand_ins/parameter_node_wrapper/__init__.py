"""Stand-in for slicer.parameterNodeWrapper: typed parameters in a scene node, connected to the widgets of a panel.

Covered: int, float, str, bool, pathlib paths, enums, node types and unions of them, Optional of these, list, tuple
and dict of the plain ones; the validators; Default; the GUI connectors of the API data but for colours and packs.
"""

from .annotations import Decimals, Default, Label, SingleStep
from .connectors import GuiConnector, createGuiConnector
from .validators import (
    Choice,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    Validator,
    WithinRange,
)
from .values import FloatRange
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "FloatRange",
    "GuiConnector",
    "IsInstance",
    "Label",
    "Maximum",
    "Minimum",
    "NotNone",
    "RangeBounds",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

NOT_MODELLED = frozenset(
    ("parameterPack", "isParameterPack", "nestedParameterNames", "createGui", "parameterNodeGuiCreator", "GuiCreator",
     "parameterNodeGuiConnector", "parameterNodeSerializer", "Serializer", "SlicerPackParameterNamePropertyName")
)  # fmt: skip


def __getattr__(name: str) -> object:
    if name in NOT_MODELLED:
        raise NotImplementedError(f"parameterNodeWrapper.{name} exists in Slicer; the stand-in does not model it")
    raise AttributeError(f"module 'slicer.parameterNodeWrapper' has no attribute '{name}'")
