"""Message boxes and other dialogs: recorded, answered by the test, never left waiting for a user."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import slicer.util
from PySide6 import QtWidgets

from . import qt_rules
from .pythonqt import qt


class ModalDialogError(RuntimeError):
    """A dialog was opened that nobody would have closed."""


@dataclass(frozen=True)
class Message:
    """One message that the user would have seen."""

    kind: str  # "info", "warning", "error", "confirmOkCancel", "confirmYesNo", "confirmRetryClose", "messageBox"
    text: str
    title: str = ""
    details: str = ""


@dataclass
class DialogRecorder:
    """`messages` holds what was shown; `answer(...)` says what the user will reply to the next questions."""

    messages: list[Message] = field(default_factory=list)
    _answers: deque[Any] = field(default_factory=deque)

    def answer(self, *replies: Any) -> None:
        """Queue replies: True or False for a confirmation, a result or a callable(dialog) for exec_()."""
        self._answers.extend(replies)

    def clear(self) -> None:
        self.messages.clear()
        self._answers.clear()

    def texts(self, kind: str = "") -> list[str]:
        """Return the texts shown so far, of one kind or of all."""
        return [message.text for message in self.messages if kind in ("", message.kind)]

    def _reply(self, fallback: Callable[[], Any]) -> Any:
        return self._answers.popleft() if self._answers else fallback()

    def install(self) -> None:
        """Put the recorder in the place of slicer.util's displays and of every modal exec_()."""
        for kind in ("info", "warning", "error"):
            self._record(kind + "Display", kind, answered=False)
        for kind in ("confirmOkCancel", "confirmYesNo", "confirmRetryClose"):
            self._record(kind + "Display", kind, answered=True)
        self._record("messageBox", "messageBox", answered=True)
        slicer.util.delayDisplay = self._delay
        qt_rules.modal_handler = self._modal
        for name in ("information", "warning", "critical", "question", "about"):
            setattr(qt.QMessageBox, name, staticmethod(self._static("QMessageBox." + name)))
        for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames"):
            setattr(qt.QFileDialog, name, staticmethod(self._static("QFileDialog." + name)))

    def _delay(self, message: str, autoCloseMsec: int = 1000, parent: Any = None, **keywords: Any) -> None:
        self.messages.append(Message("delay", message))
        slicer.app.processEvents()

    def _record(self, name: str, kind: str, *, answered: bool) -> None:
        original = getattr(slicer.util, name)

        def nobody(*arguments: Any, **keywords: Any) -> Any:
            if not slicer.app.testingEnabled():
                raise ModalDialogError(f"slicer.util.{name} would wait for a user; queue stand_in.dialogs.answer(...)")
            return original(*arguments, **keywords)

        def display(text: str, windowTitle: str | None = None, parent: Any = None, **keywords: Any) -> Any:
            self.messages.append(Message(kind, text, windowTitle or "", str(keywords.get("detailedText", ""))))
            if answered:  # without a queued reply: what Slicer itself answers under --testing
                return self._reply(lambda: nobody(text, windowTitle=windowTitle, parent=parent, **keywords))
            return None

        setattr(slicer.util, name, display)

    def _modal(self, dialog: Any) -> Any:
        def nobody() -> Any:
            raise ModalDialogError(
                f"{type(dialog).__name__}.exec_() would wait for a user; queue stand_in.dialogs.answer"
            )

        text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else ""
        self.messages.append(Message(type(dialog).__name__, text, dialog.windowTitle))
        reply = self._reply(nobody)
        return reply(dialog) if callable(reply) else reply

    def _static(self, name: str) -> Callable[..., Any]:
        def show(*arguments: Any) -> Any:
            def nobody() -> Any:
                raise ModalDialogError(f"{name} would wait for a user; queue stand_in.dialogs.answer(...)")

            self.messages.append(Message(name, " ".join(a for a in arguments if isinstance(a, str))))
            return self._reply(nobody)

        return show
