"""HTML from nodes: text is escaped unless it was made here."""

from __future__ import annotations

from html import escape

from nbautoml.widgets.labels import printable

__all__ = ["Markup", "el", "join"]

_VOID = frozenset({"meta", "img", "br", "hr"})


class Markup(str):
    """Text that is markup already, made by `el`, or by a drawing."""

    __slots__ = ()


def el(tag: str, /, *children: str, **attributes: str) -> Markup:
    """An element; children that are no `Markup` become text.

    A trailing underscore of an attribute's name is dropped (``class_``), others become dashes.

    >>> el("td", "<script>", title='"')
    '<td title="&quot;">&lt;script&gt;</td>'
    """
    texts = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(printable(value, 10_000_000), quote=True)}"'
        for key, value in attributes.items()
    )
    if tag in _VOID:
        return Markup(f"<{tag}{texts}>")
    return Markup(f"<{tag}{texts}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Several nodes as one.

    >>> join("a & b", el("br"))
    'a &amp; b<br>'
    """
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(printable(child, 10_000_000), quote=True)
            for child in children
        )
    )
