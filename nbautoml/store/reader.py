"""Reading a record: what is there, and what is new since a cursor."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.store import paging, reading
from nbautoml.store.database import connect_to_read, guarded, is_local
from nbautoml.store.records import QUICK_CHECK_BYTES, check_is_ours, check_pages, has_server_tables
from nbautoml.store.rows import (
    ArtifactRow,
    Changes,
    CommandRow,
    Cursor,
    LogRow,
    Page,
    Points,
    RunRow,
    TrialRow,
)
from nbautoml.store.schema import HEAD
from nbautoml.store.seal import is_seal_good
from nbautoml.store.urls import masked, sqlite_path

if TYPE_CHECKING:
    from nbautoml.spec.objective import Direction
    from nbautoml.store.folder import RunFolder

__all__ = ["Reader"]


class Reader:
    """A run's record, read-only. Cheap to open; may be used from several threads.

    A run whose supervisor has not entered it yet reads as queued, without trials.

    Raises:
        StoreError: no record of ours, damaged, or newer than this version.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._url = folder.record_url
        self._connection: sa.Connection | None = None
        self._key: int | None = None
        self._guard = threading.RLock()
        with self._guard:
            self._connected()

    def _connected(self) -> sa.Connection | None:
        """The connection, once there is a record to connect to."""
        if self._connection is not None:
            return self._connection
        is_sealed = False
        if is_local(self._url):
            path = sqlite_path(self._url)
            if not path.exists():
                return None
            is_sealed = is_seal_good(path)
        connection = connect_to_read(self._url)
        try:
            with guarded(self._url), connection.begin():
                is_there = is_local(self._url) or has_server_tables(connection)
                if is_there:
                    self._check(connection, is_sealed=is_sealed)
        except BaseException:
            connection.close()
            raise
        if not is_there:
            connection.close()
            return None
        self._connection = connection
        return connection

    def _check(self, connection: sa.Connection, *, is_sealed: bool) -> None:
        version = check_is_ours(connection, self._url)
        if version != HEAD:
            raise StoreError(
                f"{masked(self._url)} has the old schema {version!r}; this nbautoml uses {HEAD!r}",
                hint="resume the run once (%automl resume), which brings its record up to date",
            )
        if is_local(self._url) and not is_sealed:
            size = sqlite_path(self._url).stat().st_size
            if size <= QUICK_CHECK_BYTES:
                check_pages(connection, self._url)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[tuple[sa.Connection, int] | None]:
        """A moment of the record and the run's key in it; None when the run is not in it yet."""
        with self._guard, guarded(self._url), self._damage_named():
            connection = self._connected()
            if connection is None:
                yield None
                return
            with connection.begin():
                if self._key is None:
                    found = reading.read_run(connection, self._folder.id)
                    self._key = found[0] if found else None
                yield None if self._key is None else (connection, self._key)

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Texts and numbers that no writer of ours leaves behind: the file is damaged."""
        try:
            yield
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"{masked(self._url)}: the record is damaged ({error})",
                hint="take the run from a backup or an export",
            ) from error

    # -- reading ----------------------------------------------------------------------------

    def run(self) -> RunRow:
        """The run itself."""
        with self._transaction() as now:
            return self._run(now[0]) if now else self._queued()

    def counts(self) -> dict[str, Any]:
        """``n_trials``, ``n_finished``, and the ``low`` and ``high`` value (None without any)."""
        with self._transaction() as now:
            if now is None:
                return {"n_trials": 0, "n_finished": 0, "low": None, "high": None}
            return reading.read_counts(*now)

    def trials(self, since_seq: int = 0) -> list[TrialRow]:
        """Trials that changed after ``since_seq``, in the order of their numbers."""
        with self._transaction() as now:
            if now is None:
                return []
            rows = reading.read_trials(*now, since_seq)
            return reading.as_orphans(rows) if self._run(now[0]).is_orphan else rows

    def page(self, direction: Direction, *, n_each: int | None = None) -> Page:
        """What a screen shows of the trials: the open, the best and the newest, and how many there are.

        Args:
            direction: of the objective, which says what is best.
            n_each: so many of the best, and of the newest; None for all.
        """
        with self._transaction() as now:
            if now is None:
                return Page(cursor=Cursor(), counts={}, trials=[])
            is_orphan = self._run(now[0]).is_orphan
            return paging.read_page(*now, direction, n_each=n_each, is_orphan=is_orphan)

    def points(
        self,
        since_id: int = 0,
        *,
        trial: int | Sequence[int] | None = None,
        name: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Points:
        """Measured values after ``since_id``, oldest first.

        Args:
            since_id: the last id that is known.
            trial: only of this trial, or of these.
            name: only of this quantity, or of these.
            limit: at most so many.
        """
        with self._transaction() as now:
            return reading.read_points(*now, since_id, trial, name, limit) if now else Points()

    def logs(self, since_id: int = 0, limit: int | None = None) -> list[LogRow]:
        """Log lines after ``since_id``, oldest first; with a limit, the newest so many."""
        with self._transaction() as now:
            return reading.read_logs(*now, since_id, limit) if now else []

    def artifacts(self, trial: int | None = None) -> list[ArtifactRow]:
        """Files of the run, or of one trial, oldest first."""
        with self._transaction() as now:
            folder = self._folder.artifacts_dir
            return reading.read_artifacts(*now, trial, folder) if now else []

    def commands(self, since_id: int = 0) -> list[CommandRow]:
        """Commands that were obeyed or refused after ``since_id``, oldest first."""
        with self._transaction() as now:
            return reading.read_commands(*now, since_id) if now else []

    @property
    def cursor(self) -> Cursor:
        """Where the record stands now: `changes` from here tells only what comes next."""
        with self._transaction() as now:
            if now is None:
                return Cursor()
            is_orphan = self._run(now[0]).is_orphan
            return dataclasses.replace(reading.read_cursor(*now), of_orphan=is_orphan)

    def changes(
        self,
        cursor: Cursor | None = None,
        *,
        max_points: int | None = None,
        max_logs: int | None = None,
    ) -> Changes:
        """What is new since a cursor (all, without one), as of one moment.

        Args:
            cursor: `Changes.cursor` of the last call.
            max_points: at most so many points, oldest first; the next call goes on from there.
            max_logs: at most so many log lines, the newest; older ones are passed over.
        """
        since = cursor or Cursor()
        with self._transaction() as now:
            run = self._run(now[0]) if now else self._queued()
            if now is None:
                return _nothing(run, since)
            points = reading.read_points(*now, since.point, limit=max_points)
            is_new_orphan = run.is_orphan and not since.of_orphan
            if run.seq == since.seq and not points and not is_new_orphan:
                return _nothing(run, since)
            trials = reading.read_trials(*now, since.seq, or_running=is_new_orphan)
            logs = reading.read_logs(*now, since.log, max_logs)
            commands = reading.read_commands(*now, since.command)
            return Changes(
                run=run,
                trials=reading.as_orphans(trials) if run.is_orphan else trials,
                points=points,
                logs=logs,
                commands=commands,
                # Who has seen nothing has nothing to forget.
                dropped=reading.read_dropped(*now, since.seq) if since.seq else [],
                cursor=Cursor(
                    seq=run.seq,
                    point=points.ids[-1] if points else since.point,
                    log=logs[-1].id if logs else since.log,
                    command=commands[-1].id if commands else since.command,
                    of_orphan=run.is_orphan,
                ),
            )

    def _run(self, connection: sa.Connection) -> RunRow:
        found = reading.read_run(connection, self._folder.id)
        return found[1] if found else self._queued()

    def _queued(self) -> RunRow:
        """The run as its recipe states it: its supervisor has not come yet."""
        recipe = self._folder.recipe_json()
        return RunRow(
            id=self._folder.id,
            name=str(recipe.get("name", "")),
            kind=str(recipe.get("kind", "")),
            state="queued",
            created_at=float(recipe.get("created_at") or 0.0),
        )

    def close(self) -> None:
        """Close the connection; closing twice is no error."""
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _nothing(run: RunRow, since: Cursor) -> Changes:
    return Changes(
        run=run, trials=[], points=Points(), logs=[], commands=[], dropped=[], cursor=since
    )
