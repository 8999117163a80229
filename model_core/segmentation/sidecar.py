"""The JSON beside every label map: what it was made from and how, and what a person should look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_core.quality.checks import Finding
from model_core.system.provenance import sha256_of, versions_of
from model_core.system.text_files import write_json
from model_core.volumes.writing import WRITABLE_SUFFIXES

PACKAGES = ("infantbrainseg", "torch", "numpy", "scipy", "nibabel", "SimpleITK")


def sidecar_path(output: Path) -> Path:
    """Return the path of a label map's sidecar: seg.json for seg.nii.gz."""
    lower = output.name.lower()
    suffix = max((end for end in WRITABLE_SUFFIXES if lower.endswith(end)), key=len, default="")
    return output.with_name(output.name[: len(output.name) - len(suffix)] + ".json")


def write_sidecar(output: Path, content: dict[str, Any], warnings: Sequence[Finding]) -> Path:
    """Write a label map's sidecar, with versions, date and warnings added to its content; complete or not at all.

    Returns:
        Its path.
    """
    path = sidecar_path(output)
    whole = {
        **content,
        "warnings": [asdict(finding) for finding in warnings],
        "versions": versions_of(PACKAGES),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(path, whole)
    return path


def describe_weights(path: Path, network: str) -> dict[str, str]:
    """Return file, sha256 and network of weights as the sidecar names them."""
    return {"file": path.name, "sha256": sha256_of(path), "network": network}
