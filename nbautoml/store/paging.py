"""The trials that a screen shows, read without the others: a run may have a hundred thousand."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from nbautoml.spec.objective import Direction
from nbautoml.store.reading import (
    TRIALS,
    as_orphans,
    check_number_of_trials,
    read_cursor,
    trials_of,
)
from nbautoml.store.rows import FINISHED_STATES, OPEN_STATES, Page, TrialRow
from nbautoml.store.schema import trial_table

__all__ = ["read_page"]


def read_page(
    connection: sa.Connection,
    run: int,
    direction: Direction,
    *,
    n_each: int | None,
    is_orphan: bool = False,
) -> Page:
    """The open trials, the ``n_each`` best and the ``n_each`` newest; all for None or when they fit.

    ``is_orphan``: see `RunRow`.

    Raises:
        StoreError: the record has not as many trials as it says, or one of the page's is damaged.
    """
    column = trial_table.c
    counted = sa.select(column.state, sa.func.count()).where(column.run == run)
    rows = connection.execute(counted.group_by(column.state)).all()
    counts = {str(state): int(n) for state, n in rows}
    n_trials = sum(counts.values())
    check_number_of_trials(connection, run, n_trials)
    if n_each is None or n_trials <= 2 * n_each:
        every = TRIALS.where(column.run == run)
        trials = trials_of(connection, every.order_by(column.number))
    else:
        trials = _some(connection, run, direction, n_each)
    cursor = read_cursor(connection, run)
    if is_orphan:
        counts["waiting"] = counts.get("waiting", 0) + counts.pop("running", 0)
        return Page(
            cursor=replace(cursor, of_orphan=True), counts=counts, trials=as_orphans(trials)
        )
    return Page(cursor=cursor, counts=counts, trials=trials)


def _some(connection: sa.Connection, run: int, direction: Direction, n_each: int) -> list[TrialRow]:
    every = TRIALS.where(trial_table.c.run == run)
    column = trial_table.c
    better = column.value.desc() if direction == "maximize" else column.value.asc()
    # As `TrialTable.ranked` puts them: one that was stopped early comes after all whole ones. Numbers
    # first: sorting 100,000 whole rows takes twice as long.
    best = (
        sa.select(column.number)
        .where(column.run == run, column.state.in_(sorted(FINISHED_STATES)))
        .where(column.value.is_not(None))
        .order_by(column.state != "complete", better, column.number)
        .limit(n_each)
    )
    numbers = list(connection.execute(best).scalars())
    queries = (
        every.where(column.state.in_(sorted(OPEN_STATES))),
        every.where(column.number.in_(numbers)),
        every.order_by(column.number.desc()).limit(n_each),
    )
    found = {row.number: row for query in queries for row in trials_of(connection, query)}
    return [found[number] for number in sorted(found)]
