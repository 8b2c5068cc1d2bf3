"""Settings: frozen dataclasses built from mappings, with one clear error for whatever does not fit."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ralseg.foundation.errors import RalsegError

T = TypeVar("T")


def settings(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a mapping, nested dataclasses from nested mappings, tuples from lists.

    Args:
        cls: the dataclass; its own `__post_init__` checks ranges.
        mapping: field name -> value; fields with a default may be left out.
        where: the path of the mapping in the configuration, for messages, e.g. "game.learn".

    Raises:
        RalsegError: for an unknown or a missing key, or a value of another kind, with the valid ones named.
    """
    if not isinstance(mapping, Mapping):
        raise RalsegError(
            f"{where} is {mapping!r}; it must be a group of {', '.join(f.name for f in dataclasses.fields(cls))}"
        )
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for key in mapping:
        if key not in names:
            raise RalsegError(f"{where}.{key} is unknown; {where} has {', '.join(names)}")
    required = (f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING)
    if missing := [name for name in required if name not in mapping]:
        raise RalsegError(f"{where} needs {', '.join(missing)}; give {'it' if len(missing) == 1 else 'them'}, too")
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in mapping.items()}
    return cls(**values)


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else settings(kind, value, where)
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in choices:
            return None
        rest = [choice for choice in choices if choice is not type(None)]
        return _value(rest[0], value, where) if len(rest) == 1 else value
    if origin is typing.Literal:
        if value not in choices:
            raise RalsegError(f"{where}={value!r} is unknown; choose from {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        length = None if ... in choices else len(choices)
        if isinstance(value, str) or not isinstance(value, Sequence) or length not in (None, len(value)):
            raise RalsegError(f"{where}={value!r} must be a list of {'' if length is None else f'{length} '}values")
        kinds = choices if length else [choices[0]] * len(value)
        return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    numbers = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in numbers and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise RalsegError(f"{where}={value!r} must be {numbers[kind]}")
    return value
