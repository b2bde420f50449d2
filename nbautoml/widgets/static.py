"""A run where nothing is live: HTML that survives sanitisers, text for terminals, and the mime bundle of all three.

Sanitisers drop styles, scripts, classes and inline SVG, so none is used: the table is a plain
one, and the picture is the address of an ``<img>``. Where even that is dropped its words stay.
"""

from __future__ import annotations

from html import escape
from typing import Any

from nbautoml.widgets.bounding import to_saved
from nbautoml.widgets.labels import number_label, one_line, printable
from nbautoml.widgets.pictures import curves_picture, history_picture
from nbautoml.widgets.protocol import MIME, Snapshot
from nbautoml.widgets.summary import (
    best_first,
    cells,
    facts,
    progress_line,
    shown_columns,
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
    """The run as plain HTML: what it is, the best trials, a small picture, and when that was."""
    header = snapshot["header"]
    columns = shown_columns(snapshot)
    heads = ["trial", "state", header["metric"] or "value", "time", *(c["label"] for c in columns)]
    order = best_first(snapshot)
    rows = [_row("td", cells(snapshot, place, columns)) for place in order[:n_rows]]
    parts = [
        f"<p><b>{_safe(header['name'])}</b> · {_safe(progress_line(header))}</p>",
        *(f"<p>{_safe(word)}: {_safe(line)}</p>" for word, line in facts(header)),
    ]
    if rows:
        parts.append(
            f"<table><thead>{_row('th', heads)}</thead><tbody>{''.join(rows)}</tbody></table>"
        )
    rest = _rest(snapshot, n_rows)
    parts += [f"<p>{_safe(line)}</p>" for line in rest]
    picture = _picture(snapshot)
    if picture:
        parts.append(f"<p>{picture}</p>")
    parts.append(f"<p><i>{_safe(taken_at_label(snapshot))}</i></p>")
    return f"<div>{''.join(parts)}</div>"


def to_text(snapshot: Snapshot, *, n_rows: int = 10) -> str:
    """The run as text of at most 110 columns: what a terminal shows.

    No character of a name or an error can drive the terminal: see `labels.printable`.
    """
    header = snapshot["header"]
    lines = [f"{one_line(header['name'], 60)} · {progress_line(header)}"]
    lines += [f"  {word}: {line}"[:_TEXT_WIDTH] for word, line in facts(header)]
    columns = shown_columns(snapshot)
    metric = one_line(header["metric"] or "value", 20)
    heads = ["trial", "state", metric, "time", *(one_line(c["label"], 16) for c in columns)]
    rows = [cells(snapshot, place, columns) for place in best_first(snapshot)[:n_rows]]
    if rows:
        lines += _aligned([heads, *([one_line(cell, 24) for cell in row] for row in rows)])
    lines += [f"  {line}" for line in _rest(snapshot, n_rows)]
    lines.append(f"  {taken_at_label(snapshot)}")
    return "\n".join(lines)


def _rest(snapshot: Snapshot, n_rows: int) -> list[str]:
    """What the table does not show."""
    n_more = max(len(snapshot["trials"]["number"]) - n_rows, 0) + snapshot["n_trials_left_out"]
    n_params = sum(column["group"] == "param" for column in snapshot["columns"])
    n_hidden = n_params - len(shown_columns(snapshot))
    found = [f"and {n_more:,} more trials"] if n_more else []
    return found + ([f"and {n_hidden:,} more parameters"] if n_hidden else [])


def _picture(snapshot: Snapshot) -> str:
    svg = curves_picture(snapshot, max_lines=50, max_points=30) or history_picture(snapshot)
    if svg is None:
        return ""
    header = snapshot["header"]
    best = header["best"]
    words = f"{header['metric'] or 'value'} of the trials"
    if best is not None:
        words += f"; the best reached {number_label(best['value'])}"
    return f'<img alt="{_safe(words)}" src="{data_uri(svg)}">'


def _row(tag: str, texts: list[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_safe(text)}</{tag}>' for text in texts)}</tr>"


def _safe(text: str) -> str:
    """Text that stays text, in an element or in a quoted attribute."""
    return escape(printable(one_line(text, 500)), quote=True)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows with their columns aligned, as many columns as the width takes."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells_ = [
            cell.ljust(width) if i == 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  " + cells_[0]
        for cell in cells_[1:]:
            if len(line) + 2 + len(cell) > _TEXT_WIDTH:
                line += " …"
                break
            line += "  " + cell
        lines.append(line.rstrip())
    return lines
