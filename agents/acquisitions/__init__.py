"""Acquisitions by name."""

from typing import Any

from ralseg.agents.acquisitions.base import Acquisition, MeanMap, best_per_slate
from ralseg.agents.acquisitions.chance import ClassAwareRandom, Random
from ralseg.agents.acquisitions.reference import ClassTruth
from ralseg.agents.acquisitions.uncertainty import Bald, Entropy, LeastConfidence, Margin
from ralseg.foundation import RalsegError

_ALL = {cls.name: cls for cls in (Random, ClassAwareRandom, Entropy, Margin, LeastConfidence, Bald, ClassTruth)}


def names() -> tuple[str, ...]:
    """The acquisitions that `make` knows."""
    return tuple(_ALL)


def make(name: str, **options: Any) -> Acquisition:
    """Build an acquisition.

    Raises:
        RalsegError: for an unknown name, with the known ones named, or an option that it does not have.
    """
    if name not in _ALL:
        raise RalsegError(f"acquisition {name!r} is unknown; choose from {', '.join(names())}")
    try:
        return _ALL[name](**options)
    except TypeError as error:
        raise RalsegError(f"acquisition {name!r} does not take {', '.join(options)}") from error


__all__ = ["Acquisition", "MeanMap", "best_per_slate", "make", "names"]
