"""Making a record, and bringing an older one up to date; alembic is loaded for the latter only."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.store.database import engine_for_creating, guarded
from nbautoml.store.files import os_errors, sync_folder
from nbautoml.store.schema import HEAD, metadata, version_table
from nbautoml.store.urls import SQLITE_PREFIX, masked, sqlite_path

__all__ = ["bring_up_to_date", "check_version", "make_sqlite_record", "make_tables"]

# One number for "somebody makes our tables": 8 processes may meet a new server at once.
_MAKING_TABLES = 0x6E626175


def make_tables(connection: sa.Connection) -> None:
    """All tables of the newest schema, and the stamp that says so."""
    metadata.create_all(connection, checkfirst=False)
    version_table.create(connection)
    connection.execute(version_table.insert().values(version_num=HEAD))


def make_sqlite_record(path: Path) -> None:
    """A new record that appears whole: no reader ever meets one without its tables."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    engine = engine_for_creating(temporary)
    try:
        with guarded(f"{SQLITE_PREFIX}{temporary}"), engine.begin() as connection:
            make_tables(connection)
        engine.dispose()
        with os_errors("make", path):
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        engine.dispose()
        temporary.unlink(missing_ok=True)


def make_server_tables(engine: sa.Engine) -> None:
    """The tables on a server, if they are not there yet; safe when several processes try."""
    if _version(engine) is not None:
        return
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
        if not sa.inspect(connection).has_table(version_table.name):
            make_tables(connection)


def _version(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(version_table.name):
            return None
        return connection.execute(sa.select(version_table.c.version_num)).scalar()


def check_version(version: str | None, url: str) -> None:
    """Refuse what this version cannot read.

    Raises:
        StoreError: no record of ours, newer, or older than what is read without migrating.
    """
    if version == HEAD:
        return
    if version is None:
        raise StoreError(
            f"{masked(url)} is no record of nbautoml: it does not say which schema it has",
            hint="was the file replaced, or copied before it was complete?",
        )
    if not version.isdigit() or version > HEAD:
        raise StoreError(
            f"{masked(url)} has schema {version[:20]!r}; this nbautoml knows up to {HEAD!r}",
            hint="upgrade nbautoml to open this run",
        )
    raise StoreError(
        f"{masked(url)} has the old schema {version!r}; this nbautoml uses {HEAD!r}",
        hint="open it for writing once (%automl resume), which brings it up to date",
    )


def bring_up_to_date(engine: sa.Engine, url: str) -> None:
    """Migrate an older record, with a copy kept beside a local one.

    Raises:
        StoreError: it is newer, foreign, or the migration failed (the old file is kept).
    """
    with guarded(url):
        version = _version(engine)
    if version == HEAD:
        return
    if version is None or not version.isdigit() or version > HEAD:
        check_version(version, url)
    if url.startswith(SQLITE_PREFIX):
        path = sqlite_path(url)
        with guarded(url), engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        with os_errors("back up", path):
            shutil.copyfile(path, path.with_name(f"{path.name}.schema-{version}.bak"))
    from nbautoml.store.migrations import upgrade

    with guarded(url), engine.connect() as connection:
        upgrade(connection)
