"""A worker that does what a test says: python pretend_worker.py SCRIPT.json; standard library only, to start quickly.

The script names what to do for each request (and for "start"): a list of steps, each an object with one of
    send      an event; the request's id is filled in
    raw       a text for standard output as it is
    log       a line for standard error
    copy      [file, name]: copy a file into the opened folder
    sleep     seconds
    exit      status
"""

import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

READY = {
    "event": "ready",
    "protocol": 1,
    "versions": {},
    "devices": [{"name": "cpu", "title": "CPU, 2 cores", "usable": True, "reason": None}],
    "default_device": "cpu",
    "note": None,
}

DONE = {
    "event": "done",
    "step_reached": 16,
    "step": 16,
    "stopped": False,
    "file": "labels.nii",
    "probabilities": {},
    "volumes_ml": {"csf": 1.0, "gm": 2.0, "wm": 3.0},
    "windows_done": 8,
    "windows_total": 8,
    "seconds": 4.0,
    "device": "cpu",
    "device_title": "CPU, 2 cores",
    "network": "nonlocal_unet",
    "window": 32,
    "grid_shape": [32, 32, 32],
}


def progress(**counts):
    """A step of a script: an event in the middle of a run."""
    fields = {"stage": "segmenting", "windows_done": 4, "windows_total": 8, "seconds_left": 2.0, "stage_step": 16}
    return {"send": {"event": "progress", "step_reached": 0, **fields, **counts}}


def map_of(step, file):
    """Steps of a script: the map of an overlap step is complete."""
    name = f"map-{step}.nii"
    complete = {"event": "map", "step": step, "file": name, "windows_done": 4, "windows_total": 8}
    return [{"copy": [str(file), name]}, progress(stage_step=step, step_reached=step), {"send": complete}]


def result_of(file):
    """Steps of a script: the run is over."""
    return [{"copy": [str(file), DONE["file"]]}, {"send": DONE}]


def perform(step, request, folder):
    ((kind, value),) = step.items()
    if kind == "send":
        print(json.dumps({"id": request.get("id"), **value}), flush=True)
    elif kind == "raw":
        print(value, end="", flush=True)
    elif kind == "log":
        print(value, file=sys.stderr, flush=True)
    elif kind == "copy":
        shutil.copy(value[0], folder / value[1])
    elif kind == "sleep":
        time.sleep(value)
    elif kind == "exit":
        os._exit(value)
    else:
        raise ValueError(kind)


def main():
    script = json.loads(Path(sys.argv[1]).read_text())
    for step in script.get("start", []):
        perform(step, {}, None)
    ready = READY | {"pid": os.getpid(), "host": platform.node()} | script.get("ready", {})
    perform({"send": ready}, {}, None)
    folder = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["request"] == "open":
            folder = Path(request["folder"])
            perform({"send": {"event": "opened", "shared": True, "folder": request["folder"]}}, request, folder)
        for step in script.get(request["request"], []):
            perform(step, request, folder)


if __name__ == "__main__":
    main()
