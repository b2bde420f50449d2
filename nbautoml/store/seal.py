"""The seal of a run that is over: its record's sha256 in a file beside it.

While a run goes on its record changes all the time; a run that is over never does, so one flipped
bit in it is found when it is opened. Resuming the run breaks the seal.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from nbautoml.errors import StoreError
from nbautoml.store.files import os_errors, read_small, write_whole
from nbautoml.store.sqlite_files import make_plain

__all__ = ["break_seal", "is_seal_good", "put_seal", "seal_path"]


def seal_path(path: Path) -> Path:
    """Where the seal of a record lies."""
    return path.with_name(f"{path.name}.sha256")


def put_seal(path: Path) -> bool:
    """Fold the record into one plain file and seal it; False while somebody reads it."""
    if not make_plain(path):
        return False
    with os_errors("read", path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # As sha256sum writes it, so that `sha256sum -c` checks it too.
    write_whole(seal_path(path), f"{digest}  {path.name}\n".encode())
    return True


def break_seal(path: Path) -> None:
    """The record is going to change."""
    with os_errors("remove", seal_path(path)):
        seal_path(path).unlink(missing_ok=True)


def is_seal_good(path: Path) -> bool:
    """Whether the record is sealed, and is what was sealed.

    Raises:
        StoreError: it was changed since.
    """
    seal = seal_path(path)
    if not seal.exists():
        return False
    said = read_small(seal, limit=4096).decode("ascii", "replace").split()[:1]
    with os_errors("read", path):
        found = path.stat()
        digest = _digest(path, (found.st_ino, found.st_size, found.st_mtime_ns))
    log = path.with_name(f"{path.name}-wal")
    is_logged = log.exists() and log.stat().st_size > 0
    if said == [digest] and not is_logged:
        return True
    if not seal.exists():
        return False  # the run was resumed at this very moment
    raise StoreError(
        f"{path}: the record is damaged: it is not what it was when the run ended",
        hint=f"take the run from a backup or an export; if you changed it yourself, remove {seal}",
    )


@functools.lru_cache(maxsize=256)
def _digest(path: Path, look: tuple[int, int, int]) -> str:  # noqa: ARG001 (part of the cache's key)
    """The file's sha256; a file that looks the same (inode, size, time) is not read twice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
