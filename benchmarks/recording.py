"""What recording costs, against Optuna's storages: a point, a trial's bookkeeping, opening a run.

* a point: `Writer.apply` of 100 points a call, spread over all points;
* a trial's bookkeeping: plan, start, 10 epochs each written on its own, end (with its fsync), when
  the record holds so many trials already. Peers: `create_new_trial`, one `set_trial_param` a
  parameter, 10 `set_trial_intermediate_value`, `set_trial_state_values`;
* opening a run: `RunFolder.reader()` in a process that has loaded the code, then everything that a
  panel needs (`changes()`: all trials, all points, log). Peers: a new storage object and
  `get_all_trials`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import record
from figures import Figure, Goal
from turns import Clock, alternate

OURS = "nbautoml"
# Filling a peer takes it some 15 ms a trial: more trials are for ours alone.
N_BESIDE, N_LARGE = 1_000, 10_000


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    repeats = 2 if is_quick else 5
    n_points, n_beside, n_large = (2_000, 100, 1_000) if is_quick else (10_000, N_BESIDE, N_LARGE)
    yield Figure(
        "recording: a point",
        "ms",
        alternate({OURS: lambda: record.time_points(n_points)}, repeats=repeats, clock=clock),
        [Goal(0.1)],
        method="One measured value, written in transactions of 100.",
    )
    for n in (0, n_beside):
        yield from _beside(n, repeats, clock)
    yield from _large(n_large, repeats, clock)


def _beside(n: int, repeats: int, clock: Clock) -> Iterator[Figure]:
    """Ours and the peers with n trials in them."""
    with ExitStack() as stack:
        folder, writer = stack.enter_context(record.our_run())
        record.filled(writer, 0, n)
        firsts = itertools.count(n, 40)
        books: dict[str, Callable[[], float]] = {
            OURS: lambda: record.book_ours(writer, next(firsts), 40)
        }
        opens: dict[str, Callable[[], float]] = {OURS: lambda: record.open_ours(folder, n)[1]}
        for name in record.PEERS:
            peer: Any = stack.enter_context(record.peer_study(name, n))
            storage, study, place, kinds = peer
            books[name] = lambda s=storage, i=study, k=kinds: record.book_peer(s, i, k, 10)
            opens[name] = lambda name=name, i=study, p=place: record.open_peer(name, i, p, n)
        yield Figure(
            f"recording: a trial where there are {n:,}",
            "ms",
            alternate(books, repeats=repeats, clock=clock),
            [Goal(2.0)],
            method=(
                "All that is written of a trial of 10 epochs, each on its own, its end with an fsync."
            ),
        )
        if n:
            yield Figure(
                f"recording: open and read all {n:,} trials of 10 epochs",
                "ms",
                alternate(opens, repeats=repeats, clock=clock),
            )


def _large(n: int, repeats: int, clock: Clock) -> Iterator[Figure]:
    """Ours alone."""
    with record.our_run() as (folder, writer):
        record.filled(writer, 0, n)
        firsts = itertools.count(n, 40)
        book = {OURS: lambda: record.book_ours(writer, next(firsts), 40)}
        yield Figure(
            f"recording: a trial where there are {n:,}",
            "ms",
            alternate(book, repeats=repeats, clock=clock),
            [Goal(2.0)],
        )
        ways = {
            "open and read all": lambda: record.open_ours(folder, n)[1],
            "open": lambda: record.open_ours(folder, n)[0],
            "list": lambda: record.list_ours(folder),
        }
        yield Figure(
            f"recording: a run of {n:,} trials of 10 epochs",
            "ms",
            alternate(ways, repeats=repeats, clock=clock),
            [Goal(1000.0, way="open and read all")],
        )
