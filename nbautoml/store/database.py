"""SQLAlchemy engines for a record, wherever it lies; driver errors become `StoreError`.

A record's place is a URL: ``sqlite:////path/record.db``, or ``postgresql://...`` (driver psycopg 3).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from nbautoml.errors import MissingExtraError, StoreError
from nbautoml.store.sqlite_files import (
    connect_read_only,
    connect_to_write,
    new_file,
    sqlite_store_error,
)
from nbautoml.store.urls import SQLITE_PREFIX, masked, sqlite_path

__all__ = ["engine_for_reading", "engine_for_writing", "engine_for_creating", "guarded"]


def engine_for_reading(url: str) -> sa.Engine:
    """An engine of one connection that cannot write; a transaction on it sees one moment."""
    if url.startswith(SQLITE_PREFIX):
        path = sqlite_path(url)
        engine = _sqlite(lambda: connect_read_only(path), begin="BEGIN")
    else:
        engine = _postgres(url)
        engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    return engine


def engine_for_writing(url: str) -> sa.Engine:
    """An engine of one connection for the run's one writer."""
    if url.startswith(SQLITE_PREFIX):
        path = sqlite_path(url)
        return _sqlite(lambda: connect_to_write(path), begin="BEGIN IMMEDIATE")
    return _postgres(url)


def engine_for_creating(path: Path) -> sa.Engine:
    """An engine on a new, empty SQLite file that is to be filled and then renamed."""
    new_file(path)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        # No journal: the file is thrown away if anything fails before it is renamed.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    return _sqlite(connect, begin="BEGIN")


def _sqlite(connect: Any, *, begin: str) -> sa.Engine:
    engine = sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=StaticPool)
    # The driver's own transactions begin too late for a reader (a snapshot is wanted at once)
    # and too weakly for a writer; so it is set to leave them alone, and they begin here.
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _postgres(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        return sa.create_engine(
            parsed,
            poolclass=StaticPool,
            connect_args={"connect_timeout": 10, "application_name": "nbautoml"},
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a store at {masked(url)} needs the package {error.name}",
            hint="pip install 'nbautoml[postgres]'",
        ) from error


@contextlib.contextmanager
def guarded(url: str) -> Iterator[None]:
    """Turn SQLAlchemy's and the drivers' errors inside into `StoreError`."""
    try:
        yield
    except DBAPIError as error:
        raise store_error(error, url) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{masked(url)}: {error}") from error
    except sqlite3.Error as error:
        raise sqlite_store_error(error, sqlite_path(url)) from error


def store_error(error: DBAPIError, url: str) -> StoreError:
    """What a driver's error means, with no password in it."""
    original = error.orig if error.orig is not None else error
    if url.startswith(SQLITE_PREFIX):
        return sqlite_store_error(original, sqlite_path(url))
    text = " ".join(str(original).split())
    password = sa.make_url(url).password
    if password:
        text = text.replace(str(password), "***")
    return StoreError(
        f"the store at {masked(url)}: {text}",
        hint="is the server up, and does NBAUTOML_STORE name the right one?",
    )
