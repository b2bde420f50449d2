"""A batch's rows into the tables, inside the writer's transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nbautoml.errors import RecordLostError, StoreError
from nbautoml.store.batch import Batch
from nbautoml.store.direct import Statement
from nbautoml.store.open_trials import TRIAL_COLUMNS, OpenTrials, Trial, columns_of
from nbautoml.store.owner import HEARTBEAT_EVERY_S, Owner
from nbautoml.store.schema import (
    artifact_table,
    command_table,
    log_table,
    point_table,
    run_table,
    trial_table,
)

__all__ = ["load_open_trials", "owned_by", "take_possession", "write_batch"]

_MOVABLE = tuple(name for name in TRIAL_COLUMNS if name != "number")
_UNFINISHED = ("waiting", "running")
_POINT_COLUMNS = ("run", "trial", "attempt", "name", "epoch", "step", "value", "checksum")

# Statements are made once: making one costs as much as executing it.
_NEW_TRIALS = Statement(trial_table.insert().inline())
_NEW_POINTS = Statement(point_table.insert().inline())
_NEW_LOGS = Statement(log_table.insert().inline())
_NEW_ARTIFACTS = Statement(artifact_table.insert().inline())
_NEW_COMMANDS = Statement(command_table.insert().inline())
_RUN = Statement(
    sa.update(run_table).where(
        run_table.c.key == sa.bindparam("b_key"),
        run_table.c.seq == sa.bindparam("b_seq"),
        run_table.c.owner_pid == sa.bindparam("b_owner_pid"),
        run_table.c.owner_host == sa.bindparam("b_owner_host"),
    )
)
_PROGRESS_COLUMNS = ("epoch", "step", "metrics", "n_points", "seq")
_PROGRESS = Statement(
    sa.update(trial_table)
    .where(
        trial_table.c.run == sa.bindparam("b_run"),
        trial_table.c.number == sa.bindparam("b_number"),
        trial_table.c.state == sa.bindparam("b_state"),
        trial_table.c.owner == sa.bindparam("b_owner"),
    )
    .values({name: sa.bindparam(name) for name in _PROGRESS_COLUMNS})
)
# A trial moves only from the very state that this writer knows: what another process did in
# between (it should not be there) makes the transaction fail, and never doubles a result.
_MOVE = Statement(
    sa.update(trial_table)
    .where(
        trial_table.c.run == sa.bindparam("b_run"),
        trial_table.c.number == sa.bindparam("b_number"),
        trial_table.c.state == sa.bindparam("b_state"),
        trial_table.c.attempt == sa.bindparam("b_attempt"),
        trial_table.c.owner.is_not_distinct_from(sa.bindparam("b_owner")),
    )
    .values({name: sa.bindparam(name) for name in _MOVABLE})
)


def write_batch(
    connection: sa.Connection,
    batch: Batch,
    *,
    run: int,
    owner: Owner,
    seq_before: int,
    heartbeat: float | None,
) -> None:
    """Write everything; the caller commits, or rolls back on an error.

    Raises:
        RecordLostError: another process wrote to the run, or owns it, since ``seq_before``.
    """
    values = {**batch.run, "seq": batch.seq, "n_trials": batch.n_trials}
    if heartbeat is not None:
        values["heartbeat"] = heartbeat
    where = {
        "b_key": run,
        "b_seq": seq_before,
        "b_owner_pid": owner.pid,
        "b_owner_host": owner.host,
    }
    _expect(_RUN.execute(connection, [{**where, **values}]), 1)
    _write_trials(connection, batch, run)
    for insert, rows in (
        (_NEW_POINTS, batch.points),
        (_NEW_LOGS, batch.logs),
        (_NEW_ARTIFACTS, batch.artifacts),
        (_NEW_COMMANDS, batch.commands),
    ):
        if rows:
            for row in rows:
                row["run"] = run
            insert.execute(connection, rows)
    if batch.removed:
        column = artifact_table.c
        gone = sa.delete(artifact_table).where(column.run == run, column.path.in_(batch.removed))
        connection.execute(gone)


def _write_trials(connection: sa.Connection, batch: Batch, run: int) -> None:
    for number, step in batch.rewound.items():
        batch.note_kept(number, _rewind(connection, run, number, step))
    if new := batch.new_trials():
        _NEW_TRIALS.execute(connection, [{"run": run, **columns_of(trial)} for trial in new])
    if progressed := batch.progressed():
        rows = [
            {
                "b_run": run,
                "b_number": trial.number,
                "b_state": "running",
                "b_owner": trial.owner,
                **{name: getattr(trial, name) for name in _PROGRESS_COLUMNS},
            }
            for trial in progressed
        ]
        _expect(_PROGRESS.execute(connection, rows), len(rows))
    if moved := batch.moved():
        rows = [_move(run, before, after) for before, after in moved]
        _expect(_MOVE.execute(connection, rows), len(rows))


def _rewind(connection: sa.Connection, run: int, trial: int, step: int) -> int:
    """Drop a trial's points after a step, and write the others anew; returns how many those are."""
    column = point_table.c
    mine = (column.run == run, column.trial == trial)
    last = connection.execute(sa.select(sa.func.max(column.id)).where(*mine)).scalar()
    if last is None:
        return 0
    kept = [column[name] for name in _POINT_COLUMNS]
    again = sa.select(*kept).where(*mine, column.step <= step).order_by(column.id)
    connection.execute(point_table.insert().from_select(_POINT_COLUMNS, again))
    connection.execute(sa.delete(point_table).where(*mine, column.id <= last))
    n_kept = connection.execute(sa.select(sa.func.count()).where(*mine)).scalar()
    return n_kept or 0


