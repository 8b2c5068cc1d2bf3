"""The report of a comparison: one self-contained HTML page."""

from ralseg.evaluation.page.build import page

__all__ = ["page"]
