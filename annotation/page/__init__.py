"""The page: a small server on this machine, and what a browser needs to label the units of a query."""

from ralseg.annotation.page.server import PageServer

__all__ = ["PageServer"]
