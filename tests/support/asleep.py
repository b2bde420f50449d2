"""Processes that sleep as those of a laptop do whose lid is closed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence

import psutil

__all__ = ["asleep", "browser_processes"]


@contextlib.contextmanager
def asleep(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop processes, and wake them at the end of the block."""
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in reversed(processes):
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def browser_processes() -> list[psutil.Process]:
    """The Chromium that this process has started: Playwright asks it nothing while it sleeps."""
    children = psutil.Process().children(recursive=True)
    return [process for process in children if process.name().startswith("chrom")]
