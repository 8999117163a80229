"""The worker's packages in Slicer's own Python: looked for when the user first runs, installed only after asking."""

from __future__ import annotations

from typing import Any

import slicer.packaging
from slicer.i18n import tr as _

from .core_paths import batch_requirements_file, requirements_file
from .errors import SegmentationError

REQUESTER = "Segment infant brain"
SLICERS_OWN = ["numpy", "scipy", "SimpleITK", "vtk"]  # never to be replaced by an installation
TORCH_REQUIREMENT = ">=2.5"


def missing_packages(*, for_batch: bool = False) -> list[str]:
    """Return what the worker, or a batch, lacks in Slicer's Python; nothing is imported."""
    missing = [] if slicer.packaging.pip_check(f"torch{TORCH_REQUIREMENT}") else ["torch"]
    return missing + [str(item) for item in _requirements(for_batch) if not slicer.packaging.pip_check(item)]


def ensure_packages(*, for_batch: bool = False) -> None:
    """Install what is missing, asking first: PyTorch by its extension, the rest by slicer.packaging.

    Args:
        for_batch: also what only a batch needs.

    Raises:
        SegmentationError: the user said no, the PyTorch extension is not there, or an installation failed.
    """
    if not missing_packages(for_batch=for_batch):
        return
    _ensure_torch()
    try:
        slicer.packaging.pip_ensure(_requirements(for_batch), skip_packages=SLICERS_OWN, requester=REQUESTER)
    except Exception as error:
        what = "nibabel, safetensors, matplotlib and tqdm" if for_batch else "nibabel and safetensors"
        raise SegmentationError(_describe(what, error)) from error


def _requirements(for_batch: bool) -> list[Any]:
    files = [requirements_file(), *([batch_requirements_file()] if for_batch else [])]
    return [item for file in files for item in slicer.packaging.load_requirements(file)]


def _ensure_torch() -> None:
    if slicer.packaging.pip_check(f"torch{TORCH_REQUIREMENT}"):
        return
    try:
        import PyTorchUtils
    except ImportError as error:
        raise SegmentationError(
            _(
                "PyTorch is not installed in Slicer; the extension PyTorch is needed to install the build "
                "that fits this computer; install it in the Extensions Manager, restart Slicer and segment "
                "again, or choose another Python under Advanced."
            )
        ) from error
    try:
        installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
        )
    except Exception as error:
        raise SegmentationError(_describe("PyTorch", error)) from error
    if installed is None:
        raise SegmentationError(
            _(
                "PyTorch was not installed; the segmentation needs it; segment again and agree to the "
                "installation, or choose another Python under Advanced."
            )
        )


def _describe(what: str, error: Exception) -> str:
    return _(
        "{what} could not be installed ({error}); expected access to the Python package index; check the "
        "network or the proxy settings, then segment again, or choose another Python under Advanced."
    ).format(what=what, error=" ".join(str(error).split())[:300])
