"""What every other package builds on: the error, atomic files, bounded caches, random streams, checked settings."""

if __name__ != "ralseg.foundation":
    raise ImportError("import ralseg.foundation: under the name foundation every class would exist a second time")

from ralseg.foundation.errors import RalsegError
from ralseg.foundation.files import atomic_write, read_json, write_json
from ralseg.foundation.kept import Kept
from ralseg.foundation.seeds import generator, integer, sequence
from ralseg.foundation.settings import Count, Positive, PositiveShare, Range, Settings, Share, checked, settings

__all__ = [
    "Count",
    "Kept",
    "Positive",
    "PositiveShare",
    "RalsegError",
    "Range",
    "Settings",
    "Share",
    "atomic_write",
    "checked",
    "generator",
    "integer",
    "read_json",
    "sequence",
    "settings",
    "write_json",
]
