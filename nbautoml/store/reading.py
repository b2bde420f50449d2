"""Queries of a record, each inside a transaction that its caller opened."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.store.open_trials import CHECKED_COLUMNS
from nbautoml.store.owner import Owner
from nbautoml.store.peek import shown_state
from nbautoml.store.rows import (
    OPEN_STATES,
    ArtifactRow,
    CommandRow,
    Cursor,
    LogRow,
    Points,
    RunRow,
    TrialRow,
)
from nbautoml.store.schema import (
    artifact_table,
    command_table,
    log_table,
    point_table,
    run_table,
    trial_table,
)
from nbautoml.store.texts import checksum, from_text, many_from_text, point_checksum

__all__ = [
    "TRIALS",
    "as_orphans",
    "check_number_of_trials",
    "read_artifacts",
    "read_commands",
    "read_counts",
    "read_cursor",
    "read_dropped",
    "read_logs",
    "read_points",
    "read_run",
    "read_trials",
    "trials_of",
]

_N_CHECKED = len(CHECKED_COLUMNS)
_PARSED = tuple(map(CHECKED_COLUMNS.index, ("params", "objective_values", "metrics")))
TRIALS = sa.select(*(trial_table.c[name] for name in CHECKED_COLUMNS), trial_table.c.checksum)
_POINTS = sa.select(
    *(point_table.c[name] for name in ("id", "trial", "name", "step", "epoch", "value", "checksum"))
)


def read_run(connection: sa.Connection, run_id: str) -> tuple[int, RunRow] | None:
    """The run's key and row, or None when the record has not got it yet."""
    row = connection.execute(sa.select(run_table).where(run_table.c.id == run_id)).one_or_none()
    if row is None:
        return None
    owner = None
    if row.owner_pid is not None:
        owner = Owner(row.owner_pid, row.owner_started, row.owner_host)
    shown = shown_state(row.state, owner, row.heartbeat)
    return row.key, RunRow(
        id=row.id,
        name=row.name,
        kind=row.kind,
        state=shown,
        message=row.message,
        plan=row.plan,
        plan_details=from_text(row.plan_details),
        owner_pid=row.owner_pid,
        owner_host=(row.owner_host or "").partition("#")[0],
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        seq=row.seq,
        is_orphan=shown != row.state,
    )


def read_counts(connection: sa.Connection, run: int) -> dict[str, Any]:
    """How many trials there are and ended, and the lowest and highest value.

    Of the complete ones; of those stopped early only while there is no complete one.
    """
    column = trial_table.c
    states = ("complete", "stopped_early")
    extremes = [
        sa.func.coalesce(*(extreme(column.value).filter(column.state == s) for s in states))
        for extreme in (sa.func.min, sa.func.max)
    ]
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.count(column.ended_at), *extremes).where(
            column.run == run
        )
    ).one()
    return dict(zip(("n_trials", "n_finished", "low", "high"), row, strict=True))


def read_trials(
    connection: sa.Connection, run: int, since_seq: int, *, or_running: bool = False
) -> list[TrialRow]:
    """Trials that changed after ``since_seq``, or are running, in the order of their numbers.

    Raises:
        StoreError: a trial is missing, or a finished one is not what it was when it ended.
    """
    query = TRIALS.where(trial_table.c.run == run)
    if since_seq:
        is_new = trial_table.c.seq > since_seq
        query = query.where(is_new | (trial_table.c.state == "running") if or_running else is_new)
    rows = trials_of(connection, query.order_by(trial_table.c.number))
    if not since_seq:
        check_number_of_trials(connection, run, len(rows))
    return rows


