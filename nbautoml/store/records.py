"""Making records, bringing older ones up to date, and refusing what is none of ours.

Alembic is loaded only when there is something to migrate: importing it costs 0.18 s.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.store.database import (
    SERVER_SCHEMA,
    connect_to_fill,
    guarded,
    is_local,
)
from nbautoml.store.files import os_errors, sync_folder
from nbautoml.store.schema import HEAD, metadata, run_table, version_table
from nbautoml.store.sqlite_files import choose_journal, copy_whole
from nbautoml.store.urls import masked, sqlite_path, sqlite_url

__all__ = [
    "bring_up_to_date",
    "check_is_ours",
    "check_pages",
    "has_server_tables",
    "make_server_tables",
    "make_sqlite_record",
    "make_tables",
]

# One number for "somebody makes our tables": 8 processes may meet a new server at once.
_MAKING_TABLES = 0x6E626175
QUICK_CHECK_BYTES = 8 * 1024**2


def make_tables(connection: sa.Connection) -> None:
    """All tables of the newest schema, and the stamp that says so."""
    metadata.create_all(connection, checkfirst=False)
    version_table.create(connection)
    connection.execute(version_table.insert().values(version_num=HEAD))


def make_sqlite_record(path: Path, run: Mapping[str, Any]) -> None:
    """A new record that appears whole: no reader ever meets one without its tables and its run.

    It is in the form in which its writer will use it, because changing that takes SQLite four waits
    for the disk; this takes two.

    Args:
        path: where.
        run: the row of the run.

    Raises:
        StoreError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with (
            guarded(sqlite_url(temporary)),
            connect_to_fill(temporary) as connection,
        ):
            with connection.begin():
                make_tables(connection)
                connection.execute(run_table.insert().values(run))
            choose_journal(connection.connection.driver_connection, path)
        with os_errors("make", path):
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_server_tables(connection: sa.Connection) -> None:
    """The tables on a server, if they are not there yet; safe when several processes try."""
    with connection.begin():
        if has_server_tables(connection):
            return
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
        if not has_server_tables(connection):
            connection.execute(sa.schema.CreateSchema(SERVER_SCHEMA, if_not_exists=True))
            make_tables(connection)


def has_server_tables(connection: sa.Connection) -> bool:
    """Whether somebody made our tables on the server already."""
    return sa.inspect(connection).has_table(version_table.name, schema=SERVER_SCHEMA)


def check_is_ours(connection: sa.Connection, url: str) -> str:
    """The schema's version, once the database is known to be a record and harmless to read.

    A record has tables and indexes, and no views, triggers or virtual tables: these could make
    reading a number mean running something, or show another number than is stored.

    Raises:
        StoreError: no record of ours, or newer than this version.
    """
    if is_local(url):
        _check_no_surprises(connection, url)
    version = str(connection.execute(sa.select(version_table.c.version_num)).scalar())
    if not version.isdigit() or version > HEAD:
        raise StoreError(
            f"{masked(url)} has schema {version[:20]!r}; this nbautoml knows up to {HEAD!r}",
            hint="upgrade nbautoml to open this run",
        )
    return version


def _check_no_surprises(connection: sa.Connection, url: str) -> None:
    rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
    for kind, name, text in rows:
        is_virtual = "VIRTUAL" in str(text)[:40].upper()
        if kind not in ("table", "index") or is_virtual:
            raise StoreError(
                f"{masked(url)} holds the {'virtual table' if is_virtual else kind} "
                f"{str(name)[:80]!r}, which no record of nbautoml has",
                hint="do not trust this file: it was made or changed by something else",
            )
    tables = {name for kind, name, _ in rows if kind == "table"}
    missing = {version_table.name, "run"} - tables
    if missing:
        raise StoreError(
            f"{masked(url)} is no record of nbautoml: it has no table {min(missing)!r}",
            hint="was the file replaced, or copied before it was complete?",
        )


def check_pages(connection: sa.Connection, url: str) -> None:
    """SQLite's own check of a local record's structure.

    Raises:
        StoreError: it is damaged.
    """
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise StoreError(
            f"{masked(url)}: the record is damaged ({str(found)[:200]})",
            hint="take the run from a backup or an export",
        )


def bring_up_to_date(connection: sa.Connection, url: str) -> None:
    """Migrate an older record; a local one is copied first, to ``record.db.schema-<old>.bak``.

    Raises:
        StoreError: newer, foreign, or the migration failed (then nothing is changed).
    """
    with guarded(url), connection.begin():
        version = check_is_ours(connection, url)
    if version == HEAD:
        return
    if is_local(url):
        path = sqlite_path(url)
        backup = path.with_name(f"{path.name}.schema-{version}.bak")
        if not backup.exists():
            copy_whole(path, backup)
    from nbautoml.store.migrations import upgrade

    with guarded(url):
        upgrade(connection)
