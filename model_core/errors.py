"""The one kind of error that is meant for the person at the keyboard."""


class UserError(Exception):
    """A fault of the input or of the environment, told in one sentence.

    The sentence says what was found, what was expected and what to do. Commands print it
    on one line of stderr and end with status 1; the worker sends it as an ``error`` event.
    """
