"""Stand-in for slicer.testing: how a test script ends Slicer."""

import slicer.util


def exitSuccess() -> None:
    slicer.util.exit(slicer.util.EXIT_SUCCESS)


def exitFailure(message: str = "") -> None:
    print(message)
    slicer.util.exit(slicer.util.EXIT_FAILURE)


def runUnitTest(path: str | list[str], testname: str) -> None:
    raise NotImplementedError("slicer.testing.runUnitTest exists in Slicer; the stand-in does not model it")
