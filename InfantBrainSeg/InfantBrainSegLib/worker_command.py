"""With which program the worker is started: Slicer's Python, another Python, or a command of the user's.

These are settings of the user's on this machine, never parameters in the scene: a scene from somebody else must not
be able to name a program that is then run.
"""

from __future__ import annotations

import enum
import json
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .core_paths import make_core_importable, worker_script
from .errors import SegmentationError
from .settings import read_setting, write_setting

make_core_importable()
from model_core.system.environment import TOOL_ENVIRONMENT  # noqa: E402


class WorkerKind(enum.Enum):
    """The value stands in the settings; the combo box of the panel has the same order."""

    SLICER = "slicer"
    PYTHON = "python"
    COMMAND = "command"


@dataclass(frozen=True)
class WorkerCommand:
    """How to start the worker.

    Attributes:
        kind: whose Python it is.
        text: the user's Python or command line; empty for Slicer's Python.
    """

    kind: WorkerKind = WorkerKind.SLICER
    text: str = ""

    @classmethod
    def from_settings(cls) -> WorkerCommand:
        """Return what the user chose on this machine."""
        kind = read_setting("WorkerKind", WorkerKind.SLICER.value)
        text = read_setting("WorkerCommand", "")
        known = {member.value: member for member in WorkerKind}
        return cls(known.get(kind, WorkerKind.SLICER), text)

    def save(self) -> None:
        """Make it the user's choice on this machine."""
        write_setting("WorkerKind", self.kind.value)
        write_setting("WorkerCommand", self.text)

    @property
    def runs_in_slicer_python(self) -> bool:
        """Whether the worker needs packages in Slicer's own Python."""
        return self.kind is WorkerKind.SLICER

    def program_and_arguments(self) -> tuple[str, list[str]]:
        """Return the program and its arguments.

        Raises:
            SegmentationError: the command is empty or its program is not there.
        """
        if self.kind is WorkerKind.SLICER:
            return shutil.which("PythonSlicer") or sys.executable, [str(worker_script())]
        if self.kind is WorkerKind.PYTHON:
            return _existing_program(self.text.strip()), [str(worker_script())]
        try:
            words = shlex.split(self.text, posix=os.name != "nt")
        except ValueError as error:
            raise SegmentationError(
                _(
                    "The worker's command “{text}” ends inside a quotation; expected complete quotation "
                    "marks; correct it under Advanced."
                ).format(text=self.text)
            ) from error
        words = [word.strip('"') for word in words] if os.name == "nt" else words
        return _existing_program(words[0] if words else ""), words[1:]

    def environment(self) -> dict[str, str]:
        """Return the worker's environment: Slicer's own for Slicer's Python, the clean one for everything else.

        In Slicer's own the worker finds the clean one for the programs that it starts itself.
        """
        clean = dict(slicer.util.startupEnvironment())
        for name in ("PYTHONHOME", "PYTHONPATH"):
            clean.pop(name, None)
        return {**os.environ, TOOL_ENVIRONMENT: json.dumps(clean)} if self.runs_in_slicer_python else clean


def _existing_program(program: str) -> str:
    if not program:
        raise SegmentationError(
            _(
                "No program is given for the worker; expected a Python or a command; fill it in under "
                "Advanced, or choose Slicer's Python there."
            )
        )
    found = shutil.which(program)
    if found is None:
        what = _("is a folder") if Path(program).is_dir() else _("was not found or cannot be run")
        raise SegmentationError(
            _(
                "The worker's program “{program}” {what}; expected a Python or a command of this machine; "
                "correct it under Advanced, or choose Slicer's Python there."
            ).format(program=program, what=what)
        )
    return found
