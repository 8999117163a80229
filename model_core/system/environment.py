"""The environment of programs that are not the project's own, such as a brain extraction tool."""

from __future__ import annotations

import json
import os

# Set by who runs the model core in a Python whose environment other programs cannot live in, as Slicer's: theirs, as
# a JSON object.
TOOL_ENVIRONMENT = "INFANTBRAINSEG_TOOL_ENVIRONMENT"


def tool_environment() -> dict[str, str]:
    """Return the environment to start a program with: the one that was handed over, or else this process's own."""
    given = os.environ.get(TOOL_ENVIRONMENT)
    return json.loads(given) if given else dict(os.environ)
