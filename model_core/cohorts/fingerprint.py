"""What a subject's result was made from, so that a rerun does only what is missing or outdated."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from model_core.errors import UserError
from model_core.program import PROGRAM_VERSION
from model_core.system.provenance import changes_between, sha256_of
from model_core.volumes.faults import check_content
from model_core.volumes.suffixes import split_suffix

_CHUNK = 1 << 20


def make_fingerprint(files: dict[str, Path | None], options: dict[str, Any]) -> dict[str, Any]:
    """Hash contents and options.

    Args:
        files: name for people -> file, None where there is none.
        options: name -> value, of all that changes the result.

    Returns:
        ``sha256`` of the whole, and the parts that it is of: ``files`` (name -> SHA-256 or None), ``options`` and
        ``program`` (version).

    Raises:
        UserError: a file cannot be read.
    """
    parts = {
        "files": {name: None if path is None else hash_file(path) for name, path in files.items()},
        "options": options,
        "program": PROGRAM_VERSION,
    }
    whole = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {"sha256": whole, **parts}


def explain_difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say what changed between two fingerprints, as one phrase; empty where nothing did."""
    if before.get("sha256") == now["sha256"]:
        return ""
    changes = []
    for name, value in now["files"].items():
        if value != (earlier := _entry(before, "files", name)):
            changes.append(f"{name} is new" if earlier is None else f"{name} is gone" if value is None else name)
    changed = [change for change in changes if " is " not in change]
    phrases = [f"{' and '.join(changed)} changed"] if changed else []
    phrases += [change for change in changes if " is " in change]
    earlier_options = {name: _entry(before, "options", name) for name in now["options"]}
    phrases += changes_between(earlier_options, now["options"], word=_word)
    phrases += changes_between({"the program": before.get("program", "unknown")}, {"the program": now["program"]})
    return "; ".join(phrases) or "its fingerprint is damaged"


def _entry(fingerprint: dict[str, Any], part: str, name: str) -> Any:
    entries = fingerprint.get(part)
    return entries.get(name) if isinstance(entries, dict) else None


def _word(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, and of the files that belong to it, like the .img of an .hdr.

    Raises:
        UserError: it cannot be read, or its content is not there.
    """
    check_content(path)
    stem, suffix = split_suffix(path.name)
    parts = [path]
    if suffix and not suffix.startswith(".nii"):
        parts += sorted(
            other for other in path.parent.glob("*") if split_suffix(other.name)[0] == stem and other.suffix != ".json"
        )
    try:
        return sha256_of(*dict.fromkeys(parts))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); expected a file that you may open; check its permissions."
        ) from error
