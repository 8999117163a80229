"""What a NRRD or MetaImage header says, checked before ITK's own parsers see it.

These take the header's numbers and lengths on trust: a damaged one can make them write beyond their buffers, which
ends the process, or take gigabytes for a file of a few bytes. So only headers as programs write them get through.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from model_core.errors import UserError
from model_core.volumes.faults import check_content, damaged_header, half_missing, truncated

DEFLATE_BEST_RATIO = 1032  # zlib packs no more than this many bytes into one
NRRD_SUFFIXES = (".nrrd", ".nhdr")
LARGEST_HEADER_BYTES = 1 << 20
LONGEST_FIELD = 500  # characters; twelve numbers of a space's directions take 300
MOST_DIMENSIONS = 5
TEXT_ENCODINGS = ("ascii", "text", "txt")
ENCODINGS = ("raw", "gzip", "gz", "hex", *TEXT_ENCODINGS)


@dataclass(frozen=True)
class TextHeader:
    """The text at the beginning of a NRRD or MetaImage file.

    Attributes:
        path: the file.
        fields: by name, in lower case.
        end: where the text ends in the file, in bytes.
    """

    path: Path
    fields: dict[str, str]
    end: int

    @property
    def encoding(self) -> str:
        """``raw``, ``gzip``, ``hex``, ``ascii``, … in lower case."""
        if self.fields.get("compresseddata", "").lower() == "true":
            return "gzip"
        if self.fields.get("binarydata", "").lower() == "false":
            return "ascii"
        return self.fields.get("encoding", "raw").lower()

    def find_voxels(self) -> tuple[Path, int]:
        """Return the file that holds the voxels, and where in it they begin.

        Raises:
            UserError: they lie in several files, or theirs is missing.
        """
        get = self.fields.get
        named = get("data file") or get("datafile") or get("elementdatafile", "LOCAL")
        if named.upper().startswith("LIST") or "%" in named:
            raise UserError(
                f"{self.path} spreads its voxels over several files; expected one file; convert it to .nii.gz."
            )
        if named.upper() == "LOCAL":
            return self.path, self.end
        data_path = self.path.parent / named
        check_content(data_path)
        if not data_path.is_file():
            raise half_missing(self.path, data_path)
        return data_path, 0

    def check_holds(self, voxels: int, bytes_a_voxel: int) -> None:
        """Compare what the header promises with the bytes that are there; ITK fills what is missing with anything.

        Raises:
            UserError: the file is too short for so many voxels.
        """
        path, start = self.find_voxels()
        count = voxels * bytes_a_voxel
        on_disk = os.path.getsize(path) - start
        packed = self.fields.get("compresseddatasize")
        if self.encoding == "gzip" and packed is not None:
            if _whole(self.path, packed) < 0:
                raise damaged_header(self.path, f"promises {packed} packed bytes")
            if _whole(self.path, packed) > on_disk:
                raise truncated(path, _whole(self.path, packed), f"{on_disk:,} packed")
        if self.encoding in TEXT_ENCODINGS:
            found, count = on_disk, 2 * voxels - 1  # a digit a voxel, and a space between two
        elif self.encoding == "hex":
            found = on_disk // 2
        elif self.encoding == "raw":
            found = on_disk
        else:
            found = _count_unpacked(path, start, count)
        if found < count:
            raise truncated(path, count, f"{found:,}")


def check_name(path: Path) -> None:
    """Refuse the one kind of path that ITK takes for a pattern of numbered files.

    Raises:
        UserError: a % in the path of a .mhd file.
    """
    if path.suffix.lower() == ".mhd" and "%" in str(path):
        raise UserError(
            f"{path} has a % in its name or folder, which the format .mhd takes for a number; expected none; "
            "use .mha or .nii.gz, or another folder."
        )


def read_text_header(path: Path) -> TextHeader:
    """Read and check the header of a NRRD or MetaImage file.

    Raises:
        UserError: it is none, or ITK might stumble over it.
    """
    check_name(path)
    fields: dict[str, str] = {}
    is_nrrd = path.suffix.lower() in NRRD_SUFFIXES
    with open(path, "rb") as stream:
        if is_nrrd and not stream.readline(LONGEST_FIELD).startswith(b"NRRD"):
            raise damaged_header(path, "does not begin with NRRD")
        while line := stream.readline(LARGEST_HEADER_BYTES):
            text = line.decode("latin-1").removesuffix("\n").removesuffix("\r")
            if is_nrrd and not text:
                break
            name, value = _split(path, text, is_nrrd)
            if name in fields:
                raise damaged_header(path, f"says {name} twice")
            if name:
                fields[name] = value
            if name == "elementdatafile":
                break
            if stream.tell() > LARGEST_HEADER_BYTES:
                raise damaged_header(path, "does not come to its end")
        end = stream.tell()
    _check_fields(path, fields, is_nrrd)
    return TextHeader(path, fields, end)


def _split(path: Path, text: str, is_nrrd: bool) -> tuple[str, str]:
    """Return name (in lower case) and value of a line; an empty name for comments and for keys of the writer's own."""
    if is_nrrd and (text.startswith("#") or ":=" in text):
        name, _, value = text.partition(":=")
        # The places where ITK looks for the voxels may be set so, too.
        return (name.strip().lower(), value.strip()) if name.strip().lower() in ("data file", "datafile") else ("", "")
    if any(ord(character) < 32 and character != "\t" for character in text):
        raise damaged_header(path, "holds characters that are no text")
    if len(text) > LONGEST_FIELD and not text.lower().startswith(("comment", "content")):
        raise damaged_header(path, f"has a field of {len(text):,} characters")
    name, separator, value = (*re.split("([:=])", text, maxsplit=1), "", "")[:3]
    if not separator and text.strip():
        raise damaged_header(path, f"holds the line {text[:40]!r}")
    return name.strip().lower(), value.strip()


def _check_fields(path: Path, fields: dict[str, str], is_nrrd: bool) -> None:
    dimensions = fields.get("dimension" if is_nrrd else "ndims")
    if dimensions is None:
        raise damaged_header(path, "does not say how many dimensions there are")
    if not 1 <= _whole(path, dimensions) <= MOST_DIMENSIONS:
        raise UserError(
            f"{path} has {dimensions} dimensions; expected one 3-D volume; extract a single volume from it."
        )
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in ENCODINGS:
        raise UserError(
            f"{path} holds its voxels in the encoding {encoding!r}; expected raw or gzip; convert it to .nii.gz."
        )


def _whole(path: Path, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise damaged_header(path, f"has {text[:40]!r} where a whole number was expected")
    return int(text)


def _count_unpacked(path: Path, start: int, enough: int) -> int:
    """Return how many bytes are packed behind ``start``; counting ends soon after ``enough``."""
    on_disk = os.path.getsize(path) - start
    if on_disk * DEFLATE_BEST_RATIO < enough:
        return on_disk
    unpacker = zlib.decompressobj(wbits=47)  # 47: zlib or gzip, as the bytes say
    counted = 0
    with open(path, "rb") as stream:
        stream.seek(start)
        while counted < enough and (block := stream.read(1 << 16)):
            counted += len(unpacker.decompress(block))
    return counted
