"""A run where nothing is live: HTML that survives sanitisers, text for terminals, and the mime bundle of all three.

Sanitisers drop styles, scripts, classes and inline SVG, so none is used: the table is a plain
one, and the picture is the address of an ``<img>``. Where even that is dropped its words stay.
"""

from __future__ import annotations

from typing import Any

from nbautoml.widgets.bounding import to_saved
from nbautoml.widgets.front_picture import front_picture
from nbautoml.widgets.labels import number_label, one_line, printable
from nbautoml.widgets.markup import Markup, el
from nbautoml.widgets.pictures import curves_picture, history_picture
from nbautoml.widgets.protocol import MIME, Snapshot
from nbautoml.widgets.summary import (
    best_first,
    cells,
    facts,
    front_line,
    front_marks,
    progress_line,
    shown_columns,
    sparklines,
    taken_at_label,
)
from nbautoml.widgets.svg import data_uri

__all__ = ["mime_bundle", "to_html", "to_text"]

_N_ROWS = 20
_TEXT_WIDTH = 110


def mime_bundle(snapshot: Snapshot) -> dict[str, Any]:
    """What a cell displays: live where our extension is, HTML elsewhere, text in a terminal."""
    return {
        MIME: to_saved(snapshot),
        "text/html": to_html(snapshot),
        "text/plain": to_text(snapshot),
    }


def to_html(snapshot: Snapshot, *, n_rows: int = _N_ROWS) -> str:
    """The run as plain HTML: what it is, the best trials, when that was, and a small picture.

    Only elements are used that even nbconvert's sanitiser keeps (it knows no ``<p>``, ``<th>``); the
    picture comes last, because that one prints what it doesn't know.
    """
    header = snapshot["header"]
    heads, rows = _table(snapshot, n_rows)
    parts = [el("div", el("b", _line(header["name"])), f" · {_line(progress_line(header))}")]
    parts += [el("div", f"{word}: {_line(line)}") for word, line in facts(header)]
    if rows:
        head = el("tr", *(el("td", el("b", _line(text))) for text in heads))
        body = [el("tr", *(el("td", _line(text)) for text in row)) for row in rows]
        parts.append(el("table", head, *body))
    parts += [el("div", line) for line in _rest(snapshot, n_rows)]
    parts.append(el("div", el("i", taken_at_label(snapshot))))
    parts += [picture for picture in (_front(snapshot), _picture(snapshot)) if picture]
    return el("div", *parts)


def to_text(snapshot: Snapshot, *, n_rows: int = 10) -> str:
    """The run as text of at most 110 columns: what a terminal shows.

    No character of a name or an error can drive the terminal: see `labels.printable`.
    """
    header = snapshot["header"]
    lines = [f"{one_line(header['name'], 60)} · {progress_line(header)}"]
    lines += [f"  {word}: {line}" for word, line in facts(header)]
    heads, rows = _table(snapshot, n_rows)
    if rows:
        short = [[one_line(cell, 24) for cell in row] for row in rows]
        lines += _aligned([[one_line(head, 16) for head in heads], *short])
    lines += [f"  {line}" for line in _rest(snapshot, n_rows)]
    lines.append(f"  {taken_at_label(snapshot)}")
    return "\n".join(printable(line, _TEXT_WIDTH) for line in lines)


def _table(snapshot: Snapshot, n_rows: int) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the best trials; with the curves in miniature, where there are any."""
    columns = shown_columns(snapshot)
    places = best_first(snapshot)[:n_rows]
    rows = [cells(snapshot, place, columns) for place in places]
    metric = snapshot["header"]["metric"] or "value"
    heads = ["trial", "state", metric, "time", *(column["label"] for column in columns)]
    curves = sparklines(snapshot, places)
    if any(curves):
        heads.insert(3, "curve")
        for row, curve in zip(rows, curves, strict=True):
            row.insert(3, curve)
    marks = front_marks(snapshot, places)
    if marks:
        heads.insert(2, "front")
        for row, mark in zip(rows, marks, strict=True):
            row.insert(2, mark)
    return heads, rows


def _rest(snapshot: Snapshot, n_rows: int) -> list[str]:
    """What the table does not show."""
    n_more = max(len(snapshot["trials"]["number"]) - n_rows, 0) + snapshot["n_trials_left_out"]
    n_params = sum(column["group"] == "param" for column in snapshot["columns"])
    n_hidden = n_params - sum(c["group"] == "param" for c in shown_columns(snapshot))
    found = [f"and {n_more:,} more trials"] if n_more else []
    return found + ([f"and {n_hidden:,} more parameters"] if n_hidden else [])


def _front(snapshot: Snapshot) -> Markup | None:
    svg = front_picture(snapshot)
    if svg is None:
        return None
    aims = snapshot["header"].get("aims", [])
    words = f"{_line(aims[0]['label'])} against {_line(aims[1]['label'])} of the trials"
    return el(
        "img",
        alt=f"{words}; on the front: {_line(front_line(snapshot['header']))}",
        src=data_uri(svg),
    )


def _picture(snapshot: Snapshot) -> Markup | None:
    svg = curves_picture(snapshot, max_lines=50, max_points=30) or history_picture(snapshot)
    if svg is None:
        return None
    header = snapshot["header"]
    best = header["best"]
    words = f"{_line(header['metric']) or 'value'} of the trials"
    if best is not None:
        words += f"; the best reached {number_label(best['value'])}"
    return el("img", alt=words, src=data_uri(svg))


def _line(text: str) -> str:
    return one_line(text, 500)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows with their columns aligned, as many columns as the width takes."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = {i for i, head in enumerate(rows[0]) if head in {"state", "curve"}}
    lines = []
    for row in rows:
        cells_ = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  " + cells_[0]
        for cell in cells_[1:]:
            if len(line) + 2 + len(cell) > _TEXT_WIDTH - 2:
                line += " …"
                break
            line += "  " + cell
        lines.append(line.rstrip())
    return lines
