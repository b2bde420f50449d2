"""Which pipes have something to say: `multiprocessing.connection.wait` at half its cost.

The library builds a selector and its keys at each call: 5 us for the three pipes of a worker, where the
system's own `poll` takes 2, and several times as much in a process that slept in between. A supervisor
asks three times a message, a worker before many a batch.
"""

from __future__ import annotations

import math
import select
from collections.abc import Collection
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["has_data", "ready"]


def ready(sources: Collection[Connection | int], timeout_s: float) -> list[Any]:
    """Those that can be read, or were closed at the other end; waits at most so long for one.

    Args:
        sources: connections, and descriptors such as a process's sentinel.
        timeout_s: 0 does not wait.

    >>> import multiprocessing
    >>> ours, theirs = multiprocessing.Pipe()
    >>> theirs.send_bytes(b"x")
    >>> ready([ours, theirs], 0.0) == [ours]
    True
    """
    if not sources:
        return []
    if not hasattr(select, "poll"):  # Windows, where pipes are waited for in another way
        return list(connection.wait(list(sources), timeout_s))
    by_descriptor = {
        source if isinstance(source, int) else source.fileno(): source for source in sources
    }
    poller = select.poll()
    for descriptor in by_descriptor:
        poller.register(descriptor, select.POLLIN)
    found = poller.poll(math.ceil(timeout_s * 1000))
    return [by_descriptor[descriptor] for descriptor, _ in found]


def has_data(pipe: Connection) -> bool:
    """Whether a message, or the end of all messages, can be read at once."""
    return bool(ready((pipe,), 0.0))
