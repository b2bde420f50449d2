"""How workers are started: forked from a process that has loaded what they need, once for all.

That process, multiprocessing's forkserver, begins before the supervisor loads anything itself, for
its imports are what a cold run's first value waits for. Where there is no forkserver (Windows),
workers are spawned.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from pathlib import Path

__all__ = [
    "PRELOAD",
    "PRELOAD_BY_KIND",
    "SESSION_VARIABLE",
    "python_flags",
    "start_forkserver",
    "worker_context",
]

SESSION_VARIABLE = "NBAUTOML_SUPERVISOR_SESSION"
"""Set for the forkserver, and what comes of it: the session that its supervisor leads."""

# Shared by all workers; none of them starts a thread pool.
PRELOAD = (
    "nbautoml.engine.loading",  # the first, for it makes the others quicker
    "torch",
    "nbautoml.engine.worker",
    "nbautoml.tune.work",
    "nbautoml.tune.stacks",
    "nbautoml.train.loop",
    "nbautoml.train.stacked.fit",
    "nbautoml.tune.rehearsed",
    "nbautoml.data.folder",
    "nbautoml.engine.guard",
)
# What workers of a kind of run need beside. torch's compiler, which makes the graphs of exports,
# takes 1.2 s, and no fit needs it; torchmetrics as long, and a classifier does not need it. A runner that
# is kept warm has the time.
PRELOAD_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "compress": ("torch._dynamo",),
    "warm": ("torch._dynamo", "torchmetrics.functional"),
}


def python_flags(folder: Path) -> tuple[str, ...]:
    """Flags of Python for a process of ours that starts in a folder; the forkserver inherits them.

    The folder is not searched for modules, for a ``random.py`` beside a notebook would be taken for
    Python's. A worker searches it once it has loaded what it needs: the notebook's code is used to
    that. Not so in the folder that holds this package itself, which may be nowhere else.
    """
    return () if _holds_us(folder) else ("-P",)


def _holds_us(folder: Path) -> bool:
    return folder.resolve() == Path(__file__).resolve().parents[2]


def worker_context(kind: str = "") -> BaseContext:
    """The context to start workers with; ``kind`` of the run that they are for, "warm" for any."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    names = [*PRELOAD, *PRELOAD_BY_KIND.get(kind, ())]
    present = [name for name in names if importlib.util.find_spec(name.partition(".")[0])]
    context.set_forkserver_preload(present)
    return context


def start_forkserver(kind: str) -> BaseContext:
    """Let the process that workers are forked from load what they need, in the background."""
    context = worker_context(kind)
    if context.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()
    return context
