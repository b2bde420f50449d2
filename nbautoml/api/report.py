"""One HTML file about a run: drawn by `nbautoml.widgets.report`, written here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nbautoml.api.studies import trials_with_curves
from nbautoml.errors import NbAutomlError, StoreError

if TYPE_CHECKING:
    from nbautoml.api.run import Run

__all__ = ["write_report"]

_FAILURES = 20


def write_report(run: Run, path: Path) -> Path:
    """Write the report; returns its absolute path.

    Raises:
        StoreError: the file cannot be written.
    """
    from nbautoml.store.files import path_of
    from nbautoml.widgets.report import report_html
    from nbautoml.widgets.snapshot import build_snapshot

    target = path_of(path)
    text = report_html(
        build_snapshot(run.folder, limit_bytes=None),
        run.recipe,
        _code(run),
        importance=_importance(run),
        failures=_failures(run),
        verdicts=_verdicts(run),
    )
    try:
        target.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {target}: {error.strerror or error}",
            hint="give another place with --path",
        ) from error
    return target


def _importance(run: Run) -> dict[str, float] | None:
    """Each parameter's share, where the trials tell it already."""
    from nbautoml.study import importances

    trials = trials_with_curves(run.folder, run.recipe)
    return importances(trials, run.recipe.objectives[0], run.recipe.space) or None


def _verdicts(run: Run) -> list[str]:
    """What a compression says of its pick, and of each technique."""
    if run.kind != "compress":
        return []
    return [run.verdicts.about, *(verdict.text for verdict in run.verdicts)]


def _failures(run: Run) -> dict[int, str]:
    """The newest failures, with the user's lines."""
    with run.folder.reader() as reader:
        failed = [row for row in reader.trials() if row.state == "failed"]
    return {row.number: f"{row.error}\n{row.traceback}".rstrip() for row in failed[-_FAILURES:]}


def _code(run: Run) -> str:
    try:
        return str(run.code)
    except NbAutomlError as error:
        return f"(cannot be shown: {error.message})"
