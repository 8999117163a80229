"""Processes of this application's: their environment, and letting go of them when they are to end."""

from __future__ import annotations

from typing import Any

import qt

from .worker_command import WorkerCommand

STALE_ENVIRONMENT = ("QT_PLUGIN_PATH",)  # of Slicer's Qt, meaningless to others


def new_process(command: WorkerCommand) -> Any:
    """Return a QProcess with the environment that a program of the model core needs; it is not started."""
    process = qt.QProcess()
    environment = qt.QProcessEnvironment()
    for name, value in command.environment().items():
        if name not in STALE_ENVIRONMENT:
            environment.insert(name, value)
    process.setProcessEnvironment(environment)
    return process


def let_go(process: Any) -> None:
    """Keep a killed QProcess until it has ended and its signals are through: deleting it earlier blocks or crashes."""
    _ending.append(process)

    def forget(*_: Any) -> None:
        qt.QTimer.singleShot(0, lambda: _ending.remove(process) if process in _ending else None)

    process.connect("finished(int,QProcess::ExitStatus)", forget)
    if process.state() == qt.QProcess.NotRunning:
        forget()


_ending: list[Any] = []
