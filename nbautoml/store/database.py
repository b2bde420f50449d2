"""Connections to a record, wherever it lies; driver errors become `StoreError`.

A record's place is a URL: ``sqlite:////path/record.db``, or ``postgresql://...`` (driver
psycopg 3), where one database holds many runs, in a schema of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from nbautoml.errors import MissingExtraError, StoreError
from nbautoml.store import sqlite_files
from nbautoml.store.urls import SQLITE_PREFIX, masked, sqlite_path

__all__ = [
    "SERVER_SCHEMA",
    "connect_to_fill",
    "connect_to_read",
    "connect_to_write",
    "guarded",
    "is_local",
]

SERVER_SCHEMA = "nbautoml"

# A host that lost its power must not keep its session, and with it its locks, for two hours.
_SERVER_OPTIONS = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)


def is_local(url: str) -> bool:
    """Whether the record is a file of the run's folder."""
    return url.startswith(SQLITE_PREFIX)


def connect_to_read(url: str) -> sa.Connection:
    """A connection that cannot write; a transaction on it sees one moment.

    Raises:
        StoreError: the record is not there or cannot be opened.
    """
    with guarded(url):
        if is_local(url):
            path = sqlite_path(url)
            return _sqlite(lambda: sqlite_files.connect_read_only(path), begin="BEGIN")
        engine = _postgres(url).execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        return engine.connect()


def connect_to_write(url: str) -> sa.Connection:
    """The connection of a run's one writer.

    Raises:
        StoreError: the record is not there or cannot be written.
    """
    with guarded(url):
        if is_local(url):
            path = sqlite_path(url)
            return _sqlite(lambda: sqlite_files.connect_to_write(path), begin="BEGIN IMMEDIATE")
        return _postgres(url).connect()


def connect_to_fill(path: Path) -> sa.Connection:
    """A connection to a new, empty file that is to be filled and then renamed."""
    return _sqlite(lambda: sqlite_files.connect_to_fill(path), begin="BEGIN")


def _sqlite(connect: Callable[[], sqlite3.Connection], *, begin: str) -> sa.Connection:
    """A connection that SQLAlchemy did not open itself.

    All files share an engine: one of its own for each forgot what it had compiled, and asked the
    database anew what it can do: 5 ms, and a run opens its record four times before its first trial.
    """
    _opening.connect = connect
    try:
        return _engine(begin).connect()
    finally:
        del _opening.connect


_opening = threading.local()


@cache
def _engine(begin: str) -> sa.Engine:
    """Its connections come from whoever is opening one; none is kept."""

    def opened() -> sqlite3.Connection:
        connection: sqlite3.Connection = _opening.connect()
        return connection

    engine = sa.create_engine(
        "sqlite+pysqlite://", creator=opened, poolclass=NullPool, hide_parameters=True
    )
    # The driver's own transactions begin too late for a reader (a snapshot is wanted at once)
    # and too weakly for a writer; it is set to leave them alone, and they begin here.
    sa.event.listen(
        engine, "begin", lambda connection: connection.connection.cursor().execute(begin)
    )
    return engine


def _postgres(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {"connect_timeout": 10, "application_name": "nbautoml"}
    if "options" not in parsed.query:
        arguments["options"] = _SERVER_OPTIONS
    try:
        engine = sa.create_engine(
            parsed, poolclass=NullPool, connect_args=arguments, hide_parameters=True
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a store at {masked(url)} needs the package {error.name}",
            hint="pip install 'nbautoml[postgres]'",
        ) from error
    sa.event.listen(engine, "connect", _use_our_schema)
    return engine


def _use_our_schema(connection: Any, _: object) -> None:
    """Names like "run" and "log" are taken in many databases: ours live in a schema of their own."""
    connection.autocommit = True  # inside a transaction, a rollback would undo it
    connection.execute("SET search_path TO nbautoml")
    connection.autocommit = False


@contextlib.contextmanager
def guarded(url: str) -> Iterator[None]:
    """Turn SQLAlchemy's and the drivers' errors inside into `StoreError`."""
    try:
        yield
    except DBAPIError as error:
        raise _store_error(error, url) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{masked(url)}: {_scrubbed(str(error), url)}") from error
    except sqlite_files.SQLITE_ERRORS as error:
        raise sqlite_files.sqlite_store_error(error, sqlite_path(url)) from error


def _store_error(error: DBAPIError, url: str) -> StoreError:
    """What a driver's error means, with no password in it."""
    original = error.orig if error.orig is not None else error
    if is_local(url):
        return sqlite_files.sqlite_store_error(original, sqlite_path(url))
    return StoreError(
        f"the store at {masked(url)}: {_scrubbed(str(original), url)}",
        hint="is the server up, and does NBAUTOML_STORE name the right one?",
    )


def _scrubbed(text: str, url: str) -> str:
    text = " ".join(text.split())
    password = None if is_local(url) else sa.make_url(url).password
    return text.replace(str(password), "***") if password else text
