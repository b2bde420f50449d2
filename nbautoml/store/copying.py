"""One run out of a store on a server: into a file of its own, or out of the world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from nbautoml.errors import RunNotFoundError
from nbautoml.store.database import (
    connect_to_fill,
    connect_to_read,
    connect_to_write,
    guarded,
    is_local,
)
from nbautoml.store.records import make_tables
from nbautoml.store.schema import (
    artifact_table,
    command_table,
    log_table,
    point_table,
    run_table,
    trial_table,
)
from nbautoml.store.urls import sqlite_url

if TYPE_CHECKING:
    from nbautoml.store.folder import RunFolder

__all__ = ["copy_from_server", "forget_on_server"]

_AT_ONCE = 10_000


def copy_from_server(folder: RunFolder, target: Path) -> None:
    """Copy a run's rows, as of one moment, into a new local record.

    Raises:
        RunNotFoundError: the server does not hold the run.
        StoreError: the server is away, or the file cannot be written.
    """
    url = folder.record_url
    with (
        guarded(url),
        connect_to_read(url) as source,
        source.begin(),
        guarded(sqlite_url(target)),
        connect_to_fill(target) as copy,
        copy.begin(),
    ):
        make_tables(copy)
        run = source.execute(sa.select(run_table).where(run_table.c.id == folder.id)).mappings()
        row = run.one_or_none()
        if row is None:
            raise RunNotFoundError(f"the store does not hold run {folder.id}")
        copy.execute(run_table.insert(), [dict(row)])
        for table in (trial_table, point_table, log_table, artifact_table, command_table):
            rows = source.execute(sa.select(table).where(table.c.run == row["key"])).mappings()
            for part in rows.partitions(_AT_ONCE):
                copy.execute(table.insert(), [dict(item) for item in part])


def forget_on_server(folder: RunFolder) -> None:
    """Delete a run's rows from the server that holds them; nothing happens for a local record.

    Raises:
        StoreError: the server is away.
    """
    url = folder.record_url
    if is_local(url):
        return
    with guarded(url), connect_to_write(url) as connection, connection.begin():
        connection.execute(sa.delete(run_table).where(run_table.c.id == folder.id))
