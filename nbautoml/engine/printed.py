"""What a worker prints: lines out of a pipe, so many a second that neither record nor panel drowns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

__all__ = ["PrintedLines"]

READ_BYTES = 65536
MAX_READS = 16
MAX_LINE = 2000
BURST = 200  # lines that may come at once
LINES_PER_S = 20.0
N_CHATTY = 1000  # lines at that rate; who prints on and on for a night would fill the disk
LINES_PER_S_THEN = 0.1


class PrintedLines:
    """Lines of one worker; those over the rate are counted and not kept.

    The rate is 20 a second for the first 1,000 lines that are kept and six a minute from then on.

    Args:
        descriptor: the reading end of the pipe that is the worker's stdout and stderr; it must
            not block.
        now: a clock in seconds.
    """

    def __init__(self, descriptor: int, now: Callable[[], float] = time.monotonic) -> None:
        self._descriptor, self._now = descriptor, now
        self._credit, self._credited_at = float(BURST), now()
        self._n_kept = 0
        self._partial = b""
        self._lines: list[str] = []
        self._n_left_out = 0
        self.is_closed = False  # nobody can write into the pipe any more

    def read_all(self) -> None:
        """Take all that the pipe holds (the system bounds it)."""
        for _ in range(MAX_READS):
            if not self.read():
                return

    def read(self) -> bool:
        """Take what is there now, 64 KB at most; returns whether there was something."""
        try:
            chunk = os.read(self._descriptor, READ_BYTES)
        except OSError:
            return False  # nothing there, or the worker is gone
        self.is_closed = not chunk
        *whole, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > READ_BYTES:  # a line without an end
            whole, self._partial = [*whole, self._partial], b""
        for line in whole:
            if self._may_keep():
                self._lines.append(line.decode("utf-8", "replace")[:MAX_LINE])
            else:
                self._n_left_out += 1
        return bool(chunk)

    def take(self, *, is_last: bool = False) -> tuple[list[str], int]:
        """Lines since the last call, and how many were left out (told at the rate of lines)."""
        lines, self._lines = self._lines, []
        if is_last and self._partial:
            lines.append(self._partial.decode("utf-8", "replace")[:MAX_LINE])
            self._partial = b""
        n_left_out = 0
        if self._n_left_out and (is_last or self._may_keep()):
            n_left_out, self._n_left_out = self._n_left_out, 0
        return lines, n_left_out

    def _may_keep(self) -> bool:
        now = self._now()
        rate = LINES_PER_S if self._n_kept < N_CHATTY else LINES_PER_S_THEN
        self._credit = min(BURST, self._credit + (now - self._credited_at) * rate)
        self._credited_at = now
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        self._n_kept += 1
        return True
