"""All commands behind one name: ``infantbrainseg segment --t1 …`` is ``python model_core/segment.py --t1 …``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from model_core.system.command_line import DONE, WRONG_USAGE

COMMANDS = (
    "segment",
    "evaluate",
    "train",
    "synthesize",
    "reproduce",
    "cohort",
    "make_weights",
    "make_extraction_weights",
    "worker",
)


def main() -> int:
    """Run the command that the first argument names, with the others; returns or raises its exit status."""
    name, *rest = sys.argv[1:] or [""]
    command = name.replace("-", "_")
    if command not in COMMANDS:
        wants_help = name in ("-h", "--help")
        print(
            f"usage: infantbrainseg {{{','.join(COMMANDS)}}} …   (--help after a command tells its options)",
            file=sys.stdout if wants_help else sys.stderr,
        )
        return DONE if wants_help else WRONG_USAGE
    sys.argv = [str(Path(__file__).with_name(f"{command}.py")), *rest]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
