"""A record's SQLite file, opened with the standard library alone: safely, and wherever it lies."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nbautoml.errors import StoreError
from nbautoml.store.files import FILE_MODE, explain_os_error, os_errors
from nbautoml.store.places import is_on_network

__all__ = [
    "SQLITE_ERRORS",
    "choose_journal",
    "connect_read_only",
    "connect_to_fill",
    "connect_to_write",
    "copy_whole",
    "make_plain",
    "sqlite_store_error",
]

BUSY_TIMEOUT_S = 10.0
# The driver fails to decode SQLite's own message when it quotes a damaged name.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_COPY_LIMIT_BYTES = 2 * 1024**3


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, with nothing in the file trusted.

    Copes with a record that lies in a read-only folder, also one that was copied there while
    its writer lived, with its write-ahead log beside it.

    Raises:
        StoreError: not there, a link, no database, damaged.
    """
    _check_regular(path)
    try:
        try:
            return _opened(_uri(path, "mode=ro"))
        except sqlite3.OperationalError as error:
            if not _is_unwritable(error):
                raise
        # SQLite wants to make its -shm file beside a record in WAL mode, or to undo what a killed
        # writer left half done, and may not.
        journals = [path.with_name(path.name + ending) for ending in ("-wal", "-journal")]
        journals = [journal for journal in journals if _size(journal) > 0]
        if journals:
            return _copied(path, journals)
        return _opened(_uri(path, "mode=ro&immutable=1"))
    except SQLITE_ERRORS as error:
        raise sqlite_store_error(error, path) from error


def connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection for the one writer; the file must exist.

    Raises:
        StoreError: not there, a link, no database, read-only.
    """
    _check_regular(path)
    try:
        connection = sqlite3.connect(
            _uri(path, "mode=rw"),
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA trusted_schema=OFF")
        choose_journal(connection, path)
    except SQLITE_ERRORS as error:
        raise sqlite_store_error(error, path) from error
    return connection


def choose_journal(connection: Any, path: Path) -> None:
    """How a record at that place is written: with a write-ahead log where there can be one."""
    # It needs memory that reader and writer share: not over a network.
    if is_on_network(path):
        connection.execute("PRAGMA journal_mode=TRUNCATE")
    else:
        connection.execute("PRAGMA journal_mode=WAL")


def connect_to_fill(path: Path) -> sqlite3.Connection:
    """A connection to a new file that nobody else knows yet."""
    with os_errors("make", path):
        # SQLite gives its -wal and -shm the mode of the database.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
    connection = sqlite3.connect(path, isolation_level=None)
    # No journal: the file is thrown away if anything fails before it is renamed.
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def make_plain(path: Path) -> bool:
    """Fold the write-ahead log into the file, which then opens anywhere, read-only media too.

    Returns:
        False while a reader is connected: then SQLite keeps the log. And where the disk does not
        let go of it, of which SQLite says nothing, or fails.

    Raises:
        StoreError: what was read there is no record.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(_uri(path, "mode=rw"), uri=True, timeout=0, isolation_level=None)
        ) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError:
        return False
    except SQLITE_ERRORS as error:
        raise sqlite_store_error(error, path) from error
    return str(mode) == "delete" and not path.with_name(f"{path.name}-wal").exists()


def copy_whole(path: Path, target: Path) -> None:
    """A copy as of one moment, also while the record is being written.

    Raises:
        StoreError: damaged, or the target cannot be written.
    """
    source = connect_read_only(path)
    try:
        copy = connect_to_fill(target)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        except SQLITE_ERRORS as error:
            raise sqlite_store_error(error, target) from error
        finally:
            copy.close()
    finally:
        source.close()


def _check_regular(path: Path) -> None:
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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _copied(path: Path, journals: list[Path]) -> sqlite3.Connection:
    """Read from a private copy: only there can SQLite work off what lies beside the file."""
    if sum(map(_size, [path, *journals])) > _COPY_LIMIT_BYTES:
        raise StoreError(
            f"{path} was left open in a read-only folder, and is too large to copy",
            hint="copy the run's folder to a place that you may write to, and open it there",
        )
    with os_errors("copy", path), tempfile.TemporaryDirectory(prefix="nbautoml-") as folder:
        copy = Path(folder) / path.name
        for source in (path, *journals):
            shutil.copyfile(source, copy.with_name(source.name))
        make_plain(copy)
        return _opened(_uri(copy, "mode=ro"))  # open, it outlives its name (POSIX)


_FULL = explain_os_error(OSError(errno.ENOSPC, ""))
_SQLITE_REASONS = {
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": ("the disk refused (full, over quota, or failing)", _FULL[1]),
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
        "take the run from a backup or an export",
    ),
    "SQLITE_NOTADB": ("this is no record: it is not an SQLite file", "was the file replaced?"),
}


def sqlite_store_error(error: BaseException, path: Path) -> StoreError:
    """The `StoreError` that says what an `sqlite3.Error` means."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if isinstance(error, UnicodeDecodeError):
        name = "SQLITE_CORRUPT"
    for prefix, (reason, hint) in _SQLITE_REASONS.items():
        if name.startswith(prefix):
            return StoreError(f"{path}: {reason} ({error})", hint=hint)
    return StoreError(f"{path}: {error}", hint="is this a run's record, made by nbautoml?")