def _move(run: int, before: Trial, after: Trial) -> dict[str, Any]:
    return {
        "b_run": run,
        "b_number": before.number,
        "b_state": before.state,
        "b_attempt": before.attempt,
        "b_owner": before.owner,
        **{name: getattr(after, name) for name in _MOVABLE},
    }


def _expect(n_changed: int, n_expected: int) -> None:
    if n_changed != n_expected:
        raise RecordLostError(
            "another process wrote this run's record in between, or took the run over",
            hint="one supervisor writes a run; this one must give way, and wrote nothing",
        )


def take_possession(
    connection: sa.Connection, run_id: str, owner: Owner, heartbeat: float
) -> sa.Row[Any] | None:
    """Make a process the run's owner; returns the run's row, or None when it has none yet.

    Raises:
        StoreError: its owner is another process, which is alive.
    """
    query = sa.select(run_table).where(run_table.c.id == run_id).with_for_update()
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    if found.owner_pid is not None:
        before = Owner(found.owner_pid, found.owner_started, found.owner_host)
        if before == owner and heartbeat - (found.heartbeat or 0) < HEARTBEAT_EVERY_S:
            return found  # it has just made the run, and a commit would wait for the disk
        if before != owner and before.is_alive(found.heartbeat):
            host = before.host.partition("#")[0]
            raise StoreError(
                f"run {found.name!r} belongs to process {before.pid} on {host}, which is alive",
                hint="stop the run there first (%automl stop), or wait a minute if it is gone",
            )
    connection.execute(
        sa.update(run_table).where(run_table.c.key == found.key).values(owned_by(owner, heartbeat))
    )
    return found


def owned_by(owner: Owner, heartbeat: float) -> dict[str, Any]:
    """The columns of a run that say whose it is."""
    return {
        "owner_pid": owner.pid,
        "owner_started": owner.started_at,
        "owner_host": owner.host,
        "heartbeat": heartbeat,
    }


def load_open_trials(connection: sa.Connection, run: sa.Row[Any]) -> OpenTrials:
    """What a writer must know to go on with a run."""
    known = OpenTrials(
        seq=run.seq, state=run.state, started_at=run.started_at, n_trials=run.n_trials
    )
    columns = [trial_table.c[name] for name in TRIAL_COLUMNS]
    mine = trial_table.c.run == run.key
    is_open = trial_table.c.state.in_(_UNFINISHED)
    for row in connection.execute(sa.select(*columns).where(mine, is_open)):
        known.trials[row.number] = Trial(*row)
    numbers = connection.execute(sa.select(trial_table.c.number).where(mine, ~is_open))
    known.finished.update(numbers.scalars())
    obeyed = sa.select(command_table.c.command_id).where(command_table.c.run == run.key)
    known.commands.update(connection.execute(obeyed).scalars())
    return known
