"""Stand-in for the PyTorch extension's module PyTorchUtils: records, asks as it does, installs nothing.

It never imports torch into the application's process. Install it with `stand-in.offer_pytorch(True)`; without it
`import PyTorchUtils` fails as in a Slicer that lacks the extension.
"""

from typing import Any

import slicer
import slicer.util

from .packaging import pip_check
from .scripted_loadable_module import ScriptedLoadableModuleLogic

calls: list[dict[str, Any]] = []  # keywords of every installTorch that went through


class PyTorchUtilsLogic(ScriptedLoadableModuleLogic):
    """The part of the extension that other modules call."""

    def __init__(self) -> None:
        super().__init__()

    @staticmethod
    def torchInstalled() -> bool:
        return pip_check("torch")

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """Return None when the user says no; a module with a version otherwise (the extension returns torch)."""
        ask = askConfirmation and not slicer.app.commandOptions().testingEnabled
        if ask and not slicer.util.confirmOkCancelDisplay("PyTorch will be downloaded and installed."):
            return None
        calls.append(
            {
                "forceComputationBackend": forceComputationBackend,
                "torchVersionRequirement": torchVersionRequirement,
                "torchvisionVersionRequirement": torchvisionVersionRequirement,
            }
        )
        slicer.packaging.pretend_missing.discard("torch")
        return type("torch", (), {"__version__": "2.0.0"})

    @property
    def torch(self) -> Any:
        raise NotImplementedError("PyTorchUtilsLogic.torch imports torch into Slicer's process; the stand-in does not")
