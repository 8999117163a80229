"""What all commands share: exit statuses, and errors told in one line instead of a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from model_core.errors import UserError

DONE, FAULTY_INPUT, WRONG_USAGE, STOPPED_BY_USER = 0, 1, 2, 130


def run_command(command: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> int:
    """Run a command's ``main`` and turn its outcome into an exit status.

    Args:
        command: called with the arguments; parses them with argparse, which exits with 2
            on wrong usage.
        arguments: the command line without the program's name; ``None`` reads ``sys.argv``.

    Returns:
        0 done, 1 the input or the environment is at fault (one line on stderr says what was
        found, what was expected and what to do), 130 stopped by the user.

    With the environment variable ``INFANTBRAINSEG_TRACEBACK=1`` errors are raised instead, for
    developers.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no × or ∞ shows a question mark instead of failing.
            stream.reconfigure(errors="replace")
    if os.environ.get("INFANTBRAINSEG_TRACEBACK") == "1":
        command(arguments)
        return DONE
    warnings.simplefilter("ignore")
    try:
        command(arguments)
    except KeyboardInterrupt:
        return _report("Stopped by the user: finished outputs are complete, nothing else was changed.", STOPPED_BY_USER)
    except UserError as error:
        return _report(str(error), FAULTY_INPUT)
    except MemoryError:
        return _report(
            "There is not enough memory for this volume; close other programs, crop the scan to the brain, "
            "or use a machine with more memory.",
            FAULTY_INPUT,
        )
    except OSError as error:
        return _report(_describe_os_error(error), FAULTY_INPUT)
    except Exception as error:  # the last resort: no traceback reaches a user
        return _report(
            f"This should not have happened: {type(error).__name__}: {error}; set INFANTBRAINSEG_TRACEBACK=1, "
            "run the command again and send the traceback with your report.",
            FAULTY_INPUT,
        )
    return DONE


def _describe_os_error(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else " the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full while writing{where}: nothing was overwritten; free some space and run it again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to use{where}; choose a place that you may write to, or change its permissions."
    return f"Could not use{where}: {error.strerror or error}; check the path and the disk."


def _report(sentence: str, status: int) -> int:
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    return status
