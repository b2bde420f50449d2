"""Whose run is it: runs are signed by who submits them, as Jupyter signs notebooks.

A run's capsule is code. A folder that came by mail, in a repository or in an archive may be
looked at, but before it is *executed* somebody must have said so: the user, by submitting it here,
or later by ``run_code``. The key lies in the user's own folder of data and never leaves it; what is
signed is the recipe and the capsule's manifest, which holds the sha256 of each of its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from nbautoml.errors import StoreError
from nbautoml.store.files import FOLDER_MODE, read_small, write_whole

__all__ = ["SIGNATURE", "is_signed", "sign"]

SIGNATURE = "signature"
_SIGNED = ("recipe.json", "capsule/manifest.json")
_LIMIT_BYTES = 64 * 1024**2
_KEY_BYTES = 32


def sign(folder: Path, *, next_recipe: bytes | None = None) -> bool:
    """Sign a run's folder; False where this user has no place for a key.

    Args:
        folder: of the run.
        next_recipe: a recipe that is about to replace the one there. Both are signed, so that
            whoever stops between the two files leaves a run that is signed; sign again afterwards.
    """
    key = _key()
    if key is None:
        return False
    lines = [_digest(folder, key)]
    if next_recipe is not None:
        lines.append(_digest(folder, key, {"recipe.json": next_recipe}))
    write_whole(folder / SIGNATURE, "\n".join(lines).encode(), is_synced=False)
    return True


def is_signed(folder: Path) -> bool:
    """Whether this user signed the folder, and it holds the recipe and the code of then."""
    key = _key()
    if key is None or not (folder / SIGNATURE).exists():
        return False
    try:
        found = read_small(folder / SIGNATURE, limit=1024)
        own = _digest(folder, key).encode()
        return any(hmac.compare_digest(line, own) for line in found.splitlines()[:2])
    except StoreError:
        return False


def _digest(folder: Path, key: bytes, instead: Mapping[str, bytes] | None = None) -> str:
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for name in _SIGNED:
        path = folder / name
        data = (instead or {}).get(name)
        if data is None:
            data = read_small(path, limit=_LIMIT_BYTES) if path.exists() else b""
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _key() -> bytes | None:
    """The user's key, made at first need; None where their folder cannot be written."""
    path = _place() / "key"
    try:
        if not path.exists():
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            temporary = path.with_name(f".key.{secrets.token_hex(4)}.tmp")
            temporary.write_bytes(b"")
            temporary.chmod(0o600)
            temporary.write_bytes(secrets.token_bytes(_KEY_BYTES))
            # A link and no rename: of two processes that come first at once, one wins.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            temporary.unlink()
        found = read_small(path, limit=1024)
    except (OSError, StoreError):
        return None
    return found if len(found) == _KEY_BYTES else None


def _place() -> Path:
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "nbautoml"
