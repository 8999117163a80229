"""Talks to a worker as a panel does, and keeps every event; and small cases for it to work on."""

import base64
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from scan_phantoms import AXIS_ORDERS, grid, scans

from model_core.networks import build_network
from model_core.volumes import write_volume
from model_core.weights import save_weights

WORKER = Path(__file__).resolve().parents[2] / "model_core" / "worker.py"
PATIENCE = 60  # seconds for one event; nothing here takes a tenth of it


class Worker:
    """A worker process; ``files`` holds what it sent through the pipe."""

    def __init__(self, **environment):
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | environment,
        )
        self.files, self.log = {}, []
        self._arriving = {}
        self._lines = queue.SimpleQueue()
        for stream, take in ((self.process.stdout, self._lines.put), (self.process.stderr, self.log.append)):
            threading.Thread(target=self._pump, args=(stream, take), daemon=True).start()

    def _pump(self, stream, take):
        for line in stream:
            take(line)
        take(b"")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.process.poll() is None:
                with contextlib.suppress(OSError, ValueError):  # it may have ended, or its input be closed
                    self.send("quit")
                self.process.wait(PATIENCE)
        finally:
            self.process.kill()

    def send(self, request, identifier=None, **fields):
        self.send_line(json.dumps({"request": request, "id": identifier, **fields}).encode())

    def send_line(self, line):
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def event(self):
        """The next event that is no file; None when the worker said its last."""
        while line := self._lines.get(timeout=PATIENCE):
            event = json.loads(line, parse_constant=_refuse)
            if event["event"] != "file":
                return event
            self._arriving.setdefault(event["file"], bytearray()).extend(base64.b64decode(event["data"]))
            if event["last"]:
                self.files[event["file"]] = bytes(self._arriving.pop(event["file"]))
        return None

    def until(self, *names):
        """All events up to the first of these names, that one included."""
        events = []
        while not events or events[-1]["event"] not in names:
            events.append(self.event())
            assert events[-1] is not None, b"".join(self.log).decode()
        return events

    def answer(self, request, identifier=None, **fields):
        """Send a request; the event that ends it."""
        self.send(request, identifier, **fields)
        return self.until("opened", "done", "stopped", "error")[-1]

    def open(self, folder):
        (Path(folder) / "token").write_text("a secret", "utf-8")
        return self.answer("open", folder=str(folder), token="a secret")

    def put(self, name, content, chunk=1000):
        for start in range(0, len(content), chunk):
            data = base64.b64encode(content[start : start + chunk]).decode()
            self.send("put", file=name, data=data, last=start + chunk >= len(content))

    def end_of_events(self):
        """All that it says from now on; returns at its end."""
        events = []
        while event := self.event():
            events.append(event)
        return events

    def status(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return self.process.wait(PATIENCE)


def _refuse(constant):
    raise AssertionError(f"{constant} is not valid JSON")


def segment_fields(**changes):
    """A segment request, complete."""
    fields = {"t1": "t1.nii", "t2": "t2.nii", "mask": None, "weights": None, "step": 8, "device": "cpu"}
    fields |= {"batch_size": None, "align_t2": False, "bias_correction": False, "probabilities": False, "maps": False}
    fields |= {"look_at": None}
    return fields | changes


def write_weights(path, **card):
    """Weights of a quick network, drawn at random, that give every label somewhere."""
    torch.manual_seed(3)
    save_weights(path, build_network("model2"), {"window": 16} | card)
    return path


def write_cases(folder):
    """Three pairs of the phantom.

    t1, t2, mask, reference: 1 mm, 13 × 17 × 11 voxels of brain. finer_t1, finer_t2: the same brain, anisotropic and
    oblique, on grids of their own. long_t1, long_t2: 1 mm and twice as large, for runs that last.
    """
    small = np.diag([0.5, 0.5, 0.5, 1])
    plain = grid(AXIS_ORDERS[11], (2, 2, 2))
    grids = {
        "t1": (*plain, small),
        "t2": (*plain, small),
        "finer_t1": (*grid(AXIS_ORDERS[35], (1.8, 2.4, 1.6), (4, 8, -3)), small),
        "finer_t2": (*grid(spacing=(2, 2.2, 2)), small),
        "long_t1": (*grid(), np.eye(4)),
        "long_t2": (*grid(), np.eye(4)),
    }
    noise = np.random.default_rng(0)
    for name, (shape, affine, scaling) in grids.items():
        t1, t2, labels = scans(shape, affine)
        scan = t1 if name.endswith("t1") else t2
        values = np.where(labels > 0, scan.array + noise.normal(0, 5, shape), 0).astype(np.float32)
        write_volume(folder / f"{name}.nii", values, scaling @ affine)
        if name == "t1":
            write_volume(folder / "mask.nii", (labels > 0).astype(np.uint8), scaling @ affine)
            write_volume(folder / "reference.nii", labels, scaling @ affine)
    return folder
