"""Displays of runs in front ends without our extension: redrawn about once a second, the last time when the run is over."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbautoml.widgets.protocol import Snapshot
from nbautoml.widgets.snapshot import Tail
from nbautoml.widgets.static import mime_bundle

__all__ = ["Shown", "ShownRuns"]

logger = logging.getLogger(__name__)

_REDRAW_S = 1.0
_MAX_SHARE = 0.05  # of a core, spent on redrawing: a huge run is redrawn less often
_MAX_KEPT = 50


@dataclass
class Shown:
    """One output of a cell that shows a run.

    Attributes:
        display: publishes a mime bundle: `IPython.display.display`, or one that is called like it.
        display_id: names the output for updates.
        seq: the record's counter when it was drawn last.
        state: the run's state when it was drawn last.
    """

    display: Callable[..., Any]
    display_id: str
    seq: int
    state: str
    next_redraw: float = 0.0

    def draw(self, snapshot: Snapshot, *, is_update: bool) -> None:
        """Publish the bundle, as a new output or in place of the old one."""
        options: dict[str, Any] = {"raw": True, "display_id": self.display_id}
        if is_update:
            options["update"] = True
        self.display(mime_bundle(snapshot), **options)
        self.seq, self.state = snapshot["seq"], snapshot["header"]["state"]


class ShownRuns:
    """The displays of all runs; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, list[Shown]] = {}
        self._all: list[tuple[str, Shown]] = []

    def add(self, run_id: str, shown: Shown) -> None:
        """Redraw one that is remembered whenever its run moves."""
        with self._lock:
            self._live.setdefault(run_id, []).append(shown)

    def remember(self, run_id: str, shown: Shown) -> None:
        """Redraw it when `redraw_now` asks."""
        with self._lock:
            self._all = [*self._all, (run_id, shown)][-_MAX_KEPT:]

    def redraw(self, tail: Tail, *, has_clients: bool, now: float) -> int:
        """Redraw what is due.

        While a browser with our extension shows the run, only its end is drawn: each update would
        mark the notebook as changed.

        Returns:
            How many displays have shown the end and need no more.
        """
        with self._lock:
            shown = list(self._live.get(tail.run_id, ()))
        due = [one for one in shown if _is_due(one, tail, has_clients=has_clients, now=now)]
        if due:
            begun = time.perf_counter()
            snapshot = tail.snapshot()
            for one in due:
                _in_empty_context(one, snapshot)
            spent = time.perf_counter() - begun
            for one in due:
                one.next_redraw = now + max(_REDRAW_S, spent / _MAX_SHARE)
        if not tail.is_final:
            return 0
        with self._lock:
            return len(self._live.pop(tail.run_id, ()))

    def redraw_now(self, run_id: str, snapshot: Snapshot) -> int:
        """Redraw all displays of a run on the calling thread; returns how many there are."""
        with self._lock:
            shown = [one for key, one in self._all if key == run_id]
        for one in shown:
            one.draw(snapshot, is_update=True)
        return len(shown)


def _is_due(shown: Shown, tail: Tail, *, has_clients: bool, now: float) -> bool:
    is_news = (shown.seq, shown.state) != (tail.seq, tail.state)
    if tail.is_final:
        return is_news
    return is_news and not has_clients and now >= shown.next_redraw


def _in_empty_context(shown: Shown, snapshot: Snapshot) -> None:
    """Publish as the cell that runs now, not as the one that began the thread.

    Outputs are found by their display id, whoever the parent is. But programs that execute
    notebooks read only what comes under the name of the cell that they are executing.
    """
    try:
        contextvars.Context().run(shown.draw, snapshot, is_update=True)
    except Exception:
        logger.exception("a display of run %s could not be redrawn", snapshot["run"])
