"""The error that carries a sentence for people."""


class SegmentationError(RuntimeError):
    """A run that could not start or did not finish; its text says what was found, what was expected and what to do."""
