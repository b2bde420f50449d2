"""Files that belong to a run: written whole, hashed, and verified before anything reads them."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nbautoml.errors import StoreError
from nbautoml.events import ArtifactWritten, Checkpoint
from nbautoml.store.files import FILE_MODE, make_folder, os_errors, sync_folder
from nbautoml.store.folder import RunFolder
from nbautoml.store.rows import ArtifactRow

__all__ = ["delete_artifact", "load_artifact", "save_artifact", "sweep_artifacts"]

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024
# A file as `save_artifact` names it, and its temporary one.
_OURS = re.compile(r"\.?(run|trial-\d{5,})-[A-Za-z0-9_-]+-[0-9a-f]{8}(\.\w+)?(\.tmp)?")
_WORD = re.compile(r"[^A-Za-z0-9_]+")


def save_artifact(
    folder: RunFolder | Path,
    data: bytes | Path,
    kind: str,
    trial: int | None = None,
    *,
    suffix: str = "",
    details: Mapping[str, Any] | None = None,
) -> ArtifactWritten:
    """Put a file into the run's ``artifacts/``: temporary file, fsync, rename, sha256.

    The record learns of it from the event that comes back; a file without one is as good as
    not there.

    Args:
        folder: the run's folder.
        data: the bytes, or a file that is copied.
        kind: what it is, e.g. "weights"; a label that also shows in the file's name.
        trial: the trial that it belongs to, or None for the run.
        suffix: end of the file's name, e.g. ".safetensors"; by default that of ``data``.
        details: plain JSON that is kept with it.

    Raises:
        StoreError: full disk, read-only folder.
    """
    root = make_folder((folder.path if isinstance(folder, RunFolder) else folder) / "artifacts")
    if isinstance(data, Path):
        suffix = suffix or data.suffix
    owner = "run" if trial is None else f"trial-{trial:05d}"
    word = _WORD.sub("-", kind).strip("-")[:40] or "file"
    ending = "." + _WORD.sub("", suffix)[:20] if suffix else ""
    name = f"{owner}-{word}-{secrets.token_hex(4)}{ending}"
    temporary, digest, size = root / f".{name}.tmp", hashlib.sha256(), 0
    with os_errors("write", root / name):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in _chunks(data):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(root / name)
            sync_folder(root)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return ArtifactWritten(
        time=time.time(),
        trial=trial,
        kind=kind,
        path=name,
        sha256=digest.hexdigest(),
        n_bytes=size,
        details=dict(details or {}),
    )


def _chunks(data: bytes | Path) -> Any:
    if isinstance(data, Path):
        with data.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    else:
        yield data


def load_artifact(
    row: ArtifactRow | ArtifactWritten | Checkpoint, folder: Path | None = None
) -> bytes:
    """The bytes of an artifact, once its length and sha256 are what the record says.

    Args:
        row: a row of `Reader.artifacts`, which knows its folder.
        folder: the run's ``artifacts/``, where the row does not know it.

    Raises:
        StoreError: not there, outside the folder, a link, or changed since it was written.
    """
    root = folder if folder is not None else getattr(row, "folder", Path())
    path = root / row.path
    if Path(row.path).name != row.path or row.path.startswith("."):
        raise StoreError(f"artifact path {row.path[:100]!r} leads out of {root}")
    with os_errors("read", path):
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_size != row.n_bytes:
                raise StoreError(
                    f"{path} has {found.st_size:,} bytes, the record says {row.n_bytes:,}",
                    hint="it was cut short or replaced; take it from a backup, or train again",
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read()
        finally:
            os.close(handle)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise StoreError(
            f"{path} is not what was written: its sha256 differs from the record's",
            hint="it is damaged or was changed; take it from a backup, or train again",
        )
    return data


def delete_artifact(folder: RunFolder, path: str) -> None:
    """Delete a file that the record has forgotten; one that stays is swept by the next owner."""
    if Path(path).name != path or path.startswith("."):
        raise StoreError(f"artifact path {path[:100]!r} leads out of {folder.artifacts_dir}")
    try:
        (folder.artifacts_dir / path).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("could not delete %s: %s", folder.artifacts_dir / path, error)


def sweep_artifacts(folder: RunFolder, rows: Iterable[ArtifactRow]) -> int:
    """Delete files of ours that the record does not know: their writer died, or their deleter.

    Returns:
        How many.
    """
    known, n_gone = {row.path for row in rows}, 0
    root = folder.artifacts_dir
    for path in root.iterdir() if root.is_dir() else ():
        if path.name not in known and _OURS.fullmatch(path.name):
            with os_errors("delete", path):
                path.unlink(missing_ok=True)
            n_gone += 1
    return n_gone
