"""One HTML file about a run: no script, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

from nbautoml.errors import NbAutomlError, StoreError
from nbautoml.widgets.labels import printable

if TYPE_CHECKING:
    from nbautoml.api.run import Run
    from nbautoml.widgets.protocol import Snapshot

__all__ = ["write_report"]

_STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.15rem .6rem;border-bottom:1px solid #ddd;"
    "text-align:left}pre{background:#f6f6f6;padding:.8rem;overflow:auto}svg{max-width:100%}"
)
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
_SLICES = 8
_FAILURES = 20


def write_report(run: Run, path: Path) -> Path:
    """Write the report; returns its absolute path.

    Raises:
        StoreError: the file cannot be written.
    """
    from nbautoml.widgets.snapshot import build_snapshot
    from nbautoml.widgets.static import to_html

    snapshot = build_snapshot(run.folder, limit_bytes=None)
    name = _text(run.name)
    parts = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{name}</title>",
        _POLICY,
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>",
        to_html(snapshot, n_rows=len(snapshot["trials"]["number"])),
        _pictures(snapshot),
        _section("Errors", _errors(run)),
        _section("What was asked", json.dumps(run.recipe.to_json(), indent=1, ensure_ascii=False)),
        _section("Code", _code(run)),
        _section("Log", "\n".join(line["text"] for line in snapshot["log"])),
        "</body></html>",
    ]
    target = path.expanduser().absolute()
    try:
        target.write_text("\n".join(parts), encoding="utf-8", errors="replace")
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {target}: {error.strerror or error}",
            hint="give another place with --path",
        ) from error
    return target


def _pictures(snapshot: Snapshot) -> str:
    from nbautoml.widgets.pictures import curves_picture, history_picture, slice_picture
    from nbautoml.widgets.svg import data_uri

    params = [column for column in snapshot["columns"] if column["group"] == "param"]
    found = [
        ("Values", history_picture(snapshot)),
        ("Curves", curves_picture(snapshot, width=800, height=320)),
        *((column["label"], slice_picture(snapshot, column)) for column in params[:_SLICES]),
    ]
    return "".join(
        f'<h2>{_text(title)}</h2><p><img alt="{_text(title)}" src="{data_uri(svg)}"></p>'
        for title, svg in found
        if svg
    )


def _errors(run: Run) -> str:
    """The newest failures, with the user's lines."""
    with run.folder.reader() as reader:
        failed = [row for row in reader.trials() if row.state == "failed"]
    return "\n\n".join(
        f"trial {row.number}: {row.error}\n{row.traceback}".rstrip() for row in failed[-_FAILURES:]
    )


def _code(run: Run) -> str:
    try:
        return str(run.code)
    except NbAutomlError as error:
        return f"(cannot be shown: {error.message})"


def _section(title: str, text: str) -> str:
    return f"<h2>{title}</h2><pre>{_text(text)}</pre>" if text.strip() else ""


def _text(text: str) -> str:
    return html.escape("\n".join(printable(line, 100_000) for line in text.splitlines()))
