"""The brain's mask from a head: by the network that comes along, or by SynthStrip or HD-BET where they are installed.

These run as processes of their own. SynthStrip: Hoopes et al., NeuroImage 2022; trained on all ages. HD-BET: Isensee
et al., Human Brain Mapping 2019; trained on adults.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.segmentation_options import BRAIN_EXTRACTIONS, BUILT_IN, HD_BET, SYNTHSTRIP, TOOL_TITLES
from model_core.system.environment import tool_environment
from model_core.volumes import Volume, read_mask, resample, to_canonical, write_volume

VOLUME_RANGE_ML = (400.0, 2000.0)  # of a brain with its CSF: from a newborn's to more than an adult's
SMALLEST_PIECE = 0.95  # of the mask that must hang together
STDERR_CHARACTERS = 300  # of a tool's last words, in the error sentence
SECONDS_TO_END = 1.0  # for a tool that is asked to stop; who waits for its end may have no more than two
SECONDS_BETWEEN_LOOKS = 0.1  # for a request to stop while a tool runs

WITHOUT_MODEL = "nipreps-synthstrip"  # installed by pip, it has to be told where its weights are
MODEL_VARIABLE, MODEL_FILE = "SYNTHSTRIP_MODEL", "synthstrip.1.pt"  # of the standard model: the infants' leaves CSF out

_SCAN, _MASK = "scan.nii.gz", "mask.nii.gz"  # names without blanks or dashes, whatever the user's are


@dataclass(frozen=True)
class Tool:
    """A brain extraction tool.

    Attributes:
        name: as the user gives it.
        title: as it is written.
        programs: names that it is found by on the search path; the first that is there is taken.
        command: makes the command line from the program's path and whether to use the GPU; it reads ``scan.nii.gz``.
        masks: names that the mask may be written to.
    """

    name: str
    title: str
    programs: tuple[str, ...]
    command: Callable[[str, bool], list[str]]
    masks: tuple[str, ...]

    @property
    def program(self) -> str | None:
        """The path of the program, on the search path or beside this Python; None where it is not installed.

        The program that comes by pip counts where its model is found, too.
        """
        places = (None, str(Path(sys.executable).parent))  # None: the search path
        names = [name for name in self.programs if name != WITHOUT_MODEL or synthstrip_model()]
        return next(filter(None, (shutil.which(name, path=path) for path in places for name in names)), None)

    @property
    def is_installed(self) -> bool:
        """Whether it can be used on this machine."""
        return self.program is not None

    def check(self) -> None:
        """Refuse to go on where the tool is not installed.

        Raises:
            UserError: it is not.
        """
        if not self.is_installed:
            missing = _without_model() if WITHOUT_MODEL in self.programs else ""
            raise UserError(
                f"{self.title} ({' or '.join(self.programs)}) was not found on the search path{missing}; expected it "
                "to be installed; install it, choose --brain-extraction built-in, or give a brain mask "
                "(--mask)."
            )

    def find(
        self,
        t1: Volume,
        t2: Volume,
        *,
        gpu: bool = False,
        scratch: Path | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> Volume:
        """Let the tool find the brain in T1; see `extract_brain`."""
        return extract_brain(t1, self, gpu=gpu, scratch=scratch, on_wait=on_wait)


class BuiltIn:
    """The network that comes along; it looks at both scans, needs seconds, no GPU and no files."""

    name, title, is_installed = BUILT_IN, "built-in network", True

    def check(self) -> None:
        """It is always there."""

    def find(
        self,
        t1: Volume,
        t2: Volume,
        *,
        gpu: bool = False,
        scratch: Path | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> Volume:
        """Find the brain.

        Args:
            t1: with skull, any orientation.
            t2: on any grid that lies over T1's place.
            gpu, scratch: for the tools; without effect here.
            on_wait: called once; what it raises ends the work.

        Returns:
            The mask on T1's own grid, bool.

        Raises:
            UserError: the scans show no brain, or one that is cut off.
        """
        from model_core.extraction import find_brain  # torch, which who only names the choices does without

        if on_wait:
            on_wait()
        mask = find_brain(t1, t2)
        check_mask(mask)
        return mask


def _hd_bet_command(program: str, gpu: bool) -> list[str]:
    """Version 2 knows other options than version 1, and only its help tells which one it is."""
    asked = subprocess.run(
        [program, "--help"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=tool_environment(),
    )
    files = [program, "-i", _SCAN, "-o", "brain.nii.gz"]
    if "--save_bet_mask" in asked.stdout + asked.stderr:
        return [*files, "--save_bet_mask", "-device", *(["cuda"] if gpu else ["cpu", "--disable_tta"])]
    return [*files, "-s", "1", "-device", *(["0"] if gpu else ["cpu", "-mode", "fast", "-tta", "0"])]


def _synthstrip_command(program: str, gpu: bool) -> list[str]:
    model = ["--model", str(synthstrip_model())] if Path(program).stem == WITHOUT_MODEL else []
    return [program, "-i", _SCAN, "-o", "brain.nii.gz", "-m", _MASK, *model, *(["-g"] if gpu else [])]


def synthstrip_model() -> Path | None:
    """The weights for SynthStrip's program of pip: where a variable names them, or in FreeSurfer's folder."""
    environment = tool_environment()
    named = environment.get(MODEL_VARIABLE), environment.get("FREESURFER_HOME")
    places = [Path(named[0])] if named[0] else []
    places += [Path(named[1], "models", MODEL_FILE)] if named[1] else []
    return next((place for place in places if place.is_file()), None)


TOOLS = (
    Tool(
        SYNTHSTRIP,
        TOOL_TITLES[SYNTHSTRIP],
        ("mri_synthstrip", WITHOUT_MODEL, "synthstrip-docker", "synthstrip-singularity"),
        _synthstrip_command,
        (_MASK,),
    ),
    Tool(HD_BET, TOOL_TITLES[HD_BET], ("hd-bet",), _hd_bet_command, ("brain_bet.nii.gz", "brain_mask.nii.gz")),
)
EXTRACTORS: tuple[BuiltIn | Tool, ...] = (BuiltIn(), *TOOLS)


def choose_extractor(name: str) -> BuiltIn | Tool:
    """Return what finds the brain.

    Args:
        name: one of `BRAIN_EXTRACTIONS`.

    Raises:
        UserError: there is none of that name, or it is not installed.
    """
    extractor = next((extractor for extractor in EXTRACTORS if extractor.name == name), None)
    if extractor is None:
        raise UserError(
            f"{name!r} is no brain extraction; expected {' or '.join(BRAIN_EXTRACTIONS)}; choose one of these."
        )
    extractor.check()
    return extractor


def _without_model() -> str:
    """Say that SynthStrip's program of pip is there and lacks its model, where that is so."""
    places = (None, str(Path(sys.executable).parent))
    if synthstrip_model() or not any(shutil.which(WITHOUT_MODEL, path=path) for path in places):
        return ""
    return f", for {WITHOUT_MODEL} has no model: download SynthStrip's {MODEL_FILE} and name it in {MODEL_VARIABLE}"


