"""One file that holds a run, to be mailed and opened elsewhere.

::

    manifest.json              format, run id, name, sha256 of every other member
    run/recipe.json            as in the run's folder
    run/record.db              as of one moment, one plain file, also where a server held it
    run/capsule/...  run/artifacts/...  run/given/...
    data/<digest>/...          the snapshot that it was trained on, if asked for

An archive comes from somebody else: every member's name, size and hash is checked before the run
appears, and nothing in it is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nbautoml.errors import StoreError
from nbautoml.store.database import is_local
from nbautoml.store.files import checked_folder, make_folder, os_errors, path_of, write_whole
from nbautoml.store.folder import RUN_ID, RunFolder
from nbautoml.store.sqlite_files import copy_whole
from nbautoml.store.urls import sqlite_path

__all__ = ["export_run", "import_archive"]

FORMAT = 1
MAX_MEMBERS = 100_000
MAX_BYTES = 200 * 1024**3
MAX_MANIFEST_BYTES = 32 * 1024**2
# Deflate reaches 1032 at most; weights and records stay below 20.
MAX_RATIO = 200
_CHUNK_BYTES = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HINT = "do not open this file if you do not know who made it"


def export_run(
    folder: RunFolder, path: Path, *, data_dir: Path | None = None, with_data: bool = False
) -> Path:
    """Write a run, finished or not, into one archive.

    Args:
        folder: the run.
        path: the file to write; one that exists is replaced when the new one is complete.
        data_dir: the home's snapshots.
        with_data: put the data in too.

    Raises:
        StoreError: a file is missing, or the archive cannot be written.
    """
    path = path_of(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    hashes: dict[str, str] = {}
    with os_errors("write", path), tempfile.TemporaryDirectory(prefix="nbautoml-") as scratch:
        try:
            with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
                for name, source in _members(
                    folder, Path(scratch), data_dir if with_data else None
                ):
                    hashes[name] = _sha256(source)
                    archive.write(source, name)
                manifest = {
                    "format": FORMAT,
                    "run_id": folder.id,
                    "name": folder.recipe_json().get("name"),
                    "sha256": hashes,
                }
                archive.writestr("manifest.json", json.dumps(manifest, indent=1))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _members(folder: RunFolder, scratch: Path, data_dir: Path | None) -> Iterator[tuple[str, Path]]:
    yield "run/recipe.json", folder.path / "recipe.json"
    record = scratch / "record.db"
    if not is_local(folder.record_url):
        from nbautoml.store.copying import copy_from_server

        copy_from_server(folder, record)
    elif sqlite_path(folder.record_url).exists():
        copy_whole(sqlite_path(folder.record_url), record)
    if record.exists():
        yield "run/record.db", record
    yield from _files_in(folder.capsule_dir, "run/capsule")
    yield from _files_in(folder.artifacts_dir, "run/artifacts")
    yield from _files_in(folder.given_dir, "run/given")
    digest = str((folder.recipe_json().get("data") or {}).get("digest", ""))
    if data_dir is not None and _DIGEST.fullmatch(digest):
        checked_folder(data_dir / digest)
        yield from _files_in(data_dir / digest, f"data/{digest}")


def _files_in(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Regular files below a folder; links and what is half written are left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not path.is_symlink() and not is_hidden:
            yield f"{name}/{relative.as_posix()}", path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def import_archive(path: Path, *, runs_dir: Path, data_dir: Path) -> RunFolder:
    """Unpack a run that `export_run` wrote; it appears whole or not at all.

    Raises:
        StoreError: no such archive, damaged, hostile, too large, or the run is here already.
    """
    path = path_of(path)
    make_folder(runs_dir)
    make_folder(data_dir)
    scratch = make_folder(runs_dir.parent / f".import-{secrets.token_hex(4)}")
    try:
        with _opened(path) as archive:
            manifest = _manifest(archive, path)
            target = runs_dir / manifest["run_id"]
            if target.exists():
                raise StoreError(
                    f"run {manifest['run_id']} is here already",
                    hint="remove it first (%automl rm), if you want the archive's",
                )
            for member in archive.infolist():
                if member.filename != "manifest.json":
                    _unpack(archive, member, manifest["sha256"], scratch)
        for name in ("capsule", "artifacts", "inbox"):
            make_folder(scratch / "run" / name)
        about = json.dumps({"archive": path.name})
        write_whole(scratch / "run" / "imported.json", about.encode("utf-8", "replace"))
        _check_record(scratch / "run", manifest["run_id"])
        _keep_data(scratch / "data", data_dir)
        with os_errors("unpack", target):
            (scratch / "run").rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return RunFolder(target)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with os_errors("read", path):
        try:
            with zipfile.ZipFile(path) as archive:
                yield archive
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise StoreError(f"{path} is no archive of a run, or is damaged: {error}") from error


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """The archive's table of contents, once it agrees with what is inside."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if "manifest.json" not in names:
        raise StoreError(f"{path} is no archive of a run: it has no manifest.json")
    about = archive.getinfo("manifest.json")
    if about.file_size > MAX_MANIFEST_BYTES or len(members) > MAX_MEMBERS:
        raise StoreError(f"{path} is too large: {len(members):,} members", hint=_HINT)
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise StoreError(f"{path} would unpack to more than {MAX_BYTES:,} bytes", hint=_HINT)
    try:
        found = json.loads(archive.read("manifest.json"))
        version, run_id, hashes = found["format"], found["run_id"], dict(found["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{path}: the archive's manifest.json is damaged") from error
    if version != FORMAT:
        raise StoreError(
            f"{path} has format {str(version)[:20]}; this nbautoml reads {FORMAT}",
            hint="upgrade nbautoml to open it",
        )
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise StoreError(f"{path}: {str(run_id)[:80]!r} is no run id", hint=_HINT)
    if sorted(names) != sorted([*hashes, "manifest.json"]) or "run/recipe.json" not in hashes:
        raise StoreError(f"{path} holds other files than its manifest says", hint=_HINT)
    return {"run_id": run_id, "sha256": hashes}


def _unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, hashes: dict[str, str], scratch: Path
) -> None:
    target = scratch / _checked_name(member)
    make_folder(target.parent)
    digest, size = hashlib.sha256(), 0
    with os_errors("unpack", target), archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            size += len(chunk)
            # The sizes that a zip file states are claims.
            if size > member.file_size:
                raise StoreError(f"{member.filename!r} is larger than it says", hint=_HINT)
            digest.update(chunk)
            file.write(chunk)
    target.chmod(0o600)
    if digest.hexdigest() != hashes.get(member.filename):
        raise StoreError(f"the archive is damaged: {member.filename!r} is not what was packed")


