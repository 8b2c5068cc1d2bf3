"""Files of the tools that people annotate with: queries out, answers in."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from ralseg.annotation.formats import coco, cvat, label_studio, png
from ralseg.annotation.query import Answers, Query


class Format(Protocol):
    """A file format of annotation tools; each is a module with these two functions."""

    def export(self, query: Query, image: Callable[[str], np.ndarray], folder: Path) -> list[Path]:
        """Write a query for the tool.

        Args:
            query: the query; its digest is written into every file that a tool gives back.
            image: image name -> uint8 (height, width, 3) in RGB.
            folder: where to; made if missing. The file that carries the query is written last.

        Returns:
            The files.

        Raises:
            RalsegError: if there is an export already, a name cannot be exported, an image does not fit the query, or
                a file cannot be written.
        """
        ...

    def read(self, path: Path, query: Query) -> Answers:
        """Read what the tool gave back; nothing is written.

        Args:
            path: the file, or for `png` the folder.
            query: the query that was exported.

        Returns:
            The labels of the units that people finished. A prediction that nobody confirmed is never among them; each
            format says what confirms one.

        Raises:
            RalsegError: if the file is damaged, belongs to another query, or names an unknown class.
        """
        ...


FORMATS: dict[str, Format] = {"cvat": cvat, "label-studio": label_studio, "coco": coco, "png": png}
"""The formats by the names that users give."""

__all__ = ["FORMATS", "Format"]
