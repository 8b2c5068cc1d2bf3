"""What every format checks: names that become files, classes, and the values of files that strangers may have written.

Whatever is wrong becomes one line: the file, the place in it, what is wrong, and what to do.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from ralseg.annotation.query import OtherQuery, Query
from ralseg.foundation import RalsegError

Value = TypeVar("Value")

WORDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class Place:
    """A place in a file that is being read, for the messages about it.

    Attributes:
        path: the file.
        mend: the end of the messages, unless there is something better to do.
        where: the place in the file; empty for the file as a whole.
    """

    path: Path
    mend: str
    where: str = ""

    def at(self, where: str, mend: str = "") -> "Place":
        """A place within this one, with the same mend unless another one is given."""
        return replace(self, where=f"{self.where}, {where}" if self.where else where, mend=mend or self.mend)

    def error(self, wrong: str, mend: str = "") -> RalsegError:
        """The error to raise: what is wrong here, and what to do."""
        where = f", {self.where}" if self.where else ""
        return RalsegError(f"{self.path}{where}: {wrong}; {mend or self.mend}")

    def get(self, holder: object, key: str, kind: type[Value]) -> Value:
        """The value of a key of a JSON object or of an XML element's attributes.

        Raises:
            RalsegError: if there is none, or it has another type.
        """
        if not isinstance(holder, Mapping):
            raise self.error(f"{shown(holder)} is not an object")
        if key not in holder:
            raise self.error(f"{key!r} is missing")
        value = holder[key]
        # A bool is an int to isinstance.
        if type(value) is not kind:
            raise self.error(f"{key!r} is {shown(value)}, not {WORDS[kind]}")
        return value

    def integer(self, attributes: Mapping[str, str], key: str) -> int:
        """The whole number that an XML attribute holds.

        Raises:
            RalsegError: if there is none, or it is something else or has more than nine digits.
        """
        text = self.get(attributes, key, str)
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise self.error(f"{key!r} is {shown(text)}, not a whole number")
        return int(text)

    def number(self, attributes: Mapping[str, str], key: str) -> float:
        """The finite number that an XML attribute holds.

        Raises:
            RalsegError: if there is none, or it is something else.
        """
        text = self.get(attributes, key, str)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(f"{key!r} is {shown(text)}, not a finite number")
        return value

    def class_id(self, name: str, query: Query) -> int:
        """The id of a class.

        Raises:
            RalsegError: if the query does not have it.
        """
        names = [label.name for label in query.classes]
        if name not in names:
            raise self.error(f"unknown class {shown(name)}; nothing is imported", f"the classes are {', '.join(names)}")
        return names.index(name)

    def check_digest(self, digest: str, query: Query) -> None:
        """Check that the file belongs to the query.

        Raises:
            OtherQuery: if it does not.
        """
        if digest != query.digest:
            wrong = f"it belongs to another query ({shown(digest[:12])}, not {query.digest[:12]!r})"
            mend = f"choose the file of round {query.round} of project {query.project}"
            raise OtherQuery(str(self.error(wrong, mend)))

    def check_size(self, size: tuple[int, int], expected: tuple[int, int]) -> None:
        """Check the (height, width) of a picture.

        Raises:
            RalsegError: if it differs from what was exported.
        """
        if size != expected:
            raise self.error(
                f"{size[0]} x {size[1]} pixels (height x width), not {expected[0]} x {expected[1]}",
                "annotate the pictures that were exported, at their size",
            )

    @contextmanager
    def named(self) -> Iterator[None]:
        """Gives the ValueErrors of a codec the file and the place."""
        try:
            yield
        except RalsegError:
            raise
        except ValueError as error:
            raise self.error(str(error)) from error


def shown(value: Any) -> str:
    """A value in a message: at most 40 characters, all printable."""
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def file_name(name: str) -> str:
    """The name of the file that shows an image, relative to the folder of images; always a PNG.

    Nothing is cut off the image's name, so that `a.jpg` and `a.png` remain two files.

    Raises:
        RalsegError: if the name would leave that folder or cannot be written into XML.
    """
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or PureWindowsPath(name).anchor or {"", ".", ".."} & set(parts):
        raise RalsegError(
            f"the image name {shown(name)} cannot be exported; use printable names without '\\', '.' or '..' as folders"
        )
    return f"{name}.png"


def image_of(place: Place, file: str, query: Query) -> str:
    """The image that a file of `file_name` shows, whose name may have come back with the folder `images/`.

    Raises:
        RalsegError: if it is none of the query's.
    """
    for name in (file.removesuffix(".png"), file.removeprefix("images/").removesuffix(".png")):
        if file.endswith(".png") and any(unit[0] == name for unit in query.units):
            return name
    raise place.error(f"the image {shown(file)} is not of this query", "choose the file of this query, or remove it")


def unit_number(place: Place, number: int, query: Query) -> int:
    """A unit's place in the query.

    Raises:
        RalsegError: if the query does not have it.
    """
    if not 0 <= number < len(query.units):
        raise place.error(f"unit {shown(number)} is not of this query, which has {len(query.units)}")
    return number


def check_exportable(query: Query) -> None:
    """Check all names of a query before anything is written.

    Raises:
        RalsegError: see `file_name`; or if a class's name is empty or not printable.
    """
    for unit in query.units:
        file_name(unit[0])
    for label in query.classes:
        if not label.name.strip() or not label.name.isprintable():
            raise RalsegError(f"the class {shown(label.name)} cannot be exported; give it a printable name")
