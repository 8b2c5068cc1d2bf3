"""Settings: frozen dataclasses that say their ranges beside their fields, with one clear error for what does not fit.

A field declares what it allows in its type: `Literal["a", "b"]` for choices, `Annotated[int, Range(1, 100)]` or one of
the short forms below for numbers.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from ralseg.foundation.errors import RalsegError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of a number; NaN is in none.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        above: whether the lower bound itself is excluded.
        below: whether the upper bound itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        over = self.low < value if self.above else self.low <= value
        return over and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        if not self.above and not self.below:
            return f"{self.low:g} or more" if self.high == math.inf else f"{self.low:g} to {self.high:g}"
        least = f"{'above' if self.above else 'at least'} {self.low:g}"
        if self.high == math.inf:
            return f"{least} and finite" if self.below else least
        return f"{least} and {'below' if self.below else 'at most'} {self.high:g}"


Count = Annotated[int, Range(1)]
"""A whole number of 1 or more."""
Share = Annotated[float, Range(0, 1)]
"""A number from 0 to 1."""
PositiveShare = Annotated[float, Range(0, 1, above=True)]
"""A number above 0 and at most 1."""
Positive = Annotated[float, Range(0, above=True, below=True)]
"""A finite number above 0."""


class Settings:
    """Base of the dataclasses of settings: whatever way one is made, its fields are checked.

    A subclass that must also compare its fields with each other overrides `__post_init__`, calls this one first, and
    raises a RalsegError that names the fields; `settings` puts the place in the configuration before it.

    Args:
        group: (of the class statement) the settings' usual place in a configuration, for messages about instances that
            were made without `settings`; by default the name of the class.
    """

    _group: ClassVar[str]

    def __init_subclass__(cls, group: str = "", **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls._group = group or cls.__name__

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)).items():
            checked(kind, getattr(self, name), f"{self._group}.{name}")


def settings(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a mapping, nested dataclasses from nested mappings, tuples from lists.

    Args:
        cls: the dataclass.
        mapping: field name -> value; fields with a default may be left out.
        where: the place of the mapping in the configuration, for messages, e.g. "game.learn"; "" for the top level.

    Raises:
        RalsegError: for an unknown or a missing key, or a value of another kind or out of its range. The message names
            the full key and what is allowed.
    """
    kinds = _kinds(cls)
    if not isinstance(mapping, Mapping):
        raise RalsegError(f"{where} is {mapping!r}; it must be a group of {', '.join(kinds)}")
    for key in mapping:
        if key not in kinds:
            raise RalsegError(f"{where}.{key} is unknown; {where} has {', '.join(kinds)}")
    required = (f.name for f in _fields(cls) if f.default is f.default_factory is dataclasses.MISSING)
    if missing := [name for name in required if name not in mapping]:
        raise RalsegError(f"{where} needs {', '.join(missing)}; give {'it' if len(missing) == 1 else 'them'}, too")
    place = f"{where}." if where else ""
    values = {key: checked(kinds[key], value, place + key) for key, value in mapping.items()}
    try:
        return cls(**values)
    except RalsegError as error:
        if not where or not issubclass(cls, Settings):
            raise
        # Each field has passed by now: what is left are fields that contradict each other, by their names in the class.
        named = re.sub(rf"(?<![\w.])({'|'.join(kinds)})=", rf"{where}.\1=", str(error))
        raise RalsegError(named if named != str(error) else f"{where}: {error}") from None


def check_arguments(target: Callable, given: Mapping[str, Any], where: str) -> None:
    """Check arguments by the types that a class or function declares for them, as `settings` checks fields.

    Args:
        target: the class or function; a parameter without a type takes anything.
        given: parameter -> value.
        where: the place of the arguments in the configuration, for messages.

    Raises:
        RalsegError: for the first value that does not fit.
    """
    try:
        kinds = typing.get_type_hints(target.__init__ if isinstance(target, type) else target, include_extras=True)
    except NameError:
        # The types of somebody else's class may only be known to a type checker.
        return
    for name, value in given.items():
        if name in kinds:
            checked(kinds[name], value, f"{where}.{name}")


def _fields(cls: type) -> tuple[dataclasses.Field, ...]:
    assert dataclasses.is_dataclass(cls)
    return dataclasses.fields(cls)


@lru_cache(maxsize=256)
def _kinds(cls: type) -> dict[str, Any]:
    """Field name -> its type, ranges included, in the fields' order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in _fields(cls)}


_NUMBERS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def checked(kind: Any, value: Any, where: str) -> Any:
    """A value as a type wants it: whole numbers as floats, lists as tuples, mappings as dataclasses.

    Args:
        kind: a type as fields of settings have it.
        value: the value.
        where: its place in the configuration, for messages, e.g. "game.learn.steps".

    Raises:
        RalsegError: if the value does not fit; the message begins with `where`.
    """
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        return value if isinstance(value, kind) else settings(kind, value, where)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        fitting = checked(parts[0], value, where)
        for range_ in parts[1:]:
            if isinstance(range_, Range) and fitting not in range_:
                raise RalsegError(f"{where}={value!r} is out of range; it must be {range_}")
        return fitting
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return _one_of([part for part in parts if part is not type(None)], value, where)
    if origin is typing.Literal:
        if value not in parts:
            raise RalsegError(f"{where}={value!r} is unknown; choose from {', '.join(map(str, parts))}")
        return value
    if origin is Mapping and not isinstance(value, Mapping):
        raise RalsegError(f"{where}={value!r} must be a group of settings")
    if origin in (tuple, Sequence):
        length = None if origin is Sequence or ... in parts else len(parts)
        if isinstance(value, str) or not isinstance(value, Sequence) or length not in (None, len(value)):
            raise RalsegError(f"{where}={value!r} must be a list of {'' if length is None else f'{length} '}values")
        kinds = parts if length else [parts[0]] * len(value)
        return tuple(checked(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and not isinstance(value, str | Path):
        raise RalsegError(f"{where}={value!r} must be a path")
    if kind in _NUMBERS and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise RalsegError(f"{where}={value!r} must be {_NUMBERS[kind]}")
    return value


def _one_of(kinds: Sequence[Any], value: Any, where: str) -> Any:
    """A value as the first type wants it that it fits."""
    for kind in kinds[:-1]:
        try:
            return checked(kind, value, where)
        except RalsegError:
            continue
    return checked(kinds[-1], value, where)
