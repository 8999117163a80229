"""Where the model core lies: beside the module once installed, one folder up in a source checkout."""

from __future__ import annotations

import sys
from pathlib import Path

_MODULE_FOLDER = Path(__file__).resolve().parents[1]


def core_parent() -> Path:
    """Return the folder that holds model_core and its Resources."""
    for folder in (_MODULE_FOLDER, _MODULE_FOLDER.parent):
        if (folder / "model_core" / "worker.py").is_file():
            return folder
    raise FileNotFoundError(
        f"model_core was found neither in {_MODULE_FOLDER} nor above it; the extension is incomplete; install it again."
    )


def make_core_importable() -> None:
    """Put the model core's parent on sys.path, last, so that it hides nothing of Slicer's.

    Only its parts without torch and nibabel may be imported here: tissues, windows, grid_size, model_card, errors,
    worker_messages, tool_environment.
    """
    folder = str(core_parent())
    if folder not in sys.path:
        sys.path.append(folder)


def worker_script() -> Path:
    """Return the program that the panel talks to."""
    return core_parent() / "model_core" / "worker.py"


def weights_folder() -> Path:
    """Return the folder of the weights that ship with the extension."""
    return core_parent() / "Resources" / "weights"


def sample_folder() -> Path:
    """Return the folder of the sample subject."""
    return core_parent() / "Resources" / "SampleSubject"


def reference_segmentation() -> Path:
    """Return the sample subject's labels as a segmentation file, voxel by voxel those of its labels.nii.gz."""
    return _MODULE_FOLDER / "Resources" / "SampleData" / "reference.seg.nrrd"


def requirements_file() -> Path:
    """Return the list of Python packages that the worker needs in Slicer's Python."""
    return _MODULE_FOLDER / "Resources" / "requirements.txt"


def batch_requirements_file() -> Path:
    """Return the list of what a batch needs there beside them."""
    return _MODULE_FOLDER / "Resources" / "requirements-batch.txt"
