"""HTML and SVG as nested calls; every text is escaped unless it is markup already."""

from collections.abc import Iterable
from html import escape
from typing import Any


class Markup(str):
    """Text that is markup already; any other text is escaped where it is put into an element."""


_VOID = {"img", "input", "meta", "br", "hr"}


def tag(name: str, /, *inside: Any, **attributes: Any) -> Markup:
    """An element.

    Args:
        name: of the element.
        *inside: texts, markup, numbers, or lists of these; None is left out.
        **attributes: `class_` is class, `aria_label` is aria-label; None and False are left out, True has no value.
    """
    written = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{text(inside)}</{name}>")


def text(inside: Any) -> Markup:
    """Texts, markup, numbers and lists of these, one after the other."""
    if inside is None:
        return Markup()
    if isinstance(inside, Markup):
        return inside
    if isinstance(inside, Iterable) and not isinstance(inside, str):
        return Markup("".join(map(text, inside)))
    return Markup(escape(str(inside)))


def _name(key: str) -> str:
    # SVG's own camelCase names, such as viewBox, hold no underscore and stay as they are.
    return key.rstrip("_").replace("_", "-")
