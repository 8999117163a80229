"""The model card inside a weights file, read with the standard library alone: quick, and nothing is unpacked or run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from model_core.errors import UserError
from model_core.windows import WHOLE_BRAIN

CARD_KEY = "infantbrainseg_card"
DEFAULT_WEIGHTS = Path(__file__).resolve().parents[1] / "Resources" / "weights" / "fast_unet.safetensors"
EXTRACTION_WEIGHTS = DEFAULT_WEIGHTS.with_name("brain_extraction.safetensors")
DEFAULT_WINDOW = 32
PUBLISHED_STEP = 8
SET_RIGHT = "use weights saved by train.py, or the default weights under Resources"  # ends of error sentences

LONGEST_HEADER = 100_000_000  # bytes; the safetensors library takes no longer one either


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the card of a weights file; the tensors stay on disk.

    Args:
        path: a ``.safetensors`` file of ``model_core.weights.save_weights``.

    Raises:
        UserError: the file is missing or may not be read, is no safetensors file (a pickled checkpoint, say), is
            damaged or cut short, or carries no card.
    """
    path = Path(path)
    try:
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise UserError(f"The weights file {path} {found}; a .safetensors file was expected; check the path.")
        header = _read_header(path)
    except PermissionError as error:
        raise UserError(
            f"The weights file {path} may not be read; expected a file that you may open; change its permissions or "
            "choose another file."
        ) from error
    if header is None:
        raise UserError(describe_unreadable(path))
    card = header.get("__metadata__", {}).get(CARD_KEY)
    if card is None:
        raise UserError(f"The weights file {path} carries no model card of this program; {SET_RIGHT}.")
    card = _json_object(card)
    if card is None:
        raise UserError(f"The model card in the weights file {path} is damaged; {SET_RIGHT}.")
    return card


def default_step(card: dict[str, Any]) -> int:
    """The overlap step with which weights are at their best: the whole brain at once, or the published one."""
    return WHOLE_BRAIN if card.get("whole_brain") is True else PUBLISHED_STEP


def check_step(card: dict[str, Any], step: int) -> None:
    """Refuse an overlap step that weights cannot run with.

    Args:
        card: of the weights.
        step: in voxels, or ``WHOLE_BRAIN``.

    Raises:
        UserError: the step is not 1 to the window's side, nor the whole brain for weights that take that.
    """
    window, whole_brain = card.get("window", DEFAULT_WINDOW), card.get("whole_brain") is True
    if (step == WHOLE_BRAIN and whole_brain) or not isinstance(window, int) or 1 <= step <= window:
        return
    quarter, half = max(window // 4, 1), max(window // 2, 1)  # 8, as published, and 16 with windows of 32
    better = "the whole brain at once (whole)" if whole_brain else f"{quarter}, or {half} for a quicker result"
    found = "the whole brain" if step == WHOLE_BRAIN else f"{step} voxels"
    raise UserError(
        f"The overlap step is {found}; a whole number from 1 to the window's side of {window} was expected with "
        f"{card.get('network')}; take {better}."
    )


def describe_unreadable(path: Path) -> str:
    """Say in one sentence why a file is no readable safetensors file."""
    with open(path, "rb") as file:
        start = file.read(9)
    # A safetensors file starts with the header's length (8 bytes) and "{". Torch's checkpoints are zip
    # files, older ones bare pickles, which open with the byte 0x80.
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):
        return (
            f"The weights file {path} is a pickled checkpoint (.pt, .pth, .ckpt), which could run any program when "
            f"opened; only .safetensors is read; {SET_RIGHT}."
        )
    return (
        f"The weights file {path} is damaged, cut short or not a safetensors file ({path.stat().st_size} bytes); "
        f"copy or download it again, or {SET_RIGHT}."
    )


def _read_header(path: Path) -> dict[str, Any] | None:
    """Return the header, whose entries are objects and whose tensors fill the rest of the file; None if it is none."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            return None
        header = _json_object(file.read(length))
    if header is None or not all(isinstance(entry, dict) for entry in header.values()):
        return None
    ends = [_end_of(entry) for name, entry in header.items() if name != "__metadata__"]
    return header if max(ends, default=0) == size - 8 - length and -1 not in ends else None


def _end_of(tensor: dict[str, Any]) -> int:
    """Return where a tensor of the header ends among the data, in bytes; -1 where that is not said."""
    match tensor.get("data_offsets"):
        case [int(start), int(end)] if 0 <= start <= end:
            return end
    return -1


def _json_object(text: object) -> dict[str, Any] | None:
    """Return the object that a text or bytes in UTF-8 stand for; None if they stand for none."""
    if not isinstance(text, str | bytes):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
