"""A selector for nodes of several classes, kept in step with a parameter by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NodeChoice:
    """Shows a parameter of the type `A | B | None`: the only form of two classes that can be stored without a node.

    Slicer connects a selector to a node class, or to a union of classes, but not to one that allows None.

    Args:
        selector: qMRMLNodeComboBox; its node types stand in the .ui file.
        onChosen: called with the node, or None, when the user chooses.
    """

    def __init__(self, selector: Any, onChosen: Callable[[Any], Any]) -> None:
        self._selector, self._onChosen = selector, onChosen
        self._refreshing = False
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self._chosen)

    def refresh(self, node: Any) -> None:
        """Show a node, or None."""
        self._refreshing = True
        self._selector.setCurrentNode(node)
        self._refreshing = False

    def _chosen(self, node: Any) -> None:
        if not self._refreshing:
            self._onChosen(node)
