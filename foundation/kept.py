"""What was computed once, kept within a budget in bytes."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by key within a budget of bytes.

    Args:
        budget: bytes of all values together.
        replace: whether the least recently used make place for new ones. Otherwise the first to come stay, which is
            better where all keys are asked for in turn.
    """

    def __init__(self, budget: int, *, replace: bool) -> None:
        self._replace = replace
        self._budget = self._room = budget
        self._kept: dict[Hashable, tuple[Value, int]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, None if it is not kept."""
        entry = self._kept.pop(key, None)
        if entry is None:
            return None
        self._kept[key] = entry
        return entry[0]

    def put(self, key: Hashable, value: Value, size: int) -> bool:
        """Keep the value of a new key, `size` bytes; False if there is no place for it."""
        while self._replace and self._room < size <= self._budget:
            self.drop(next(iter(self._kept)))
        if size > self._room:
            return False
        self._kept[key] = value, size
        self._room -= size
        return True

    def drop(self, key: Hashable) -> None:
        """Forget a key, if it is there."""
        if (entry := self._kept.pop(key, None)) is not None:
            self._room += entry[1]
