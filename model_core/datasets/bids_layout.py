"""Which files of a BIDS data set belong to which subject."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from model_core.datasets.bids_names import (
    SCAN_SUFFIXES,
    contradiction_with_folders,
    entities_of,
    folder_of_other_data,
    have_same_value,
    listed,
    spaces_of,
    why_not_of,
)
from model_core.datasets.layouts import Found, Subject, natural_order
from model_core.errors import UserError
from model_core.program import PROGRAM_NAME
from model_core.volumes.label_values import is_numbered_unknown, is_own_result, stated_values
from model_core.volumes.volume import explain_unusable

NOT_RAW = ("derivatives", "sourcedata")
CORRECTED = "corrected"  # description of what a person went over: it comes before all others
DESCRIPTIONS = ("aseg", "aparcaseg", "")  # of segmentations, the preferred first; others come after them
NO_IMAGES = ("", "json", "tsv", "txt", "png", "html", "svg", "mat")  # suffixes of what lies beside scans
NO_MAGNITUDE = ("phase", "real", "imag")  # values of the entity part


@dataclass
class _Session:
    """The scans of one session, by suffix, and what was not used of it."""

    scans: dict[str, list[Path]] = field(default_factory=lambda: {suffix: [] for suffix in SCAN_SUFFIXES})
    not_chosen: list[Path] = field(default_factory=list)

    def all_scans(self) -> list[Path]:
        """Those chosen and not, of both suffixes."""
        return [*(path for suffix in SCAN_SUFFIXES for path in self.scans[suffix]), *self.not_chosen]


def find_bids(folder: Path, volumes: Iterable[Path], chosen: Sequence[str] = ()) -> Found:
    """Find ``sub-*/[ses-*/]anat/*_T1w`` and ``_T2w``, with a ``_dseg`` and a brain ``_mask``, mostly in derivatives.

    Scans in derivatives and sourcedata are not used. Of several scans of a session the T1 and T2 are taken that can be
    segmented, have a segmentation, and agree best in their names.

    Args:
        folder: of the data set.
        volumes: all its volume files.
        chosen: entities like ``acq-mprage``: scans that have another value of one are left aside.
    """
    found = Found()
    sessions: dict[str, _Session] = defaultdict(_Session)
    derived: dict[str, dict[str, list[Path]]] = defaultdict(lambda: {"dseg": [], "mask": []})
    processed: list[Path] = []
    for path in volumes:
        entities = entities_of(path)
        suffix, subject = entities["suffix"], entities.get("sub")
        if suffix in SCAN_SUFFIXES and any(part in NOT_RAW for part in path.relative_to(folder).parts[:-1]):
            processed.append(path)
        elif subject and suffix in SCAN_SUFFIXES:
            name = "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)
            if reason := _why_no_scan(path, entities):
                found.unused.append(f"{path.relative_to(folder)} is not used, because {reason}.")
            elif _is_chosen(entities, chosen):
                sessions[name].scans[suffix].append(path)
            else:
                sessions[name].not_chosen.append(path)
        elif suffix in SCAN_SUFFIXES and len(entities) > 1:
            found.unused.append(f"{path.relative_to(folder)} is not used, because its name begins with no sub-.")
        elif subject and (suffix == "dseg" or (suffix == "mask" and _is_brain_mask(entities))):
            derived[subject][suffix].append(path)
    for name, session in sessions.items():
        _sort_out(name, session, derived[entities_in(name)["sub"]], sessions, found, chosen)
    found.unused += _unclaimed(folder, derived, sessions)
    own = {path.resolve() for session in sessions.values() for path in session.all_scans()}
    if left := [path for path in processed if path.resolve() not in own]:
        found.unused.append(
            f"{len(left)} T1w and T2w files in derivatives and sourcedata ({listed(left)}) are not used, because they "
            "are not the data set's own scans."
        )
    return found


def entities_in(name: str) -> dict[str, str]:
    """The entities of a session's name."""
    return dict(part.split("-", maxsplit=1) for part in name.split("_"))


def _why_no_scan(path: Path, entities: dict[str, str]) -> str:
    if kind := folder_of_other_data(path):
        return f"it lies in {kind}"
    if entities.get("part") in NO_MAGNITUDE:
        return f"it is no magnitude image (part-{entities['part']})"
    return contradiction_with_folders(path)


def _is_chosen(entities: dict[str, str], chosen: Sequence[str]) -> bool:
    wanted = [choice.split("-", maxsplit=1) for choice in chosen]
    return all(key not in entities or have_same_value(key, entities[key], value) for key, value in wanted)


def _is_brain_mask(entities: dict[str, str]) -> bool:
    return entities.get("desc") == "brain" and entities.get("label", "brain") == "brain"


def _sort_out(
    name: str,
    session: _Session,
    derived: dict[str, list[Path]],
    sessions: dict[str, _Session],
    found: Found,
    chosen: Sequence[str],
) -> None:
    """Make a subject of a session's files, or say what is missing."""
    t1s, t2s = (session.scans[suffix] for suffix in SCAN_SUFFIXES)
    if not (t1s and t2s):
        missing = [f"no {suffix}" for suffix in SCAN_SUFFIXES if not session.scans[suffix]]
        phrase = f"{name}: {' and '.join(missing)}" + (" of those chosen" if session.not_chosen else "")
        found.incomplete[name] = f"{phrase} beside {listed(session.all_scans())}"
        return
    subject = name.split("_")[0]
    alone = sum(other.split("_")[0] == subject for other in sessions) == 1
    notes: list[str] = []
    faults = _find_faults(t1s, t2s)

    def rank(pair: tuple[Path, Path]) -> tuple:
        t1, t2 = (entities_of(path) for path in pair)
        unnamed = sum(choice.partition("-")[0] not in entities for choice in chosen for entities in (t1, t2))
        faulty, labels = sum(bool(faults.get(path)) for path in pair), _of(pair[0], derived["dseg"], alone)
        return unnamed, faulty, not labels, len(t1.items() ^ t2.items()), *map(natural_order, pair)

    t1, t2 = min(product(t1s, t2s), key=rank)
    left = [path for path in session.all_scans() if path not in (t1, t2)]
    if left:
        why = [f"{path.name}{f' ({faults[path]})' if faults.get(path) else ''}" for path in left]
        notes.append(f"{t1.name} and {t2.name} were taken of several scans; left aside: {', '.join(why)}")
    labels, mask = (
        _choose("reference", t1, derived["dseg"], alone, notes),
        _choose("brain mask", t1, derived["mask"], alone, notes),
    )
    found.subjects.append(Subject(name, t1, t2, labels, mask, tuple(notes)))


def _find_faults(t1s: list[Path], t2s: list[Path]) -> dict[Path, str]:
    """Why scans cannot be segmented, by their headers; looked at only where there is a choice."""
    return {path: explain_unusable(path) for scans in (t1s, t2s) if len(scans) > 1 for path in scans}


def _of(t1: Path, derived: Iterable[Path], alone: bool) -> list[Path]:
    """The files that belong to a T1, the preferred first."""
    own = entities_of(t1)
    ranked = []
    for path in derived:
        theirs = entities_of(path)
        of_another_session = "ses" in own and "ses" not in theirs and not alone
        if of_another_session or why_not_of(own, path):
            continue
        spaces, description = spaces_of(own), theirs.get("desc", "")
        space = 1 + spaces.index(theirs["space"]) if "space" in theirs else 0
        preference = DESCRIPTIONS.index(description) if description in DESCRIPTIONS else len(DESCRIPTIONS)
        ranked.append((description != CORRECTED, space, preference, natural_order(path), path))
    return [path for *_, path in sorted(ranked)]


def _choose(what: str, t1: Path, derived: Sequence[Path], alone: bool, notes: list[str]) -> Path | None:
    """Take the preferred file that belongs to a T1, and note which were left aside, and why."""
    fitting, why = _of(t1, derived, alone), {}
    for path in fitting if what == "reference" else ():
        if reason := _why_no_reference(path):
            why[path] = reason
    usable = [path for path in fitting if path not in why]
    chosen = usable[0] if usable else None
    why |= dict.fromkeys(usable[1:], "another one was taken")
    own = entities_of(t1)
    for path in derived:
        if path not in why and path != chosen and _may_be_of(own, path):
            why[path] = why_not_of(own, path) or "it names no session, and there are several"
    left = list(why)
    if left:
        reasons = "; ".join(dict.fromkeys(why[path] for path in left[:4]))
        notes.append(f"left aside as its {what}: {listed(left)} ({reasons})")
    return chosen


def _may_be_of(own: dict[str, str], path: Path) -> bool:
    """Whether a file is of the T1's session, or of none."""
    return entities_of(path).get("ses", own.get("ses")) == own.get("ses")


def _why_no_reference(path: Path) -> str:
    try:
        stated_values(path)
    except UserError as error:
        return str(error).rstrip(".")
    if is_numbered_unknown(path):
        return "a folder of that name numbers gray matter 1, white matter 2 and CSF 3, but no file says that it does"
    if is_own_result(path):
        return f"{PROGRAM_NAME} made it and no person corrected it; save a corrected one in derivatives/corrected"
    return ""


def _unclaimed(folder: Path, derived: dict[str, dict[str, list[Path]]], sessions: dict[str, _Session]) -> Iterator[str]:
    """Tell of segmentations of subjects, or of sessions, that have no scan."""
    for subject, files in derived.items():
        scanned = [entities_in(name) for name in sessions if entities_in(name)["sub"] == subject]
        lonely = [
            path
            for path in files["dseg"]
            if not any(_may_be_of(own, path) or "ses" not in entities_of(path) for own in scanned)
        ]
        if lonely:
            yield f"{listed(lonely)} ({len(lonely)} of sub-{subject}) is not used, because there is no scan beside it."


def looks_like_scan(path: Path) -> bool:
    """Whether a file that is no readable volume has the name of a T1w or T2w scan."""
    stem, _, ending = path.name.partition(".")
    return stem.endswith(("_T1w", "_T2w")) and ending.lower() not in NO_IMAGES