def _checked_name(member: zipfile.ZipInfo) -> PurePosixPath:
    """The member's place below the folder it is unpacked into."""
    name = member.filename
    path = PurePosixPath(name)
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    is_plain = (
        not path.is_absolute()
        and name == path.as_posix()
        and len(name) < 400
        and all(part.isprintable() and not part.startswith(".") for part in path.parts)
        and not any(char in name for char in '\\:*?"<>|')
    )
    allowed = name in ("run/recipe.json", "run/record.db") or (
        len(path.parts) > 2
        and (
            path.parts[:2] in (("run", "capsule"), ("run", "artifacts"), ("run", "given"))
            or (path.parts[0] == "data" and _DIGEST.fullmatch(path.parts[1]) is not None)
        )
    )
    ratio = member.file_size / max(member.compress_size, 1)
    if is_link or not is_plain or not allowed or (ratio > MAX_RATIO and member.file_size > 1e8):
        raise StoreError(f"the archive holds {name[:100]!r}, which no run has", hint=_HINT)
    return path


def _check_record(folder: Path, run_id: str) -> None:
    """Read everything once: a record that cannot be read must not appear among the runs."""
    staged = RunFolder(folder)
    said = staged.recipe_json().get("run_id")
    if said != run_id:
        raise StoreError(f"the archive's recipe is that of run {str(said)[:80]!r}", hint=_HINT)
    if not (folder / "record.db").exists():
        return
    from nbautoml.store.database import connect_to_read, guarded
    from nbautoml.store.reading import read_run, read_trials
    from nbautoml.store.records import check_is_ours, check_pages

    url = staged.record_url
    with guarded(url), connect_to_read(url) as connection, connection.begin():
        check_is_ours(connection, url)
        check_pages(connection, url)
        found = read_run(connection, run_id)
        if found is None:
            raise StoreError(f"the archive's record does not hold run {run_id}", hint=_HINT)
        read_trials(connection, found[0], 0)


def _keep_data(scratch: Path, data_dir: Path) -> None:
    if not scratch.is_dir():
        return
    for folder in scratch.iterdir():
        target = data_dir / folder.name
        if not target.exists():
            with os_errors("unpack", target):
                folder.rename(target)
