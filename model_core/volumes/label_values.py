"""What the values of a label map mean: as its data set says, and else as the known sets of values have it.

A data set says it in the names of the segments in the file's own header, in a table (BIDS: ``*_dseg.tsv`` beside the
map, or above it), or by naming the program that made the map. What contradicts itself is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.program import PROGRAM_NAME
from model_core.system.text_files import read_json, read_rows
from model_core.tissues import BACKGROUND, CSF, GRAY_MATTER, TISSUES, WHITE_MATTER, Tissue, labels_from_values
from model_core.volumes.suffixes import split_suffix

NAMES = {
    BACKGROUND: "background|bg|cerebellum|cbm|brain ?stem|bs|bone|skull|scalp|soft tissue|non ?brain|air|eyes?",
    CSF: "csf|cerebro ?spinal fluid|e ?csf|extra ?(axial|ventricular|cerebral) csf|ventricular csf|liquor"
    "|brain cerebrospinal fluid pathway|((lateral|third|fourth) )?ventricles?",
    GRAY_MATTER: "gm|gr[ae]y|c ?gm|d ?gm|s ?gm|((cortical|cerebral|deep|sub ?cortical) )?gr[ae]y matter"
    "|(cerebral )?cortex|hippocamp(us|i)( and amygdalae?)?|amygdalae?|thalam(us|i)|basal ganglia|putamen"
    "|caudate( nucleus)?|(globus )?pallid(um|us)|(nucleus )?accumbens( area)?",
    WHITE_MATTER: "wm|white|((cerebral|un ?myelinated|myelinated) )?white matter|corpus callosum",
}
# The table of common image-derived labels in the BIDS specification: values of the column "mapping".
BIDS_MAPPING = {
    0: BACKGROUND, 1: GRAY_MATTER, 2: WHITE_MATTER, 3: CSF, 4: BACKGROUND, 5: BACKGROUND, 6: BACKGROUND,
    8: GRAY_MATTER, 9: GRAY_MATTER, 10: BACKGROUND, 11: BACKGROUND,
}  # fmt: skip
# These write their dseg without a description in the order of that table.
BIDS_ORDER_PROGRAMS = ("fmriprep", "smriprep", "nibabies")
BIDS_ORDER = {0: BACKGROUND, 1: GRAY_MATTER, 2: WHITE_MATTER, 3: CSF}
DESCRIPTION_FILE = "dataset_description.json"
SEGMENT_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Tags):=(.*)")
MOST_FOLDERS = 8  # that are looked through above a label map
LARGEST_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class StatedValues:
    """What a data set says that values of a label map mean.

    Attributes:
        tissues: value -> class, for the values that it speaks of.
        source: who says so, for sentences.
    """

    tissues: dict[int, Tissue] = field(default_factory=dict)
    source: str = ""


def tissue_named(name: str) -> Tissue | None:
    """The class of a name such as "Left-Cerebral-White-Matter" or "GM"; None where it is no known one."""
    words = re.sub(r"[\s_\-./]+", " ", name.strip().lower())
    words = re.sub(r"^(left|right|lh|rh|ctx) | (left|right|lh|rh|l|r)$", "", words).strip()
    return next((tissue for tissue, pattern in NAMES.items() if re.fullmatch(pattern, words)), None)


def stated_values(path: str | Path) -> StatedValues | None:
    """Find out what a label map's data set says of its values; the map itself is not opened, but for a NRRD header.

    Raises:
        UserError: it contradicts itself.
    """
    path = Path(path)
    sources = [source for source in (_from_segments(path), _from_table(path), _from_program(path)) if source]
    for first, second in ((a, b) for at, a in enumerate(sources) for b in sources[at + 1 :]):
        for value in sorted(first.tissues.keys() & second.tissues.keys()):
            if first.tissues[value] is not second.tissues[value]:
                raise UserError(
                    f"The values of {path} are stated twice and otherwise: {value} is "
                    f"{first.tissues[value].name} in {first.source} and {second.tissues[value].name} in "
                    f"{second.source}; expected one meaning; correct the wrong one."
                )
    return sources[0] if sources else None


def to_labels(values: np.ndarray, path: str | Path) -> tuple[np.ndarray, list[Finding]]:
    """Map the values of a label map to labels 0 to 3.

    Args:
        values: integers of any shape, from the file.
        path: of the file, beside and above which its data set speaks.

    Returns:
        uint8 labels of the same shape; and what a person should know of their meaning.

    Raises:
        UserError: the data set contradicts itself or what the values must be, or values are unknown.
    """
    stated = stated_values(path)
    found = np.unique(values).tolist()
    usual = _usual_labels(found, path, stated)
    if stated is None:
        return _look_up(values, found, usual), []
    known = stated.tissues | {0: stated.tissues.get(0, BACKGROUND)}
    if set(found) <= known.keys():
        labels = [known[value].label for value in found]
        findings = [] if labels == usual or not any(found) else [_told(path, stated, found)]
        return _look_up(values, found, labels), findings
    if usual is None:
        raise _unknown(path, found, [value for value in found if value not in known], stated)
    for value, label in zip(found, usual, strict=True):
        if value in stated.tissues and stated.tissues[value].label != label:
            other = next(other for other in found if other not in known)
            raise UserError(
                f"{path} has the label values {_list(found)}, of which {stated.source} calls {value} "
                f"{stated.tissues[value].name} and does not explain {other}; expected the meaning of each; add it "
                "there."
            )
    return _look_up(values, found, usual), []


def _usual_labels(found: list[int], path: str | Path, stated: StatedValues | None) -> list[int] | None:
    """Labels of the values by the known sets; None where they are in none and the data set speaks."""
    try:
        return labels_from_values(np.array(found)).tolist()
    except ValueError as error:
        if stated is None:
            raise _unknown(path, found, str(error), None) from error
        return None


def _look_up(values: np.ndarray, found: list[int], labels: list[int] | None) -> np.ndarray:
    return np.array(labels, np.uint8)[np.searchsorted(found, values)]


def _told(path: str | Path, stated: StatedValues, found: list[int]) -> Finding:
    listed = ", ".join(f"{value} {stated.tissues[value].name}" for value in found if value in stated.tissues and value)
    return Finding(
        "label-values",
        f"The values of {path} were taken as {listed}, as {stated.source} has it; expected 1 CSF, 2 gray matter, 3 "
        "white matter where nothing is said; check that it is right.",
    )


def _unknown(path: str | Path, found: list[int], unknown: object, stated: StatedValues | None) -> UserError:
    unknown = _list(unknown) if isinstance(unknown, list) else unknown
    by = f"not explained by {stated.source}" if stated else "unknown"
    return UserError(
        f"{path} has the label values {_list(found)} ({by}: {unknown}); expected 0, 1, 2, 3 or iSeg's 0, 10, 150, 250 "
        "or FreeSurfer's, or a dseg.tsv that says what they are; map the values first."
    )


def _list(values: list[int]) -> str:
    return ", ".join(str(value) for value in values[:8]) + (", …" if len(values) > 8 else "")


# ---- What may speak of it ----------------------------------------------------------------------------------


def _from_segments(path: Path) -> StatedValues | None:
    """The segments that Slicer names in the header of a .seg.nrrd."""
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return None
    try:
        with open(path, "rb") as file:
            header = file.read(LARGEST_HEADER_BYTES).split(b"\n\n")[0].split(b"\r\n\r\n")[0]
    except OSError:
        return None  # whoever reads the voxels says why
    segments: dict[str, dict[str, str]] = {}
    for line in header.decode("utf-8", "replace").splitlines():
        if match := SEGMENT_FIELD.fullmatch(line.strip()):
            segments.setdefault(match[1], {})[match[2]] = match[3]
    tissues = {}
    for segment in segments.values():
        named, coded = tissue_named(segment.get("Name", "")), _coded(segment.get("Tags", ""))
        if named and coded and named is not coded:
            raise UserError(
                f"{path} has a segment that is named {segment['Name']!r} and coded as {coded.snomed_meaning!r}; "
                "expected one tissue; correct its name or its terminology in the Segment Editor."
            )
        value = segment.get("LabelValue", "")
        if (tissue := named or coded) and value.isdecimal():
            tissues[int(value)] = tissue
    return StatedValues(tissues, f"the segments of {path.name}") if tissues else None


def _coded(tags: str) -> Tissue | None:
    return next((tissue for tissue in TISSUES if f"SCT^{tissue.snomed_code}^" in tags), None)


def _folders_above(path: Path) -> Iterator[Path]:
    """The folders whose tables speak of a label map, the nearest first: up to its data set's own, which says so."""
    folder = path.absolute().parent
    yield folder
    if not path.name.startswith("sub-"):
        return
    above = [folder, *folder.parents][:MOST_FOLDERS]
    root = next((at for at, one in enumerate(above) if (one / DESCRIPTION_FILE).is_file()), None)
    if root is None:
        root = 1 + max((at for at, one in enumerate(above) if one.name.startswith("sub-")), default=0)
    yield from above[1 : root + 1]


