"""Waiting for a run: one line of progress, and an interrupt that ends the waiting, not the run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbautoml.api.namespace import current_shell
from nbautoml.engine.client import last_words
from nbautoml.errors import EngineError, StoreError
from nbautoml.spec import format_duration
from nbautoml.store import RunFolder, RunInfo
from nbautoml.store.peek import peek
from nbautoml.store.rows import LIVE_RUN_STATES
from nbautoml.store.seal import seal_path
from nbautoml.store.urls import SQLITE_PREFIX, sqlite_path

__all__ = ["ProgressLine", "WaitingStopped", "wait_for"]

LOOK_FOR_SEAL_S = 0.01
# A cold supervisor needs some two seconds; on a busy machine several times that.
START_LIMIT_S = 120.0


class WaitingStopped(KeyboardInterrupt):
    """The user interrupted: the waiting is over, and a run in processes of its own goes on.

    Args:
        name: of the run.
        is_inline: it was trained in this process, and so is interrupted itself.
    """

    def __init__(self, name: str, *, is_inline: bool = False) -> None:
        told = (
            f"you interrupted run {name!r}, which was trained here; what is finished is kept.\n"
            f"To go on: %automl resume {name}"
            if is_inline
            else f"you interrupted the waiting; run {name!r} goes on.\n"
            f"To end it: %automl stop {name}, or {name}.stop(). To wait again: {name}.wait()"
        )
        super().__init__(told)

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class ProgressLine:
    """One line that is written over: in a notebook's output, in a terminal; silent in a pipe."""

    def __init__(self) -> None:
        shell = current_shell()
        self._is_notebook = shell is not None and hasattr(shell, "kernel")
        self._is_terminal = not self._is_notebook and sys.stderr.isatty()
        self._handle: Any = None
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the line."""
        if text == self._shown:
            return
        self._shown = text
        if self._is_terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
        elif self._is_notebook:
            from IPython.display import display

            bundle = {"text/plain": text}
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True)
            else:
                self._handle.update(bundle, raw=True)

    def end(self) -> None:
        """Leave the line as it is, and go to the next."""
        if self._is_terminal and self._shown:
            sys.stderr.write("\n")


def wait_for(
    folder: RunFolder,
    *,
    timeout: float | None,
    poll: float,
    told: Callable[[RunInfo], str],
    line: ProgressLine,
) -> RunInfo:
    """Wait until the run goes on no more, or the time is over.

    Args:
        folder: the run.
        timeout: seconds; None waits for ever.
        poll: seconds between two looks at the record.
        told: what the line says about the run.
        line: where it is shown.

    Raises:
        WaitingStopped: the user interrupted; the run goes on.
        EngineError: no supervisor came.
    """
    began, seal = time.monotonic(), _Seal(folder)
    try:
        while True:
            seal.look()
            info = peek(folder)
            line.show(told(info))
            if info.state not in LIVE_RUN_STATES:
                return info
            spent = time.monotonic() - began
            if timeout is not None and spent >= timeout:
                return info
            if info.state == "queued" and spent > START_LIMIT_S:
                raise _never_started(folder, info, spent)
            left = poll if timeout is None else min(poll, timeout - spent)
            seal.await_new(max(left, 0.001))
    except KeyboardInterrupt:
        raise WaitingStopped(peek(folder).name) from None
    finally:
        line.end()


class _Seal:
    """Of a record; it appears when the run is over.

    To see whether a file is there takes microseconds, to look into a record milliseconds that the
    run lacks: so the end of a run is seen at once, and the record looked at seldom.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path: Path | None = None
        self._was_there = False
        with contextlib.suppress(StoreError):  # who looks into the record is told
            if (url := folder.record_url).startswith(SQLITE_PREFIX):
                self._path = seal_path(sqlite_path(url))

    def look(self) -> None:
        """From now on a seal is new that is not there now."""
        self._was_there = self._is_there()

    def await_new(self, timeout_s: float) -> None:
        """Sleep, until there is a new seal at most."""
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_FOR_SEAL_S))
            if not self._was_there and self._is_there():
                return

    def _is_there(self) -> bool:
        return self._path is not None and self._path.exists()


def _never_started(folder: RunFolder, info: RunInfo, spent: float) -> EngineError:
    return EngineError(
        f"no supervisor has taken run {info.name!r} for {format_duration(round(spent))}"
        f"{last_words(folder)}",
        hint=f"%automl resume {info.name} tries again; {folder.log_path} tells more",
    )
