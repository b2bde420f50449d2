"""Opening a record's SQLite file with the standard library alone: safely, and wherever it lies."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from nbautoml.errors import StoreError
from nbautoml.store.files import FILE_MODE, os_errors

__all__ = ["connect_read_only", "connect_to_write", "sqlite_store_error"]

BUSY_TIMEOUT_S = 10.0
_COPY_LIMIT_BYTES = 2 * 1024**3


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, with nothing in the file trusted.

    Copes with a record that lies in a read-only folder, also one that was copied there while
    its writer lived, with its write-ahead log beside it.

    Raises:
        StoreError: not there, a link, no database, damaged.
    """
    _regular(path)
    try:
        try:
            return _opened(_uri(path, "mode=ro"))
        except sqlite3.OperationalError as error:
            if not _is_unwritable(error):
                raise
        # SQLite wants to make its -shm file beside a record in WAL mode, and may not.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size > 0:
            return _copied(path, log)
        return _opened(_uri(path, "mode=ro&immutable=1"))
    except sqlite3.Error as error:
        raise sqlite_store_error(error, path) from error


def connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection for the one writer; the file must exist.

    Raises:
        StoreError: not there, a link, no database, read-only.
    """
    _regular(path)
    try:
        connection = sqlite3.connect(
            _uri(path, "mode=rw"),
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error as error:
        raise sqlite_store_error(error, path) from error
    return connection


def new_file(path: Path) -> None:
    """An empty file of the right mode: SQLite gives its -wal and -shm the mode of the database."""
    with os_errors("make", path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))


def _regular(path: Path) -> None:
    with os_errors("open", path):
        mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        raise StoreError(
            f"{path} is not a regular file; a run's folder must not hold links",
            hint="copy the record itself into the folder",
        )


def _uri(path: Path, flags: str) -> str:
    return f"file:{quote(str(path.resolve()))}?{flags}"


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_unwritable(error: sqlite3.OperationalError) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


def _copied(path: Path, log: Path) -> sqlite3.Connection:
    """Read from a private copy: only there can SQLite follow the write-ahead log."""
    size = path.stat().st_size + log.stat().st_size
    if size > _COPY_LIMIT_BYTES:
        raise StoreError(
            f"{path} has an open write-ahead log in a read-only folder, and is too large to copy",
            hint="copy the run's folder to a place that you may write to, and open it there",
        )
    with os_errors("copy", path), tempfile.TemporaryDirectory(prefix="nbautoml-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        shutil.copyfile(log, copy.with_name(log.name))
        # The open files outlive their names on POSIX; elsewhere the copy is left to the system.
        return _opened(_uri(copy, "mode=ro"))


_SQLITE_REASONS = {
    "SQLITE_FULL": ("the disk is full", "free some space, then go on: what was finished is safe"),
    "SQLITE_IOERR": (
        "the disk refused (full, over quota, or failing)",
        "free some space, then go on: what was finished is safe",
    ),
    "SQLITE_READONLY": (
        "the record is read-only for you",
        "set NBAUTOML_HOME to a folder that you may write to",
    ),
    "SQLITE_CANTOPEN": (
        "the record cannot be opened",
        "look at the folder's permissions, and at the number of open files",
    ),
    "SQLITE_BUSY": (
        "another process kept the record locked for too long",
        "try again; one process writes a run's record, all others only read",
    ),
    "SQLITE_CORRUPT": (
        "the record is damaged",
        "take the run from a backup or an export; finished runs can be copied at any time",
    ),
    "SQLITE_NOTADB": ("this is no record: it is not an SQLite file", "was the file replaced?"),
}


def sqlite_store_error(error: BaseException, path: Path) -> StoreError:
    """The `StoreError` that says what an `sqlite3.Error` means."""
    name = getattr(error, "sqlite_errorname", None) or ""
    for prefix, (reason, hint) in _SQLITE_REASONS.items():
        if name.startswith(prefix):
            return StoreError(f"{path}: {reason} ({error})", hint=hint)
    return StoreError(f"{path}: {error}", hint="is this a run's record, made by nbautoml?")
