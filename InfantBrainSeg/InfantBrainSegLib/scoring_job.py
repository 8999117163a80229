"""One comparison of a result with a reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .disagreement_display import read_disagreement
from .jobs import Job
from .scene_volumes import write_label_node
from .score_table import fill_score_table, new_score_table


class ScoringJob(Job):
    """A running comparison; `logic.startScoring` makes it.

    Args:
        worker: the worker's front.
        result, reference: label map or segmentation nodes.
        table: the table node to fill; None makes a new one.

    Attributes:
        rows: one a tissue, as model_core.metrics.scores gives them.
        places: by tissue key, where result and reference differ most: position (RAS mm) and depth, or None.
        disagreement: label map node outside of the scene with all differences, on the reference's grid.
        wasResampled: whether the result was brought to another grid for the comparison.
    """

    def __init__(self, worker: Any, result: Any, reference: Any, table: Any = None) -> None:
        super().__init__(worker)
        self.resultNode: Any = result
        self.referenceNode: Any = reference
        self.tableNode: Any = table
        self.rows: list[dict[str, Any]] = []
        self.places: dict[str, dict[str, Any] | None] = {}
        self.disagreement: Any = None
        self.wasResampled = False

    def value(self) -> Any:
        """Return the table node."""
        return self.tableNode

    def steps(self) -> Iterator[None]:
        """Write both label maps, one a turn of the event loop."""
        folder = self._worker.client.folder
        for name, node in (("result", self.resultNode), ("reference", self.referenceNode)):
            write_label_node(node, folder / f"{name}.nrrd")
            yield

    def request(self) -> tuple[dict[str, Any], list[Path]]:
        """Return the request and its files."""
        folder = self._worker.client.folder
        request = {"request": "score", "prediction": "result.nrrd", "reference": "reference.nrrd"}
        return request, [folder / "result.nrrd", folder / "reference.nrrd"]

    def file_names(self) -> dict[str, str]:
        """Return the names of the compared nodes by the names of their files."""
        nodes = {"result.nrrd": self.resultNode, "reference.nrrd": self.referenceNode}
        return {file: node.GetName() for file, node in nodes.items() if node is not None}

    def take_result(self, event: dict[str, Any]) -> None:
        """Fill the table."""
        self.rows, self.places, self.wasResampled = event["rows"], event["places"], event["resampled"]
        self.disagreement = read_disagreement(self._worker.client.folder / event["disagreement"])
        result, reference = self.resultNode.GetName(), self.referenceNode.GetName()
        if self.tableNode is None:
            self.tableNode = new_score_table(f"Scores of {result}")
        fill_score_table(self.tableNode, self.rows, f"{result} against the reference {reference}")

    def forget_nodes(self) -> None:
        """Hold no node of the scene any more."""
        self.resultNode, self.referenceNode, self.tableNode = None, None, None

    def take_back(self) -> None:
        """Leave all as it is: before its end a comparison shows nothing."""
