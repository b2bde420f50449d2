"""A lock that ends with its process: two supervisors never write one record."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from nbautoml.errors import StoreError
from nbautoml.store.files import FILE_MODE, os_errors

__all__ = ["FolderLock"]

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


class FolderLock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    The file says who holds it, for the message that the second one gets; it stays when the lock
    is released, since removing a locked file lets two holders in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self, who: str) -> None:
        """Take the lock, or say who has it.

        Raises:
            StoreError: another writer holds it, or the folder cannot be written.
        """
        with os_errors("lock", self.path):
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            handle = os.open(self.path, flags, FILE_MODE)
        try:
            _lock(handle)
        except OSError as error:
            holder = os.read(handle, 200).decode("utf-8", "replace").strip()
            os.close(handle)
            raise StoreError(
                f"{self.path.parent} is being written by {holder or 'another process'}",
                hint="one supervisor writes a run; stop that one first, or wait for it to end",
            ) from error
        os.ftruncate(handle, 0)
        # A full disk must not keep the lock from working: the text is a courtesy.
        with contextlib.suppress(OSError):
            os.pwrite(handle, who.encode(), 0) if hasattr(os, "pwrite") else None
        self._handle = handle

    def acquire_soon(self, who: str, limit_s: float = 10.0) -> None:
        """`acquire`, for a lock that is only ever held for a moment: waits for it.

        Raises:
            StoreError: still held at the limit, or the folder cannot be written.
        """
        until = time.monotonic() + limit_s
        while True:
            try:
                return self.acquire(who)
            except StoreError as error:
                if not isinstance(error.__cause__, BlockingIOError) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def release(self) -> None:
        """Let go; no error when it is not held."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                _unlock(self._handle)
            os.close(self._handle)
            self._handle = None
