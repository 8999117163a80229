"""Tiny BIDS data sets, and a quick program in the place of segment.py that notes in a file what it was asked to do."""

import contextlib
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

from model_core import cohort
from model_core.model_card import CARD_KEY

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, os, sys, time
from pathlib import Path

given, words = {}, sys.argv[1:]
for at, word in enumerate(words):
    if word.startswith("--"):
        given[word] = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("--") else True
scan, here = Path(given["--t1"]), Path(__file__).parent
name = scan.name.removesuffix("_T1w.nii.gz")

def note(what):
    with open(here / "audit.txt", "a") as file:
        file.write(f"{what} {name} {os.getpid()} {os.getppid()}\\n")

note("begun")
while (here / f"hold {name}").exists():
    time.sleep(0.02)
if (here / "seconds.txt").exists():
    time.sleep(float((here / "seconds.txt").read_text()))
content = scan.read_bytes()
if content.startswith(b"bad"):
    sys.exit(f"{scan} is no scan; expected one; choose another.")
if content.startswith(b"crash"):
    os.kill(os.getpid(), 9)
output = Path(given["--output"])
output.write_bytes(b"labels of " + content)
Path(given["--picture"]).write_bytes(b"picture")
Path(given["--report"]).write_text("steps")
Path(given["--save-mask"]).write_bytes(b"mask")
if "--probabilities" in given:
    Path(given["--probabilities"]).mkdir()
    for tissue in ("background", "csf", "gm", "wm"):
        (Path(given["--probabilities"]) / f"{tissue}.nii.gz").write_bytes(tissue.encode())
if "--uncertainty" in given:
    Path(given["--uncertainty"]).write_bytes(b"uncertainty")
volumes = {"csf": 100.0 + len(content), "gm": 400.0, "wm": 200.0}
warnings = [{"code": "dark", "sentence": "dark & gloomy"}] if content.startswith(b"dark") else []
sidecar = {"step": int(given["--step"]), "volumes_ml": volumes, "tissues": [], "warnings": warnings}
expected = {name: {"low": 0.7, "middle": 0.8, "high": 0.85} for name in ("csf", "gm", "wm")}
sidecar |= {"expected_dice": expected, "mean_uncertainty": 0.25}
Path(str(output).removesuffix(".nii.gz") + ".json").write_text(json.dumps(sidecar))
note("ended")
"""


def write_data(folder, *names, t1=b"scan"):
    """Make T1 and T2 of subjects like ``sub-01`` or ``sub-01_ses-2``; files that only the quick program reads."""
    for name in names:
        place = folder.joinpath(*name.split("_")[:2] if "_ses-" in name else name.split("_")[:1], "anat")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}_T1w.nii.gz").write_bytes(t1)
        (place / f"{name}_T2w.nii.gz").write_bytes(b"T2")
    return folder


def write_weights(path, content=b""):
    """Write a weights file that holds a card and nothing else."""
    header = json.dumps({"__metadata__": {CARD_KEY: json.dumps({"window": 32, "note": content.decode()})}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


class QuickCohort:
    """A data set, an output folder and the quick program; runs the command in this process or in another."""

    def __init__(self, folder, *names):
        self.folder = folder
        self.data, self.output = folder / "data", folder / "output"
        write_data(self.data, *names)
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM, encoding="utf-8")
        self.weights = write_weights(folder / "weights.safetensors")

    @property
    def arguments(self):
        common = ["--bids", self.data, "--output", self.output, "--weights", self.weights, "--device", "cpu"]
        return [str(argument) for argument in common]

    def run(self, *more):
        cohort.main([*self.arguments, *map(str, more)], program=self.program)

    def start(self, *more, **options):
        """Start the command as a process of its own."""
        script = (
            f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(Path(__file__).parent)!r}]\n"
            "from cohort_folders import as_process\n"
            f"sys.exit(as_process({str(self.program)!r}))"
        )
        return subprocess.Popen(
            [sys.executable, "-c", script, *self.arguments, *map(str, more)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options,
        )  # fmt: skip

    def hold(self, name):
        """Let the program wait at a subject until the file that this returns is gone."""
        path = self.folder / f"hold {name}"
        path.touch()
        return path

    def slow_down(self, seconds):
        (self.folder / "seconds.txt").write_text(str(seconds))

    def audit(self, what):
        """Names that the program noted, in order: "begun" or "ended"."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "audit.txt").read_text().splitlines()
            return [name for word, name, *_ in map(str.split, lines) if word == what]
        return []

    def processes(self):
        """For each subject in the audit the last process that had it, and that one's parent."""
        lines = (self.folder / "audit.txt").read_text().splitlines()
        return {name: (int(pid), int(parent)) for _, name, pid, parent in map(str.split, lines)}

    def forget(self):
        (self.folder / "audit.txt").unlink(missing_ok=True)

    def labels(self, name):
        parts = name.split("_")[:2] if "_ses-" in name else name.split("_")[:1]
        return self.output.joinpath(*parts, "anat", f"{name}_space-T1w_dseg.nii.gz")

    def sidecar(self, name):
        path = self.labels(name)
        return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text("utf-8"))

    def is_complete(self, name):
        """Whether the result is there, whole; anything in between fails the test."""
        path = self.labels(name)
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        if not sidecar.exists():
            return False
        assert path.read_bytes() == b"labels of scan"
        probabilities = {file.read_bytes() for file in path.parent.glob(f"{name}_space-T1w_label-*_probseg.nii.gz")}
        assert probabilities == {b"csf", b"gm", b"wm"}
        assert json.loads(sidecar.read_text("utf-8"))["volumes_ml"]["gm"] == 400
        return True


def as_process(program):
    """What a started command runs: the signals of the command line included."""
    import signal

    from model_core.system.command_line import run_command

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    return run_command(functools.partial(cohort.main, program=Path(program)))


def wait_until(condition, seconds=60):
    """Wait for something; the limit only keeps a broken test from hanging."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")