def _from_table(path: Path) -> StatedValues | None:
    """The table of the nearest folder that has one for this map, in it the one that names most of its entities."""
    stem = split_suffix(path.name)[0]
    own = set(stem.split("_"))
    for folder in _folders_above(path):
        fitting = []
        for table in sorted(folder.glob("*.tsv")):
            name = table.name.removesuffix(".tsv")
            is_ours = name == stem or (name.endswith("dseg") and set(name.split("_")) <= own | {"dseg"})
            if is_ours and (stated := _read_table(table)):
                fitting.append((len(name.split("_")) + (name == stem), stated))
        most = max((count for count, _ in fitting), default=0)
        best = [stated for count, stated in fitting if count == most]
        if best:
            return best[0]
    return None


def _read_table(path: Path) -> StatedValues | None:
    tissues: dict[int, Tissue] = {}
    for row in read_rows(path) or []:
        cells = {name.lower(): value for name, value in row.items()}
        if not re.fullmatch(r"\d+", cells.get("index", "")):
            continue
        index, stated = int(cells["index"]), _stated_in(cells)
        if len(stated | ({tissues[index]} if index in tissues else set())) > 1:
            raise UserError(
                f"{path} contradicts itself on the value {index}: "
                f"{' and '.join(sorted(tissue.name for tissue in stated | {tissues.get(index, next(iter(stated)))}))}; "
                "expected one meaning; correct the table."
            )
        tissues |= dict.fromkeys([index] if stated else [], next(iter(stated), BACKGROUND))
    return StatedValues(tissues, str(path)) if tissues else None


