"""Reading a record: what is there, and what is new since a cursor."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.store.batch import TRIAL_COLUMNS, trial_checksum
from nbautoml.store.database import engine_for_reading, guarded
from nbautoml.store.owner import Owner
from nbautoml.store.peek import shown_state
from nbautoml.store.records import check_version
from nbautoml.store.rows import (
    FINISHED_STATES,
    ArtifactRow,
    Changes,
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
    version_table,
)
from nbautoml.store.texts import from_text, many_from_text
from nbautoml.store.urls import SQLITE_PREFIX, sqlite_path

if TYPE_CHECKING:
    from nbautoml.store.folder import RunFolder

__all__ = ["Reader"]

_TRIAL_COLUMNS = tuple(trial_table.c[name] for name in TRIAL_COLUMNS)
_POINT_COLUMNS = tuple(
    point_table.c[name] for name in ("id", "trial", "name", "step", "epoch", "value")
)


class Reader:
    """A run's record, read-only. Cheap to open; may be used from several threads.

    A run whose supervisor has not entered it yet reads as queued, without trials.

    Raises:
        StoreError: no record of ours, damaged, or newer than this version.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._url = folder.record_url
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._key: int | None = None
        self._guard = threading.RLock()
        with self._guard:
            self._connected()

    def _connected(self) -> sa.Connection | None:
        """The connection, once there is a record to connect to."""
        if self._connection is not None:
            return self._connection
        if self._url.startswith(SQLITE_PREFIX) and not sqlite_path(self._url).is_file():
            return None
        with guarded(self._url):
            engine = engine_for_reading(self._url)
            try:
                connection = engine.connect()
                with connection.begin():
                    has_version = sa.inspect(connection).has_table(version_table.name)
                    query = sa.select(version_table.c.version_num)
                    version = connection.execute(query).scalar() if has_version else None
                check_version(version, self._url)
            except BaseException:
                engine.dispose()
                raise
        self._engine, self._connection = engine, connection
        return connection

    # -- reading ----------------------------------------------------------------------------

    def run(self) -> RunRow:
        """The run itself."""
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return self._queued()
            with connection.begin():
                return self._run(connection)

    def counts(self) -> dict[str, Any]:
        """How many trials there are and ended, and the lowest and highest value."""
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return {}
            column = trial_table.c
            with connection.begin():
                row = connection.execute(
                    sa.select(
                        sa.func.count().label("n_trials"),
                        sa.func.count(column.ended_at).label("n_finished"),
                        sa.func.min(column.value).label("low"),
                        sa.func.max(column.value).label("high"),
                    ).where(column.run == self._run_key(connection))
                ).one()
                return dict(row._mapping)

    def trials(self, since_seq: int = 0) -> list[TrialRow]:
        """Trials that changed after ``since_seq``, in the order of their numbers."""
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return []
            with connection.begin():
                return self._trials(connection, since_seq)

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
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return Points()
            with connection.begin():
                return self._points(connection, since_id, trial, name, limit)

    def logs(self, since_id: int = 0, limit: int | None = None) -> list[LogRow]:
        """Log lines after ``since_id``, oldest first; with a limit, the newest so many."""
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return []
            with connection.begin():
                return self._logs(connection, since_id, limit)

    def artifacts(self, trial: int | None = None) -> list[ArtifactRow]:
        """Files of the run, or of one trial, oldest first."""
        table = artifact_table
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return []
            with connection.begin():
                query = sa.select(table).where(table.c.run == self._run_key(connection))
                if trial is not None:
                    query = query.where(table.c.trial == trial)
                rows = connection.execute(query.order_by(table.c.id)).all()
        folder = self._folder.artifacts_dir
        return [
            ArtifactRow(
                id=row.id,
                time=row.time,
                trial=row.trial,
                kind=row.kind,
                path=row.path,
                sha256=row.sha256,
                n_bytes=row.n_bytes,
                details=from_text(row.details),
                folder=folder,
            )
            for row in rows
        ]

    def commands(self, since_id: int = 0) -> list[CommandRow]:
        """Commands that were obeyed or refused after ``since_id``, oldest first."""
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return []
            with connection.begin():
                return self._commands(connection, since_id)

    @property
    def cursor(self) -> Cursor:
        """Where the record stands now: `changes` from here tells only what comes next."""
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return Cursor()
            with connection.begin():
                return self._cursor(connection)

    def changes(self, cursor: Cursor | None = None, *, max_points: int | None = None) -> Changes:
        """What is new since a cursor (all, without one), as of one moment.

        Args:
            cursor: `Changes.cursor` of the last call.
            max_points: at most so many points; the next call goes on from there.
        """
        since = cursor or Cursor()
        with self._guard, guarded(self._url):
            connection = self._connected()
            if connection is None:
                return Changes(
                    run=self._queued(),
                    trials=[],
                    points=Points(),
                    logs=[],
                    commands=[],
                    dropped=[],
                    cursor=since,
                )
            with connection.begin():
                return self._changes(connection, since, max_points)

    def _changes(
        self, connection: sa.Connection, since: Cursor, max_points: int | None
    ) -> Changes:
        run = self._run(connection)
        if run.seq == since.seq and max_points is None:
            nothing = Points()
            return Changes(
                run=run, trials=[], points=nothing, logs=[], commands=[], dropped=[], cursor=since
            )
        points = self._points(connection, since.point, None, None, max_points)
        logs = self._logs(connection, since.log, None)
        commands = self._commands(connection, since.command)
        return Changes(
            run=run,
            trials=self._trials(connection, since.seq),
            points=points,
            logs=logs,
            commands=commands,
            dropped=self._dropped(connection, since.seq) if since.seq else [],
            cursor=Cursor(
                seq=run.seq,
                point=points.ids[-1] if points.ids else since.point,
                log=logs[-1].id if logs else since.log,
                command=commands[-1].id if commands else since.command,
            ),
        )

    # -- inside a transaction ---------------------------------------------------------------

    def _run_key(self, connection: sa.Connection) -> int:
        if self._key is None:
            query = sa.select(run_table.c.key).where(run_table.c.id == self._folder.id)
            key = connection.execute(query).scalar()
            if key is None:
                return -1
            self._key = key
        return self._key

    def _run(self, connection: sa.Connection) -> RunRow:
        row = connection.execute(
            sa.select(run_table).where(run_table.c.id == self._folder.id)
        ).one_or_none()
        if row is None:
            return self._queued()
        self._key = row.key
        owner = (
            Owner(row.owner_pid, row.owner_started, row.owner_host)
            if row.owner_pid is not None
            else None
        )
        return RunRow(
            id=row.id,
            name=row.name,
            kind=row.kind,
            state=shown_state(row.state, owner, row.heartbeat),
            message=row.message,
            plan=row.plan,
            plan_details=from_text(row.plan_details),
            owner_pid=row.owner_pid,
            owner_host=(row.owner_host or "").partition("#")[0],
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            seq=row.seq,
        )

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

    def _trials(self, connection: sa.Connection, since_seq: int) -> list[TrialRow]:
        query = sa.select(*_TRIAL_COLUMNS).where(trial_table.c.run == self._run_key(connection))
        if since_seq:
            query = query.where(trial_table.c.seq > since_seq)
        rows = connection.execute(query.order_by(trial_table.c.number)).all()
        params = many_from_text([row.params for row in rows])
        values = many_from_text([row.objective_values for row in rows])
        metrics = many_from_text([row.metrics for row in rows])
        return [
            self._trial(row, *parsed)
            for row, *parsed in zip(rows, params, values, metrics, strict=True)
        ]

    def _trial(
        self, row: Any, params: dict[str, Any], values: list[float], metrics: dict[str, float]
    ) -> TrialRow:
        if row.state in FINISHED_STATES and trial_checksum(row._mapping.__getitem__) != row.checksum:
            raise StoreError(
                f"{self._folder.path}: trial {row.number} is damaged, its checksum does not match",
                hint="take the run from a backup or an export",
            )
        return TrialRow(
            number=row.number,
            state=row.state,
            params=params,
            value=values[0] if values else None,
            values=tuple(values),
            metrics=metrics,
            attempt=row.attempt,
            epoch=row.epoch,
            step=row.step,
            best_epoch=row.best_epoch,
            worker=row.worker,
            device=row.device,
            planned_at=row.planned_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            error=row.error,
            traceback=row.traceback,
            seq=row.seq,
        )

    def _dropped(self, connection: sa.Connection, since_seq: int) -> list[int]:
        query = sa.select(trial_table.c.number).where(
            trial_table.c.run == self._run_key(connection), trial_table.c.dropped_seq > since_seq
        )
        return list(connection.execute(query.order_by(trial_table.c.number)).scalars())

    def _points(
        self,
        connection: sa.Connection,
        since_id: int,
        trial: int | Sequence[int] | None,
        name: str | Sequence[str] | None,
        limit: int | None,
    ) -> Points:
        query = sa.select(*_POINT_COLUMNS).where(
            point_table.c.run == self._run_key(connection), point_table.c.id > since_id
        )
        if trial is not None:
            numbers = [trial] if isinstance(trial, int) else list(trial)
            query = query.where(point_table.c.trial.in_(numbers))
        if name is not None:
            names = [name] if isinstance(name, str) else list(name)
            query = query.where(point_table.c.name.in_(names))
        query = query.order_by(point_table.c.id).limit(limit)
        # The driver's own rows: SQLAlchemy's cost as much again as reading 100,000 points.
        cursor = connection.execute(query).cursor
        rows = cursor.fetchall() if cursor is not None else []
        if not rows:
            return Points()
        ids, trials, names_, steps, epochs, values = map(list, zip(*rows, strict=True))
        return Points(
            ids=ids,
            trials=trials,
            names=names_,
            steps=steps,
            epochs=epochs,
            values=[math.nan if value is None else value for value in values],
        )

    def _logs(self, connection: sa.Connection, since_id: int, limit: int | None) -> list[LogRow]:
        table = log_table
        query = sa.select(table.c.id, table.c.time, table.c.level, table.c.text, table.c.trial)
        query = query.where(table.c.run == self._run_key(connection), table.c.id > since_id)
        rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit)).all()
        return [LogRow(**row._mapping) for row in reversed(rows)]

    def _commands(self, connection: sa.Connection, since_id: int) -> list[CommandRow]:
        table = command_table
        query = (
            sa.select(table.c.id, table.c.time, table.c.command_id, table.c.command, table.c.refusal)
            .where(table.c.run == self._run_key(connection), table.c.id > since_id)
            .order_by(table.c.id)
        )
        return [CommandRow(**row._mapping) for row in connection.execute(query)]

    def _cursor(self, connection: sa.Connection) -> Cursor:
        key = self._run_key(connection)

        def newest(table: sa.Table) -> int:
            query = sa.select(sa.func.max(table.c.id)).where(table.c.run == key)
            return connection.execute(query).scalar() or 0

        seq = connection.execute(sa.select(run_table.c.seq).where(run_table.c.key == key)).scalar()
        return Cursor(
            seq=seq or 0,
            point=newest(point_table),
            log=newest(log_table),
            command=newest(command_table),
        )

    def close(self) -> None:
        """Close the connection; no error when closed already."""
        with self._guard:
            connection, self._connection = self._connection, None
            engine, self._engine = self._engine, None
            if connection is not None:
                connection.close()
            if engine is not None:
                engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

