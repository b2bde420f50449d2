"""Showing a run below a cell: the bundle of all renderings, and its registration with the live link."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from nbautoml.widgets import live
from nbautoml.widgets.controller import Controller
from nbautoml.widgets.protocol import FINAL_STATES
from nbautoml.widgets.shown import Shown
from nbautoml.widgets.snapshot import build_snapshot
from nbautoml.widgets.source import RunSource

__all__ = ["refresh", "show"]


def show(
    folder: RunSource, controller: Controller, display: Callable[..., Any] | None = None
) -> str:
    """Show a run below the cell that is running: live where that is possible, else as a table.

    Args:
        folder: the run.
        controller: what the panel's buttons act through.
        display: called as ``display(bundle, raw=True, display_id=..., update=...)``;
            `IPython.display.display` by default.

    Returns:
        The display's id.

    Raises:
        StoreError: the record cannot be read.
    """
    if display is None:
        from IPython.display import display as ipython_display

        display = ipython_display
    snapshot = build_snapshot(folder)
    shown = Shown(display, f"nbautoml-{secrets.token_hex(8)}", -1, "")
    shown.draw(snapshot, is_update=False)
    if not _has_kernel():
        return shown.display_id  # a terminal prints each update anew
    link = live.start(controller)
    link.add_source(folder)
    if snapshot["header"]["state"] in FINAL_STATES:
        link.shown.remember(folder.id, shown)
    else:
        shown.next_redraw = (
            time.monotonic() + 1.0
        )  # by then a browser with our extension has spoken
        link.show(folder, shown)
    return shown.display_id


def refresh(folder: RunSource) -> int:
    """Redraw all displays of a run, on the calling thread: for code that waits for the run.

    Programs that execute notebooks see updates only while a cell runs; who waits in a cell calls
    this when the waiting is over, so that the saved outputs show the end.

    Returns:
        How many displays there are.
    """
    link = live.current_link()
    return link.shown.redraw_now(folder.id, build_snapshot(folder)) if link is not None else 0


def _has_kernel() -> bool:
    """Whether outputs go to a front end that can update them."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
