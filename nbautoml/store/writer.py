"""The one writer of a run's record: events in, one transaction a call."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from nbautoml.errors import RecordLostError, StoreError
from nbautoml.events import Event, LogLine, TrialRequeued
from nbautoml.store.batch import Batch
from nbautoml.store.database import connect_to_write, guarded, is_local
from nbautoml.store.lock import FolderLock
from nbautoml.store.open_trials import OpenTrials
from nbautoml.store.owner import HEARTBEAT_EVERY_S, Owner
from nbautoml.store.records import bring_up_to_date, make_server_tables, make_sqlite_record
from nbautoml.store.rows import LIVE_RUN_STATES
from nbautoml.store.schema import run_table
from nbautoml.store.seal import break_seal, put_seal
from nbautoml.store.texts import clean, to_text
from nbautoml.store.urls import sqlite_path
from nbautoml.store.writing import load_open_trials, owned_by, take_possession, write_batch

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store.folder import RunFolder

__all__ = ["Writer"]

logger = logging.getLogger(__name__)

# How long `apply` itself waits for a server that went away; its caller may wait longer.
_RETRY_PAUSES_S = (0.0, 0.1, 0.5, 2.0)


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
        self._path = sqlite_path(self._url) if is_local(self._url) else None
        self._run_id = folder.id
        self._owner = owner
        self._connection: sa.Connection | None = None
        self._file: tuple[int, int] | None = None  # device, inode
        self._key = 0
        self._known = OpenTrials()
        self._beat_at: float | None = None  # by a clock that nobody sets
        self._is_durable: bool | None = None
        self._doubtful: tuple[list[Event], Batch] | None = None
        self._lock = FolderLock(folder.path / "owner.lock")
        self._lock.acquire(f"process {owner.pid} on {owner.host.partition('#')[0]}")
        try:
            if self._path is None or self._path.exists():
                self._open()
        except BaseException:
            self._release()
            raise

    # -- opening ----------------------------------------------------------------------------

    def _open(self) -> sa.Connection:
        """Connect, and own the run if the record holds it."""
        if self._path is not None:
            break_seal(self._path)
        connection = self._connection = connect_to_write(self._url)
        if self._path is None:
            with guarded(self._url):
                make_server_tables(connection)
        bring_up_to_date(connection, self._url)
        with guarded(self._url), connection.begin():
            self._take(connection)
        self._file = self._place()
        return connection

    def _place(self) -> tuple[int, int] | None:
        """What file the record is; None when it is not there, or on a server."""
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116 (some 2 us, at every write)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _check_in_place(self) -> None:
        """A file that was removed can still be written, and all of it would be lost."""
        if self._file is not None and self._place() != self._file:
            raise RecordLostError(
                f"{self._path} was removed or replaced while the run went on",
                hint="take the folder from the trash or a backup, then %automl resume goes on",
            )

    def _take(self, connection: sa.Connection) -> None:
        now = time.time()
        found = take_possession(connection, self._run_id, self._owner, now)
        if found is not None:
            self._key, self._beat_at = found.key, time.monotonic()
            self._known = load_open_trials(connection, found)

    def create(self, recipe: Recipe) -> None:
        """Enter the run into its record; nothing happens when it is there already.

        Raises:
            StoreError: the record cannot be written.
        """
        if self._key:
            return
        now = time.time()
        row = {
            "id": self._run_id,
            "name": clean(recipe.name),
            "kind": clean(recipe.kind, 64),
            "state": "queued",
            "message": "",
            "recipe": to_text(recipe.to_json()),
            "plan": "",
            "plan_details": "{}",
            "created_at": recipe.created_at or now,
            "n_trials": 0,
            "seq": 0,
            **owned_by(self._owner, now),
        }
        connection = self._connection
        if connection is None and self._path is not None:
            make_sqlite_record(self._path, row)
        connection = connection or self._open()
        if not self._key:
            with guarded(self._url), connection.begin():
                connection.execute(run_table.insert().values(row))
                self._take(connection)

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
        out, with a line in the run's log. When a server goes away in the middle of a commit, the
        next call with the same events first learns whether they were written.

        Returns:
            The record's ``seq`` after the last of them.

        Raises:
            StoreError: the disk is full, or the server away.
            RecordLostError: the record was removed, or another process wrote in between.
        """
        connection = self._connection
        if connection is None or not self._key:
            raise StoreError(
                f"run {self._run_id} has no open record", hint="call Writer.create(recipe) first"
            )
        pauses = (0.0,) if self._path is not None else _RETRY_PAUSES_S
        for attempt, pause in enumerate(pauses, start=1):
            if pause:
                time.sleep(pause)
            try:
                return self._apply(connection, list(events))
            except StoreError as error:
                if attempt == len(pauses) or not _is_cut(error):
                    raise
                logger.warning("the store went away, trying again: %s", error.message)
        raise AssertionError("unreachable")

    def _apply(self, connection: sa.Connection, events: list[Event]) -> int:
        self._check_in_place()
        events = self._without_written(connection, events)
        if not events:
            return self._known.seq
        batch = Batch(self._known, self._owner.token)
        for event in events:
            batch.add(event)
        is_beat_due = self._is_beat_due()
        try:
            with guarded(self._url):
                self._set_durability(connection, is_final=batch.is_final)
                with connection.begin():
                    write_batch(
                        connection,
                        batch,
                        run=self._key,
                        owner=self._owner,
                        seq_before=self._known.seq,
                        heartbeat=time.time() if is_beat_due else None,
                    )
        except BaseException:
            self._doubtful = (events, batch)
            raise
        batch.settle()
        if is_beat_due:
            self._beat_at = time.monotonic()
        return self._known.seq

    def _without_written(self, connection: sa.Connection, events: list[Event]) -> list[Event]:
        """The events without those of a failed call that turn out to be in the record."""
        if self._doubtful is None:
            return events
        before, batch = self._doubtful
        query = sa.select(run_table.c.seq).where(run_table.c.key == self._key)
        with guarded(self._url), connection.begin():
            seq = connection.execute(query).scalar()
        self._doubtful = None
        if seq != batch.seq:
            return events
        batch.settle()
        return events[len(before) :] if events[: len(before)] == before else events

    def _set_durability(self, connection: sa.Connection, *, is_final: bool) -> None:
        """A finished trial survives a power cut; of curves the last moment may be lost."""
        if self._path is not None and is_final != self._is_durable:
            cursor = connection.connection.cursor()
            if is_final:
                cursor.execute("PRAGMA synchronous=FULL")
            else:
                cursor.execute("PRAGMA synchronous=NORMAL")
            self._is_durable = is_final

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
        """Say that the owner lives, where it has nothing to write; touches the disk every 5 s."""
        connection = self._connection
        if connection is None or not self._key or not self._is_beat_due():
            return
        self._beat_at = time.monotonic()
        self._set_durability(connection, is_final=False)
        mine = sa.and_(run_table.c.key == self._key, run_table.c.owner_pid == self._owner.pid)
        with guarded(self._url), connection.begin():
            connection.execute(sa.update(run_table).where(mine).values(heartbeat=time.time()))

    def _is_beat_due(self) -> bool:
        """The wall clock may be set: back by an hour, and the lease would run out unseen."""
        return self._beat_at is None or time.monotonic() - self._beat_at > HEARTBEAT_EVERY_S

    def close(self) -> None:
        """Let go of the run, and seal the record if the run is over; closing twice is no error."""
        connection = self._connection
        try:
            if connection is not None and self._key:
                mine = sa.and_(
                    run_table.c.key == self._key,
                    run_table.c.owner_pid == self._owner.pid,
                    run_table.c.owner_host == self._owner.host,
                )
                free = {"owner_pid": None, "owner_started": None, "owner_host": None}
                with guarded(self._url), connection.begin():
                    connection.execute(sa.update(run_table).where(mine).values(free))
                self._disconnect()
                if self._path is not None and self._known.state not in LIVE_RUN_STATES:
                    put_seal(self._path)
        except StoreError as error:
            # Not fatal: readers see soon enough that this process is gone, and no seal is no lie.
            logger.warning("could not let go of run %s cleanly: %s", self._run_id, error)
        finally:
            self._release()

    def _disconnect(self) -> None:
        self._is_durable = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()

    def _release(self) -> None:
        self._disconnect()
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


def _is_cut(error: StoreError) -> bool:
    """Whether the connection to a server was lost, so that trying again makes sense."""
    cause = error.__cause__
    return isinstance(cause, sa.exc.OperationalError | sa.exc.InterfaceError)
