"""A snapshot on disk: ``data/<sha256>/`` with one .npy file an array, and ``meta.json``.

The folder's name is the sha256 of ``meta.json``, and that holds the sha256 and size of every
array, so that nothing in the folder can change unnoticed::

    <digest>/meta.json          = sha256 -> <digest>
             train_0.npy        first input of the training rows
             train_target.npy
             valid_0.npy ...    only where a validation set was given

Folders are written under another name, synced and renamed; equal data is written once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from nbautoml.data.arrays import Array
from nbautoml.data.columns import Column
from nbautoml.errors import DataError

__all__ = ["META_FORMAT", "Staging", "file_rows", "open_arrays", "read_meta", "write_error"]

META_FORMAT = 1
_META = "meta.json"
_FILE_NAME = re.compile(r"[a-z0-9_]+\.npy")
_STAGING_NAME = re.compile(r"\.writing-(\d+)-[0-9a-f]+")
_HASHED_BYTES = 1 << 20


class Staging:
    """A folder beside the snapshots in which one is made; gone when the block ends.

    Attributes:
        path: made only when something is written.
    """

    def __init__(self, home_data: Path) -> None:
        self._home = home_data
        self.path = home_data / f".writing-{os.getpid()}-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        _sweep(self._home)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def publish(self, columns: Mapping[str, Column], meta: Mapping[str, Any]) -> str:
        """Write the snapshot unless it is there already; its digest.

        Args:
            columns: arrays by file name.
            meta: all else that belongs to the content; ``files`` is added.

        Raises:
            DataError: a column has values that are not finite.
            OSError: it cannot be written.
        """
        files = file_rows(columns)
        text = _canonical({**meta, "format": META_FORMAT, "files": files})
        digest = hashlib.sha256(text).hexdigest()
        target = self._home / digest
        if _is_whole(target, text, files):
            return digest
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {_META}
        for name, column in columns.items():
            _write_column(self.path / name, column)
            kept.add(name)
        _write(self.path / _META, [text])
        for path in self.path.iterdir():
            if path.name not in kept:
                path.unlink()
        self._rename(target, text, files)
        return digest

    def _rename(self, target: Path, text: bytes, files: list[dict[str, Any]]) -> None:
        aside: list[Path] = []
        for _ in range(3):
            try:
                self.path.rename(target)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES}:
                    raise
                if not target.exists():
                    raise
            else:
                _sync_folder(self._home)
                for path in aside:
                    shutil.rmtree(path, ignore_errors=True)
                return
            if _is_whole(target, text, files):
                return  # another kernel wrote the same data meanwhile
            # A damaged folder is moved aside: a run that has its files open keeps them.
            aside.append(self._home / f".writing-{os.getpid()}-{secrets.token_hex(4)}")
            target.rename(aside[-1])
        raise OSError(errno.EEXIST, "the folder keeps coming back", str(target))


def _sweep(home_data: Path) -> None:
    """Remove what a killed process left half-written."""
    if not home_data.is_dir():
        return
    import psutil

    for path in home_data.iterdir():
        found = _STAGING_NAME.fullmatch(path.name)
        if found and not psutil.pid_exists(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _canonical(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def file_rows(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """What ``meta.json`` says of each file; checks that all values are finite."""
    rows = []
    for name, column in columns.items():
        found = hashlib.sha256(column.header)
        for chunk in column.chunks():
            found.update(chunk.data)
        rows.append(
            {
                "file": name,
                "sha256": found.hexdigest(),
                "size": column.n_bytes,
                "dtype": column.dtype,
                "shape": [int(size) for size in column.values.shape],
            }
        )
    return rows


def _write_column(path: Path, column: Column) -> None:
    if column.staged is not None and column.staged.stat().st_size == column.n_bytes:
        column.staged.rename(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return

    def pieces() -> Iterable[Any]:
        yield column.header
        yield from column.chunks()

    _write(path, pieces())


def _write(path: Path, pieces: Iterable[Any]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    # Not every system can open a folder; the rename itself has happened already.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_whole(folder: Path, text: bytes, files: list[dict[str, Any]]) -> bool:
    try:
        if (folder / _META).read_bytes() != text:
            return False
        return all((folder / row["file"]).stat().st_size == row["size"] for row in files)
    except OSError:
        return False


def write_error(error: OSError, home_data: Path) -> DataError:
    """The message for a snapshot that could not be written."""
    hints = {
        errno.ENOSPC: "free space, or set NBAUTOML_HOME to a folder on another disk",
        errno.EDQUOT: "free space, or set NBAUTOML_HOME to a folder on another disk",
        errno.EACCES: "set NBAUTOML_HOME to a folder that you may write to",
        errno.EPERM: "set NBAUTOML_HOME to a folder that you may write to",
        errno.EROFS: "set NBAUTOML_HOME to a folder that you may write to",
    }
    return DataError(
        f"the snapshot cannot be written to {home_data}: {error.strerror or error}",
        hint=hints.get(error.errno or 0, "check the folder, or set NBAUTOML_HOME to another"),
    )


def read_meta(digest: str, home_data: Path) -> dict[str, Any]:
    """What ``meta.json`` says, checked against the folder's name.

    Raises:
        DataError: no such snapshot, or the file was changed.
    """
    path = home_data / digest / _META
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the data snapshot {digest[:12]}... is not in {home_data}: {error.strerror}",
            hint="run the cell again, or copy the folder from where the run was made",
        ) from error
    if hashlib.sha256(text).hexdigest() != digest:
        raise _changed(path, "its content does not match the folder's name")
    meta: dict[str, Any] = json.loads(text)
    if meta.get("format") != META_FORMAT:
        raise DataError(
            f"{path} has format {meta.get('format')!r}, this nbautoml reads {META_FORMAT}",
            hint="upgrade nbautoml, or run the cell again",
        )
    return meta


def open_arrays(
    digest: str, home_data: Path, *, should_verify: bool = False
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Meta and arrays of a snapshot; the arrays are memory maps.

    The maps are copy-on-write, so that torch can wrap them without a copy and without a
    warning, and nothing that is written to them ever reaches the file.

    Args:
        digest: names the folder.
        home_data: folder of all snapshots.
        should_verify: also read each file and compare its sha256; sizes and headers are
            always compared.

    Raises:
        DataError: a file is missing or was changed; the message names it.
    """
    meta = read_meta(digest, home_data)
    arrays = {}
    for row in meta["files"]:
        name = str(row["file"])
        path = home_data / digest / name
        # The digest vouches for the file, not for whoever made the run: no way out of the folder.
        if not _FILE_NAME.fullmatch(name) or path.is_symlink():
            raise DataError(f"{path} is not a plain file of the snapshot")
        arrays[name] = _open_array(path, row, should_verify)
    return meta, arrays


def _open_array(path: Path, row: Mapping[str, Any], should_verify: bool) -> Array:
    try:
        size = path.stat().st_size
        if size != row["size"]:
            raise _changed(path, f"it has {size} bytes, {row['size']} were written")
        if should_verify and _sha256(path) != row["sha256"]:
            raise _changed(path, "its sha256 is not the one that was recorded")
        # Not numpy.load, which also opens archives.
        array: Array = np.lib.format.open_memmap(path, mode="c")
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise _changed(path, str(error)) from error
    if list(array.shape) != row["shape"] or array.dtype.name != row["dtype"]:
        raise _changed(
            path, f"it holds {array.dtype.name} {array.shape}, not {row['dtype']} {row['shape']}"
        )
    return array


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASHED_BYTES):
            found.update(chunk)
    return found.hexdigest()


def _changed(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} was changed or damaged since the snapshot was made: {why}",
        hint="delete its folder and run the cell again",
    )
