"""Stand-in for slicer.i18n: the text comes back as it is, as in an English Slicer."""

from pathlib import Path

FILEPATH_TO_CONTEXT: dict[str, str] = {}


def getContext(sourceFile: str) -> str:
    return Path(sourceFile).stem


def translate(context: str, text: str) -> str:
    return text


def tr(text: str) -> str:
    return text
