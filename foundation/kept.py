"""A cache with a budget in bytes."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """A cache of values by key that holds at most a given number of bytes.

    cachetools has no cache that keeps its first values, and its least-recently-used cache raises an error for a value
    that is too large instead of not keeping it.

    Args:
        budget: the most bytes that all values may have together.
        replace: whether new values replace the least recently used ones. Otherwise the first values stay, which is
            better where all keys are used in turn: the least recently used one is then always the next to be needed.
    """

    def __init__(self, budget: int, *, replace: bool) -> None:
        self._replace = replace
        self._budget = self._room = budget
        self._kept: dict[Hashable, tuple[Value, int]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, or None if it is not in the cache."""
        entry = self._kept.pop(key, None)
        if entry is None:
            return None
        self._kept[key] = entry
        return entry[0]

    def put(self, key: Hashable, value: Value, size: int) -> bool:
        """Add the value of a new key, of `size` bytes. Returns whether there was room for it."""
        while self._replace and self._room < size <= self._budget:
            self.drop(next(iter(self._kept)))
        if size > self._room:
            return False
        self._kept[key] = value, size
        self._room -= size
        return True

    def drop(self, key: Hashable) -> None:
        """Remove a key, if it is in the cache."""
        if (entry := self._kept.pop(key, None)) is not None:
            self._room += entry[1]
