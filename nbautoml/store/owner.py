"""Who owns a run: a process that is told apart from a later one with the same number."""

from __future__ import annotations

import functools
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["HEARTBEAT_EVERY_S", "HEARTBEAT_LIMIT_S", "Owner"]

HEARTBEAT_EVERY_S = 5.0
HEARTBEAT_LIMIT_S = 60.0
_TOLERANCE_S = 0.5


@dataclass(frozen=True)
class Owner:
    """A process on a host.

    Attributes:
        pid: its number, which the system may give to another process later.
        started_at: when it started. On Linux seconds since boot, which setting the wall clock
            does not move; elsewhere, and accepted everywhere, psutil's ``create_time()``.
        host: the host's name, with the id of its boot where there is one ("box#1f2e...").

    >>> Owner.this_process().is_alive()
    True
    """

    pid: int
    started_at: float
    host: str

    @classmethod
    def this_process(cls) -> Owner:
        """The calling process."""
        pid = os.getpid()
        return cls(pid=pid, started_at=_start_times(pid)[0], host=this_host())

    @property
    def token(self) -> str:
        """The owner in one word, for a column."""
        return f"{self.pid}@{self.host}:{self.started_at:.2f}"

    def is_alive(self, heartbeat: float | None = None) -> bool:
        """Whether the process still runs.

        Args:
            heartbeat: when it last wrote (seconds since 1970). A process on another host cannot
                be looked up: it counts as alive unless this is over a minute old.
        """
        name, _, boot = self.host.partition("#")
        our_name, _, our_boot = this_host().partition("#")
        if name != our_name:
            return heartbeat is None or time.time() - heartbeat < HEARTBEAT_LIMIT_S
        if boot and our_boot and boot != our_boot:
            return False
        return any(abs(at - self.started_at) < _TOLERANCE_S for at in _start_times(self.pid))


@functools.cache
def this_host() -> str:
    """This host's name and boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        boot = ""
    return f"{socket.gethostname()}#{boot}" if boot else socket.gethostname()


def _start_times(pid: int) -> list[float]:
    """When the process started, by each clock that there is; empty when there is no such process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return []
        times = [process.create_time()]
    except psutil.Error:
        return []
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])
        times.insert(0, ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        pass  # no /proc here: the one clock must do
    return times
