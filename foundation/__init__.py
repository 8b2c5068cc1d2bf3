"""What every other package builds on: the error, atomic files, owned folders, caches, random streams, settings."""

if __name__ != "ralseg.foundation":
    raise ImportError("import ralseg.foundation: under the name foundation every class would exist a second time")

from ralseg.foundation.errors import RalsegError
from ralseg.foundation.files import (
    atomic_write,
    expanded,
    file_digests,
    made_folder,
    read_file,
    read_json,
    unwritable,
    write_json,
)
from ralseg.foundation.kept import Kept
from ralseg.foundation.memory import give_back_memory
from ralseg.foundation.ownership import owned
from ralseg.foundation.seeds import generator, integer, sequence
from ralseg.foundation.settings import (
    Count,
    Positive,
    PositiveShare,
    Range,
    Settings,
    Share,
    check_arguments,
    checked,
    settings,
)

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
    "check_arguments",
    "checked",
    "expanded",
    "file_digests",
    "generator",
    "give_back_memory",
    "integer",
    "made_folder",
    "owned",
    "read_file",
    "read_json",
    "sequence",
    "settings",
    "unwritable",
    "write_json",
]
