"""Conditions on a parameter's value; setting a value that breaks one raises."""

from collections.abc import Collection
from typing import Any


class Validator:
    """Raises ValueError (IsInstance: TypeError) from validate(value)."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError("a validator defines validate(value)")

    def _check(self, sound: bool, value: Any) -> None:
        if not sound:
            raise ValueError(f"{value!r} breaks {type(self).__name__}({vars(self)})")


class NotNone(Validator):
    def validate(self, value: Any) -> None:
        self._check(value is not None, value)


class IsInstance(Validator):
    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is a {type(value).__name__}, not a {self.classtype}")


class WithinRange(Validator):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        self._check(self.minimum <= value <= self.maximum, value)


class Minimum(Validator):
    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        self._check(value >= self.minimum, value)


class Maximum(Validator):
    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        self._check(value <= self.maximum, value)


class Choice(Validator):
    def __init__(self, choices: Collection[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        self._check(value in self.choices, value)


class Exclude(Validator):
    def __init__(self, excludedValues: Collection[Any]) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        self._check(value not in self.excludedValues, value)


class RangeBounds(Validator):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        self._check(self.minimum <= value.minimum and value.maximum <= self.maximum, value)
