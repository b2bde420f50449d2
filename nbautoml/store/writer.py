"""The one writer of a run's record: events in, one transaction each call."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.events import Event, LogLine, TrialRequeued
from nbautoml.store.batch import TRIAL_COLUMNS, Batch, OpenTrials, Trial
from nbautoml.store.database import engine_for_writing, guarded
from nbautoml.store.lock import FolderLock
from nbautoml.store.owner import HEARTBEAT_EVERY_S, Owner
from nbautoml.store.records import bring_up_to_date, make_server_tables, make_sqlite_record
from nbautoml.store.schema import (
    artifact_table,
    command_table,
    log_table,
    point_table,
    run_table,
    trial_table,
)
from nbautoml.store.texts import clean, to_text
from nbautoml.store.urls import SQLITE_PREFIX, sqlite_path

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store.folder import RunFolder

__all__ = ["Writer"]

logger = logging.getLogger(__name__)

_MOVABLE = tuple(name for name in TRIAL_COLUMNS if name != "number")

_PROGRESS = (
    sa.update(trial_table)
    .where(
        trial_table.c.run == sa.bindparam("b_run"),
        trial_table.c.number == sa.bindparam("b_number"),
        trial_table.c.state == "running",
        trial_table.c.owner == sa.bindparam("b_owner"),
    )
    .values({name: sa.bindparam(name) for name in ("epoch", "step", "metrics", "seq")})
)
# A trial moves only from the very state that this writer knows: what another process did in
# between (it should not be there) makes the transaction fail, and never doubles a result.
_MOVE = (
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


class Writer:
    """Applies events to a run's record. One a run: a second one is refused.

    Open it with `RunFolder.writer`. Not for use from several threads at once.

    Args:
        folder: the run.
        owner: the process that answers for the run from now on.

    Raises:
        StoreError: another writer is at it, or the record cannot be written.
    """

    def __init__(self, folder: RunFolder, owner: Owner) -> None:
        self._url = folder.record_url
        self._owner = owner
        self._engine: sa.Engine | None = None
        self._key = 0
        self._known = OpenTrials()
        self._heartbeat = 0.0
        self._lock = FolderLock(folder.path / "owner.lock")
        self._lock.acquire(f"process {owner.pid} on {owner.host.partition('#')[0]}")
        try:
            self._run_id = folder.id
            if self._is_there():
                self._open()
        except BaseException:
            self._release()
            raise

    # -- opening ----------------------------------------------------------------------------

    @property
    def _is_local(self) -> bool:
        return self._url.startswith(SQLITE_PREFIX)

    def _is_there(self) -> bool:
        return not self._is_local or sqlite_path(self._url).exists()

    def _open(self) -> None:
        self._engine = engine_for_writing(self._url)
        with guarded(self._url):
            if not self._is_local:
                make_server_tables(self._engine)
        bring_up_to_date(self._engine, self._url)
        with guarded(self._url), self._engine.begin() as connection:
            self._load(connection)

    def _load(self, connection: sa.Connection) -> None:
        """Take possession of the run, and learn what is in its record."""
        found = connection.execute(
            sa.select(run_table).where(run_table.c.id == self._run_id)
        ).one_or_none()
        if found is None:
            return
        if found.owner_pid is not None:
            before = Owner(found.owner_pid, found.owner_started, found.owner_host)
            if before.token != self._owner.token and before.is_alive(found.heartbeat):
                raise StoreError(
                    f"run {found.name!r} belongs to process {before.pid} on "
                    f"{before.host.partition('#')[0]}, which is alive",
                    hint="stop the run there first (%automl stop), or wait a minute if it is gone",
                )
        self._key = found.key
        known = OpenTrials(seq=found.seq, state=found.state, started_at=found.started_at)
        columns = [trial_table.c[name] for name in TRIAL_COLUMNS]
        mine = trial_table.c.run == self._key
        unfinished = trial_table.c.state.in_(("waiting", "running"))
        for row in connection.execute(sa.select(*columns).where(mine, unfinished)):
            known.trials[row.number] = Trial(**row._mapping)
        numbers = connection.execute(sa.select(trial_table.c.number).where(mine, ~unfinished))
        known.finished.update(numbers.scalars())
        obeyed = sa.select(command_table.c.command_id).where(command_table.c.run == self._key)
        known.commands.update(connection.execute(obeyed).scalars())
        self._known = known
        self._beat(connection)

    def create(self, recipe: Recipe) -> None:
        """Enter the run into its record; nothing happens when it is there already.

        Raises:
            StoreError: the record cannot be written.
        """
        if self._key:
            return
        if not self._is_there():
            make_sqlite_record(sqlite_path(self._url))
        if self._engine is None:
            self._open()
        if self._key or self._engine is None:
            return
        with guarded(self._url), self._engine.begin() as connection:
            connection.execute(
                run_table.insert().values(
                    id=self._run_id,
                    name=clean(recipe.name),
                    kind=recipe.kind,
                    state="queued",
                    message="",
                    recipe=to_text(recipe.to_json()),
                    plan="",
                    plan_details="{}",
                    created_at=recipe.created_at or time.time(),
                    seq=0,
                )
            )
            self._load(connection)

    # -- writing ----------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """How many events the record has taken."""
        return self._known.seq

    def has_obeyed(self, command_id: str) -> bool:
        """Whether the record holds the acknowledgement of that command."""
        return command_id in self._known.commands

    def apply(self, events: Sequence[Event]) -> int:
        """Write what happened: all of it, or on an error nothing, and it may be tried again.

        An event that cannot be (a second end of a trial, a step of one that does not run) is left
        out, with a line in the run's log.

        Returns:
            The record's ``seq`` after the last of them.

        Raises:
            StoreError: the disk is full, the server away, or another process wrote in between.
        """
        engine = self._engine
        if engine is None or not self._key:
            raise StoreError(
                f"run {self._run_id} has no open record", hint="call Writer.create(recipe) first"
            )
        if not events:
            return self._known.seq
        batch = Batch(self._known, self._owner.token)
        for event in events:
            batch.add(event)
        with guarded(self._url):
            self._write(engine, batch)
        batch.settle()
        return self._known.seq

    def _write(self, engine: sa.Engine, batch: Batch) -> None:
        with engine.connect() as connection:
            if self._is_local:
                level = "FULL" if batch.is_final else "NORMAL"
                connection.connection.cursor().execute(
                    "PRAGMA synchronous=FULL" if level == "FULL" else "PRAGMA synchronous=NORMAL"
                )
            with connection.begin():
                self._write_run(connection, batch)
                self._write_trials(connection, batch)
                self._write_rows(connection, batch)

    def _write_run(self, connection: sa.Connection, batch: Batch) -> None:
        values: dict[str, Any] = {**batch.run, "seq": batch.seq}
        now = time.time()
        if now - self._heartbeat > HEARTBEAT_EVERY_S:
            values["heartbeat"] = self._heartbeat = now
        changed = connection.execute(
            sa.update(run_table)
            .where(run_table.c.key == self._key, run_table.c.seq == self._known.seq)
            .values(values)
        )
        self._expect(changed.rowcount, 1)

    def _write_trials(self, connection: sa.Connection, batch: Batch) -> None:
        if batch.dropped:
            connection.execute(
                sa.delete(point_table).where(
                    point_table.c.run == self._key, point_table.c.trial.in_(batch.dropped)
                )
            )
        if new := batch.new_trials():
            connection.execute(
                trial_table.insert(), [{"run": self._key, **asdict(trial)} for trial in new]
            )
        if progressed := batch.progressed():
            rows = [
                {
                    "b_run": self._key,
                    "b_number": trial.number,
                    "b_owner": trial.owner,
                    "epoch": trial.epoch,
                    "step": trial.step,
                    "metrics": trial.metrics,
                    "seq": trial.seq,
                }
                for trial in progressed
            ]
            self._expect(connection.execute(_PROGRESS, rows).rowcount, len(rows))
        if moved := batch.moved():
            rows = [
                {
                    "b_run": self._key,
                    "b_number": before.number,
                    "b_state": before.state,
                    "b_attempt": before.attempt,
                    "b_owner": before.owner,
                    **{name: getattr(after, name) for name in _MOVABLE},
                }
                for before, after in moved
            ]
            self._expect(connection.execute(_MOVE, rows).rowcount, len(rows))

    def _write_rows(self, connection: sa.Connection, batch: Batch) -> None:
        for table, rows in (
            (point_table, batch.points),
            (log_table, batch.logs),
            (artifact_table, batch.artifacts),
            (command_table, batch.commands),
        ):
            if rows:
                for row in rows:
                    row["run"] = self._key
                connection.execute(table.insert(), rows)

    def _expect(self, n_changed: int, n_expected: int) -> None:
        if n_changed != n_expected:
            raise StoreError(
                f"run {self._run_id}: another process wrote this record in between",
                hint="one supervisor writes a run; this one gives way, and nothing was written",
            )

    def recover(self) -> None:
        """Put trials that a dead owner left running back to waiting: same number, next attempt."""
        running = [t.number for t in self._known.trials.values() if t.state == "running"]
        if not running:
            return
        text = f"took over from a supervisor that is gone; trials to run again: {len(running)}"
        self.apply(
            [
                LogLine(text=text, level="warning"),
                *(TrialRequeued(trial=n, reason="its supervisor is gone") for n in running),
            ]
        )

    # -- owning -----------------------------------------------------------------------------

    def beat(self) -> None:
        """Say that the owner lives; for owners with nothing to write. Writes at most every 5 s."""
        engine = self._engine
        if engine is None or time.time() - self._heartbeat < HEARTBEAT_EVERY_S:
            return
        with guarded(self._url), engine.begin() as connection:
            self._beat(connection)

    def _beat(self, connection: sa.Connection) -> None:
        self._heartbeat = time.time()
        connection.execute(
            sa.update(run_table)
            .where(run_table.c.key == self._key)
            .values(
                owner_pid=self._owner.pid,
                owner_started=self._owner.started_at,
                owner_host=self._owner.host,
                heartbeat=self._heartbeat,
            )
        )

    def close(self) -> None:
        """Let go of the run; no error when closed already."""
        engine = self._engine
        try:
            if engine is not None and self._key:
                with guarded(self._url), engine.begin() as connection:
                    connection.execute(
                        sa.update(run_table)
                        .where(run_table.c.key == self._key)
                        .values(owner_pid=None, owner_started=None, owner_host=None)
                    )
        except StoreError as error:
            # Not fatal: a reader sees that this process is gone soon enough.
            logger.warning("could not let go of run %s: %s", self._run_id, error)
        finally:
            self._release()

    def _release(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