def extract_brain(
    t1: Volume,
    tool: Tool,
    *,
    gpu: bool = False,
    scratch: Path | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Volume:
    """Let a tool find the brain in a head.

    It gets the scan in canonical orientation, in a temporary folder of its own that is removed at the end; it is ended
    when the user stops.

    Args:
        t1: with skull, any orientation.
        tool: an installed one.
        gpu: whether it may use the first CUDA device.
        scratch: where the temporary folder is made; None takes the system's place for such.
        on_wait: called a few times a second while the tool runs; what it raises ends the tool.

    Returns:
        The mask on T1's own grid, bool.

    Raises:
        UserError: the tool fails, writes no mask, or one that is no brain.
    """
    with tempfile.TemporaryDirectory(prefix="infantbrainseg-", dir=scratch) as folder:
        canonical = to_canonical(t1)
        write_volume(Path(folder) / _SCAN, canonical.array, canonical.affine)
        _run(tool, gpu, Path(folder), on_wait or (lambda: None))
        written = [Path(folder) / name for name in tool.masks if (Path(folder) / name).is_file()]
        if not written:
            raise UserError(
                f"{tool.title} ended without a mask ({' or '.join(tool.masks)}); expected one; check that its version "
                "is a current one, or run it yourself and give the mask (--mask)."
            )
        mask = read_mask(written[0])
    on_t1 = resample(mask, t1.array.shape, t1.affine, order=0).array
    brain = Volume(on_t1 != 0, t1.affine, f"the mask by {tool.title}")
    check_mask(brain)
    return brain


def _run(tool: Tool, gpu: bool, folder: Path, on_wait: Callable[[], None]) -> None:
    """Run a tool to its end; its children end with it when this one is interrupted."""
    with open(folder / "stderr.txt", "w+b") as errors:
        try:
            command = tool.command(tool.program or tool.programs[0], gpu)
            on_wait()  # to ask a tool for its version may have taken seconds
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=tool_environment(),
                start_new_session=os.name == "posix",  # a group of its own, so that its children can be ended, too
            )
        except OSError as error:
            raise UserError(
                f"{tool.title} ({tool.program}) could not be started ({error.strerror or error}); expected a program; "
                "check its installation, or give a brain mask (--mask)."
            ) from error
        try:
            status = _wait(process, on_wait)
        finally:
            _end(process)
        errors.seek(0)
        said = " ".join(errors.read().decode("utf-8", "replace").split())
    if status != 0:
        raise UserError(
            f"{tool.title} failed with status {status}: {said[-STDERR_CHARACTERS:] or 'it said nothing'}; expected a "
            "brain mask; run it by hand to see more, or give a brain mask (--mask)."
        )


def _wait(process: subprocess.Popen[bytes], on_wait: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(timeout=SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            on_wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, first gently; nothing where it has ended already."""
    if process.poll() is not None:
        return
    for force in (False, True):
        with contextlib.suppress(ProcessLookupError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
            elif force:
                process.kill()
            else:
                process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=SECONDS_TO_END)
            return


def check_mask(mask: Volume) -> None:
    """Refuse a mask that is no brain.

    Args:
        mask: bool; its path names it in the error sentence.

    Raises:
        UserError: its volume is not a brain's, it is in pieces, or it fills the scan from face to face.
    """
    brain = mask.array != 0
    volume = float(brain.sum()) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    smallest, largest = VOLUME_RANGE_ML
    to_do = "look at it over the scan, and give a better one (--mask)"
    if not smallest <= volume <= largest:
        raise UserError(
            f"{mask.path} has a volume of {volume:.0f} ml; expected a brain of {smallest:.0f} to {largest:.0f} ml; "
            f"{to_do}."
        )
    pieces, _ = ndimage.label(brain)
    share = np.bincount(pieces.ravel())[1:].max() / brain.sum()
    if share < SMALLEST_PIECE:
        raise UserError(
            f"{mask.path} is in pieces: the largest has {share:.0%} of it; expected one brain, {SMALLEST_PIECE:.0%} or "
            f"more; {to_do}."
        )
    if all(brain.take(end, axis).any() for axis in range(3) for end in (0, -1)):
        raise UserError(f"{mask.path} reaches all six faces of the scan; expected a brain inside a head; {to_do}.")
