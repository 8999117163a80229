"""The process that a panel talks to: requests on standard input, events on standard output, one JSON object per line.

Volumes travel as files in a folder. Standard error is the log. When standard input ends, the worker stops what it
does, removes the folder and ends. The requests stand in service/messages.py.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

from model_core.errors import UserError
from model_core.service.channel import Channel, ExchangeFolder, claim_standard_streams
from model_core.service.messages import BadRequest, Identifier, Open, Put, Quit, Request, Segment, Stop, Stopped, parse
from model_core.system.command_line import DONE, FAULTY_INPUT

if TYPE_CHECKING:  # what imports torch is imported at work, where a failure becomes an event
    from model_core.service.requests import Tasks

PROTOCOL = 1
PACKAGES = ("numpy", "scipy", "nibabel", "SimpleITK", "safetensors", "torch")
GRACE_SECONDS = 2.0  # in which the running request may come to an end by itself


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the panel quits or is gone; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    return Worker(*claim_standard_streams()).serve()


class Worker:
    """Reads requests in one thread, so that a request to stop is heard at once, and works on them in the main one.

    Args:
        requests: a line for each.
        events: gets a line for each; unbuffered.
    """

    def __init__(self, requests: BinaryIO, events: BinaryIO) -> None:
        self._requests = requests
        self._channel = Channel(events, on_lost=lambda: self.end(panel_is_gone=True))
        self._queue: SimpleQueue[Request | None] = SimpleQueue()  # None: wake up, it is over
        self._outstanding: list[Request] = []
        self._folder: ExchangeFolder | None = None
        self._is_over = self._panel_is_gone = False
        self._over = threading.Event()

    def serve(self) -> int:
        """Work until the end; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.end())
        for work in (self._read, self._watch):
            threading.Thread(target=work, daemon=True).start()
        try:
            tasks = self._start()
            while tasks and not self._is_over:
                request = self._queue.get()
                if request:
                    self._answer(tasks, request)
        finally:
            self._clean_up()
        return DONE if tasks else FAULTY_INPUT

    def end(self, *, panel_is_gone: bool = False) -> None:
        """Say nothing more, stop what runs, and end: soon by itself, or else after a time of grace.

        Called from any thread and from signal handlers, so it takes no lock that the main thread might hold.
        """
        if self._is_over:
            return
        self._panel_is_gone = panel_is_gone
        self._is_over = True
        self._channel.close()
        self._stop_all(keep=False)
        self._queue.put(None)
        self._over.set()

    def _watch(self) -> None:
        """End the process where the main thread does not come to its end, be it in a library or in an import."""
        self._over.wait()
        time.sleep(GRACE_SECONDS)
        self._clean_up()
        os._exit(DONE)

    def _clean_up(self) -> None:
        if self._folder:
            self._folder.remove(panel_is_gone=self._panel_is_gone)

    def _read(self) -> None:
        try:
            for line in self._requests:
                if self._take(line):
                    return
        except OSError:  # as at the end of a terminal
            pass
        finally:
            self.end(panel_is_gone=True)  # without effect after a request to quit

    def _take(self, line: bytes) -> bool:
        """Act on a line, or put its request into the queue; returns whether it was the last one."""
        try:
            request = parse(line)
        except BadRequest as error:
            self._send_error(error.id, "input", str(error))
            return False
        match request.content:
            case Quit():
                self.end()
                return True
            case Stop(keep):
                self._stop_all(keep=keep)
            case _:
                self._outstanding.append(request)
                self._queue.put(request)
        return False

    def _stop_all(self, *, keep: bool) -> None:
        for request in list(self._outstanding):
            request.stop.ask(keep=keep)

    def _start(self) -> Tasks | None:
        """Import what the work needs and greet the panel; None where a package is missing or broken."""
        for package in (*PACKAGES, "model_core.service.requests"):
            try:
                module = importlib.import_module(package)
            except Exception as error:  # broken installations raise whatever they like
                self._send_error(None, "missing_package", _describe_import(package, error), package=package)
                return None
        tasks = module.Tasks(self._channel)
        self._channel.send("ready", protocol=PROTOCOL, pid=os.getpid(), **tasks.describe())
        return tasks

    def _answer(self, tasks: Tasks, request: Request) -> None:
        try:
            match request.content:
                case Open() as content:
                    self._open(request, content)
                case Put() as content:
                    self._opened().put(content)
                case Segment():
                    self._channel.send("done", request.id, **tasks.segment(request, self._opened()))
                case _:
                    self._channel.send("done", request.id, **tasks.score(request, self._opened()))
        except Stopped:
            self._channel.send("stopped", request.id)
        except Exception as error:  # the worker lives on, whatever happened
            self._send_error(request.id, *tasks.explain(error))
        finally:
            self._outstanding.remove(request)

    def _open(self, request: Request, content: Open) -> None:
        if self._folder:
            self._folder.remove(panel_is_gone=False)
        self._folder = ExchangeFolder(content)
        self._channel.send("opened", request.id, shared=self._folder.is_shared, folder=str(self._folder.path))

    def _opened(self) -> ExchangeFolder:
        if self._folder is None:
            raise UserError("No folder is open; expected one for the files; send the request open first.")
        return self._folder

    def _send_error(self, identifier: Identifier, kind: str, sentence: str, **fields: str) -> None:
        """Send the error that is being handled; its traceback goes along and into the log."""
        detail = traceback.format_exc()
        with contextlib.suppress(OSError):  # nobody may read the log any more
            print(detail, file=sys.stderr, flush=True)
        self._channel.send("error", identifier, kind=kind, sentence=sentence, detail=detail, **fields)


def _describe_import(package: str, error: Exception) -> str:
    install = f"{sys.executable} -m pip install {package}"
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return (
            f"The package {package} is missing in the worker's Python; expected it there; install it ({install}) or "
            "choose another Python."
        )
    return (
        f"The package {package} in the worker's Python cannot be imported ({type(error).__name__}: {error}); expected "
        f"one that works; install it again ({install} --force-reinstall) or choose another Python."
    )


if __name__ == "__main__":
    exit_status = main()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(exit_status)  # without waiting for a preparation that was stopped, or for what libraries do at the end
