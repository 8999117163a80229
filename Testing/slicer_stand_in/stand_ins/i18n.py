"""Stand-in for slicer.i18n: the text comes back as it is, as in an English Slicer."""

from pathlib import Path

FILEPATH_TO_CONTEXT: dict[str, str] = {}


def getContext(sourceFile: str) -> str:
    """Return "Package.file" for a file of a package, else the file's name."""
    path = Path(sourceFile)
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem


def translate(context: str, text: str) -> str:
    return text


def tr(text: str) -> str:
    return text