def as_orphans(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """What is seen of trials whose run's owner is gone: none runs; those that did will be run again."""
    return [
        dataclasses.replace(row, state="waiting") if row.state == "running" else row for row in rows
    ]


def check_number_of_trials(connection: sa.Connection, run: int, n_trials: int) -> None:
    """Raise when the record says that there must be more or fewer."""
    expected = sa.select(run_table.c.n_trials).where(run_table.c.key == run)
    if connection.execute(expected).scalar() != n_trials:
        raise _damaged("trials are missing")


def trials_of(connection: sa.Connection, query: sa.Select[Any]) -> list[TrialRow]:
    """The rows of a query that begins as `TRIALS` does, each checked against its checksum."""
    rows = _fetched(connection, query)
    parsed = [many_from_text([row[at] for row in rows]) for at in _PARSED]
    return [
        _trial(row, params, values, metrics)
        for row, params, values, metrics in zip(rows, *parsed, strict=True)
    ]


def _trial(
    row: tuple[Any, ...], params: dict[str, Any], values: list[float], metrics: dict[str, float]
) -> TrialRow:
    columns = dict(zip(CHECKED_COLUMNS, row, strict=False))
    is_whole = (
        row[_N_CHECKED] is None
        if columns["state"] in OPEN_STATES
        else checksum(tuple(row[:_N_CHECKED])) == row[_N_CHECKED]
    )
    if not is_whole or not isinstance(params, dict) or not isinstance(metrics, dict):
        raise _damaged(f"trial {columns['number']} is not what was written")
    for name in ("objective_values", "dropped_seq", "n_points"):
        del columns[name]
    columns |= {
        "params": params,
        "value": float(values[0]) if values else None,
        "values": tuple(values),
        "metrics": metrics,
    }
    return TrialRow(**columns)


def _damaged(what: str) -> StoreError:
    return StoreError(
        f"the record is damaged: {what}", hint="take the run from a backup or an export"
    )


def read_dropped(connection: sa.Connection, run: int, since_seq: int) -> list[int]:
    """Trials whose points were dropped after ``since_seq``."""
    column = trial_table.c
    query = sa.select(column.number).where(
        column.run == run, column.seq > since_seq, column.dropped_seq > since_seq
    )
    return list(connection.execute(query.order_by(column.number)).scalars())


def read_points(
    connection: sa.Connection,
    run: int,
    since_id: int,
    trial: int | Sequence[int] | None = None,
    name: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> Points:
    """Measured values after ``since_id``, oldest first."""
    query = _POINTS.where(point_table.c.run == run)
    if since_id:
        query = query.where(point_table.c.id > since_id)
    if trial is not None:
        numbers = [trial] if isinstance(trial, int) else list(trial)
        query = query.where(point_table.c.trial.in_(numbers))
    if name is not None:
        names = [name] if isinstance(name, str) else list(name)
        query = query.where(point_table.c.name.in_(names))
    rows = _fetched(connection, query.order_by(point_table.c.id).limit(limit))
    if since_id == 0 and limit is None and name is None and trial is None:
        _check_number_of_points(connection, run, len(rows))
    if not rows:
        return Points()
    ids, trials, names_, steps, epochs, values, checksums = zip(*rows, strict=True)
    if tuple(map(point_checksum, trials, names_, epochs, steps, values)) != checksums:
        raise _damaged("a point is not what was written")
    return Points(
        ids=list(ids),
        trials=list(trials),
        names=list(names_),
        steps=list(steps),
        epochs=list(epochs),
        values=[math.nan if value is None else value for value in values],
    )


def _check_number_of_points(connection: sa.Connection, run: int, n_points: int) -> None:
    total = sa.select(sa.func.sum(trial_table.c.n_points)).where(trial_table.c.run == run)
    if (connection.execute(total).scalar() or 0) != n_points:
        raise _damaged("points are missing")


def _fetched(connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
    """The driver's own rows: SQLAlchemy's cost as much again as reading 100,000 points does."""
    cursor = connection.execute(query).cursor
    assert cursor is not None, "a SELECT has a cursor"
    return list(cursor.fetchall())


def read_logs(
    connection: sa.Connection, run: int, since_id: int, limit: int | None
) -> list[LogRow]:
    """Log lines after ``since_id``, oldest first; with a limit, the newest so many."""
    table = log_table
    query = sa.select(table.c.id, table.c.time, table.c.level, table.c.text, table.c.trial)
    query = query.where(table.c.run == run, table.c.id > since_id)
    rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit)).mappings().all()
    return [LogRow(**row) for row in reversed(rows)]


def read_commands(connection: sa.Connection, run: int, since_id: int) -> list[CommandRow]:
    """Commands that were obeyed or refused after ``since_id``, oldest first."""
    table = command_table
    query = (
        sa.select(table.c.id, table.c.time, table.c.command_id, table.c.command, table.c.refusal)
        .where(table.c.run == run, table.c.id > since_id)
        .order_by(table.c.id)
    )
    return [CommandRow(**row) for row in connection.execute(query).mappings()]


def read_artifacts(
    connection: sa.Connection, run: int, trial: int | None, folder: Path
) -> list[ArtifactRow]:
    """Files of the run, or of one trial, oldest first."""
    names = ("id", "time", "trial", "kind", "path", "sha256", "n_bytes", "details")
    table = artifact_table
    query = sa.select(*(table.c[name] for name in names)).where(table.c.run == run)
    if trial is not None:
        query = query.where(table.c.trial == trial)
    rows = connection.execute(query.order_by(table.c.id)).mappings()
    return [
        ArtifactRow(**{**row, "details": from_text(row["details"])}, folder=folder) for row in rows
    ]


def read_cursor(connection: sa.Connection, run: int) -> Cursor:
    """Where the record stands."""

    def newest(table: sa.Table) -> int:
        query = sa.select(sa.func.max(table.c.id)).where(table.c.run == run)
        return connection.execute(query).scalar() or 0

    seq = connection.execute(sa.select(run_table.c.seq).where(run_table.c.key == run)).scalar()
    return Cursor(
        seq=seq or 0,
        point=newest(point_table),
        log=newest(log_table),
        command=newest(command_table),
    )
