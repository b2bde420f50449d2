"""Files written whole or not at all, private to their owner, and never through a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from nbautoml.errors import StoreError

__all__ = [
    "checked_folder",
    "file_name",
    "keep_private",
    "make_folder",
    "os_errors",
    "path_of",
    "read_small",
    "sync_folder",
    "write_whole",
]

FOLDER_MODE = 0o700
FILE_MODE = 0o600


@contextlib.contextmanager
def os_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` inside into a `StoreError` that says what to do.

    >>> with os_errors("write", Path("/x")):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    nbautoml.errors.StoreError: cannot write /x: the disk is full
    Hint: free some space, then go on: what was finished is safe
    """
    try:
        yield
    except OSError as error:
        reason, hint = explain_os_error(error)
        raise StoreError(f"cannot {what} {path}: {reason}", hint=hint) from error


def explain_os_error(error: OSError) -> tuple[str, str]:
    """(reason, hint) in a person's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "your disk quota is used up",
            errno.EFBIG: "the file would be larger than this process may write",
        }[error.errno]
        return reason, "free some space, then go on: what was finished is safe"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            "the folder is read-only for you",
            "set NBAUTOML_HOME to a folder that you may write to",
        )
    if error.errno == errno.ELOOP:
        return "it is a symbolic link, which a run's folder must not hold", "remove the link"
    if error.errno == errno.ENOENT:
        return "it is not there", "was the run's folder removed or moved?"
    if error.errno == errno.EIO:
        return "the disk reports an error", "copy what is there to another disk, and check this one"
    return str(error.strerror or error), ""


_RESERVED = frozenset({"con", "prn", "aux", "nul"})


def file_name(label: str, ending: str) -> str:
    """A file's name made of a label, which may be anything: one part, plain, on any system.

    >>> file_name("digits", ".zip"), file_name("../../etc/pass wd", ".html"), file_name("CON", "")
    ('digits.zip', 'etc_pass_wd.html', 'CON_')
    """
    plain = re.sub(r"[^\w.-]+", "_", label)[:80].strip("._- ") or "run"
    is_reserved = plain.partition(".")[0].lower() in _RESERVED
    return f"{plain}{'_' if is_reserved else ''}{ending}"


def path_of(said: Path | str) -> Path:
    r"""A path that a person gave, made absolute.

    Raises:
        StoreError: no system has such a path.

    >>> path_of("/tmp/x" + chr(0))
    Traceback (most recent call last):
        ...
    nbautoml.errors.StoreError: '/tmp/x\x00' is no path: embedded null byte
    Hint: give another
    """
    try:
        path = Path(said).expanduser().absolute()
        path.stat()
    except FileNotFoundError:
        return path
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            return path  # whoever opens it says why that cannot be done
        reason = getattr(error, "strerror", None) or str(error)
        shown = ascii(str(said))
        raise StoreError(
            f"{shown if len(shown) <= 80 else shown[:77] + '...'} is no path: {reason}",
            hint="give another",
        ) from error
    return path


def make_folder(path: Path) -> Path:
    """Make a folder (and those above it) that only its owner can enter."""
    with os_errors("make the folder", path):
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return path


def keep_private(folder: Path) -> None:
    """Give everything below a folder to its owner alone; for what others wrote into it."""
    with os_errors("protect", folder):
        for path in folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def checked_folder(path: Path) -> Path:
    """The path, if it is a real folder and no symbolic link.

    Raises:
        StoreError: it is a link, or no folder.
    """
    with os_errors("open", path):
        mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise StoreError(
            f"{path} is a symbolic link; a run's folder must not hold links",
            hint="copy what it points to in its place",
        )
    if not stat.S_ISDIR(mode):
        raise StoreError(f"{path} is not a folder")
    return path


def sync_folder(path: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write a file so that others see all of it or nothing: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with os_errors("write", path):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if is_synced:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
            if is_synced:
                sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def read_small(path: Path, *, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; links are refused.

    Raises:
        StoreError: not there, no regular file, or too large.
    """
    with os_errors("read", path):
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(path, flags)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"{path} is not a regular file")
            if found.st_size > limit:
                raise StoreError(f"{path} has {found.st_size:,} bytes, more than {limit:,}")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(limit + 1)
        finally:
            os.close(handle)