def _stated_in(cells: dict[str, str]) -> set[Tissue]:
    """The classes that the cells of a row name; one, if they agree."""
    found = {tissue_named(cells.get(column, "")) for column in ("name", "abbreviation")}
    if cells.get("mapping", "").isdecimal():
        found.add(BIDS_MAPPING.get(int(cells["mapping"])))
    return {tissue for tissue in found if tissue}


def _from_program(path: Path) -> StatedValues | None:
    if "_desc-" in path.name or not split_suffix(path.name)[0].endswith("dseg"):
        return None
    for folder in _folders_above(path):
        programs = made_by(folder)
        known = [program for program in programs if program.lower().startswith(BIDS_ORDER_PROGRAMS)]
        if known:
            return StatedValues(BIDS_ORDER, f"{folder / DESCRIPTION_FILE} (made by {known[0]})")
        if programs:
            return None
    return None


def made_by(folder: Path) -> list[str]:
    """Names of the programs that a folder's dataset_description.json says that it was made by; empty for none."""
    try:
        description = read_json(folder / DESCRIPTION_FILE)
        entries = description.get("GeneratedBy") or [description.get("PipelineDescription")]
        return [str(entry["Name"]) for entry in entries if isinstance(entry, dict) and "Name" in entry]
    except (AttributeError, TypeError):
        return []


def is_own_result(path: Path) -> bool:
    """Whether this program made a label map and no person corrected it, as its folder and its sidecar have it.

    A sidecar with ``"Manual": true`` speaks for a person, a folder whose description names another program, or none,
    does too.
    """
    programs = next(filter(None, map(made_by, _folders_above(path))), [])
    sidecar = read_json(path.with_name(f"{split_suffix(path.name)[0]}.json"))
    return PROGRAM_NAME in programs and sidecar.get("Manual") is not True


def is_numbered_unknown(path: Path) -> bool:
    """Whether a folder is named after a program that numbers tissues in another order, and no file says so."""
    named = any(folder.name.lower().startswith(BIDS_ORDER_PROGRAMS) for folder in path.absolute().parents)
    return named and "_desc-" not in path.name and stated_values(path) is None
