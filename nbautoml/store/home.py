"""The home of runs: ``.nbautoml/`` beside the notebook, or wherever NBAUTOML_HOME says."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from nbautoml.errors import RunNameTakenError, RunNotFoundError, StoreError, nearest
from nbautoml.store.files import make_folder, os_errors, path_of, write_whole
from nbautoml.store.folder import RUN_ID, RunFolder, Savable
from nbautoml.store.interrupts import interrupts_held
from nbautoml.store.lock import FolderLock
from nbautoml.store.peek import peek
from nbautoml.store.rows import LIVE_RUN_STATES, RunInfo

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe

__all__ = ["HOME_VARIABLE", "Home", "check_name", "new_run_id"]

HOME_VARIABLE = "NBAUTOML_HOME"
MAX_NAME_CHARS = 100
_PREFIX_CHARS = 4
# A queued run without an owner: its supervisor is on its way, or never came.
_QUEUED_LIMIT_S = 60.0


class Home:
    """All runs of a place. Making one of these makes no folder; the first run does.

    Args:
        path: the folder; None for ``$NBAUTOML_HOME``, else ``.nbautoml`` in the working directory.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        named = path or os.environ.get(HOME_VARIABLE) or Path.cwd() / ".nbautoml"
        self.path = path_of(named)

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def runs_dir(self) -> Path:
        """One folder a run."""
        return self.path / "runs"

    @property
    def data_dir(self) -> Path:
        """Snapshots of data, one folder a content, shared by runs."""
        return self.path / "data"

    @property
    def trash_dir(self) -> Path:
        """Runs that were removed, until the trash is emptied."""
        return self.path / "trash"

    # -- making -----------------------------------------------------------------------------

    def create_run(
        self,
        recipe: Recipe,
        capsule: Savable | None,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> RunFolder:
        """Make the folder of a new run, named by the recipe's ``run_id`` (made up when empty).

        Args:
            recipe: what is to be run.
            capsule: the code.
            files: what it is given to work on, by name.

        Raises:
            RunNameTakenError: a run of that name is going on; the hint offers a free name.
            StoreError: bad name, read-only folder, full disk.
        """
        check_name(recipe.name)
        self._make()
        recipe = dataclasses.replace(
            recipe,
            run_id=recipe.run_id or new_run_id(),
            created_at=recipe.created_at or time.time(),
        )
        if not RUN_ID.fullmatch(recipe.run_id):
            raise StoreError(f"{recipe.run_id[:80]!r} is no run id", hint="leave it empty")
        # An interrupt must leave neither a locked home nor a folder that nobody signed.
        with interrupts_held():
            lock = FolderLock(self.path / "names.lock")
            lock.acquire_soon(f"process {os.getpid()}")
            try:
                self._check_is_free(recipe.name)
                return RunFolder.create(self.runs_dir / recipe.run_id, recipe, capsule, files)
            finally:
                lock.release()

    def _check_is_free(self, name: str) -> None:
        if self._is_taken(name):
            raise RunNameTakenError(
                f"a run named {name!r} is going on",
                hint=f"call this one {self.free_name(name)!r}, or stop that one first: "
                f"%automl stop {name}",
            )

    def _make(self) -> None:
        is_new = not self.path.exists()
        for path in (self.path, self.runs_dir, self.data_dir):
            make_folder(path)
        if is_new:
            # Weights and data do not belong into the notebook's repository.
            write_whole(self.path / ".gitignore", b"*\n", is_synced=False)

    def _is_taken(self, name: str) -> bool:
        return any(self._is_going_on(info) for info in self.runs() if info.name == name)

    @staticmethod
    def _is_going_on(info: RunInfo) -> bool:
        if info.state == "queued":
            return time.time() - info.created_at < _QUEUED_LIMIT_S
        return info.state in LIVE_RUN_STATES

    def free_name(self, name: str) -> str:
        """The name, or the first of name_2, name_3 ... that no run has."""
        taken = {info.name for info in self.runs()}
        if name not in taken:
            return name
        number = 2
        while f"{name}_{number}" in taken:
            number += 1
        return f"{name}_{number}"

    # -- finding ----------------------------------------------------------------------------

    def runs(self) -> list[RunInfo]:
        """All runs, newest first; cheap, and one that cannot be read says so in ``problem``."""
        found = [peek(folder) for folder in self._folders(self.runs_dir)]
        return sorted(found, key=lambda info: (info.created_at, info.id), reverse=True)

    @staticmethod
    def _folders(place: Path) -> list[RunFolder]:
        """Folders that are a run: an id for a name, a recipe inside, and no link."""
        if not place.is_dir():
            return []
        with os_errors("list", place):
            paths = sorted(path for path in place.iterdir() if RUN_ID.fullmatch(path.name))
        return [RunFolder(path) for path in paths if not path.is_symlink() and _has_recipe(path)]

    def find(self, name_or_id: str) -> RunFolder:
        """The newest run of a name, or the run of an id or of its first letters.

        Raises:
            RunNotFoundError: none, with the nearest name; or several ids begin like that.
        """
        return self._find(name_or_id, self.runs_dir)

    def _find(self, wanted: str, place: Path) -> RunFolder:
        folders = {folder.id: folder for folder in self._folders(place)}
        if wanted in folders:
            return folders[wanted]
        infos = sorted(
            (peek(folder) for folder in folders.values()),
            key=lambda info: (info.created_at, info.id),
        )
        named = [info for info in infos if info.name == wanted]
        if named:
            return folders[named[-1].id]
        starting = [key for key in folders if key.startswith(wanted)]
        if len(wanted) >= _PREFIX_CHARS and len(starting) == 1:
            return folders[starting[0]]
        if len(wanted) >= _PREFIX_CHARS and starting:
            raise RunNotFoundError(
                f"{len(starting)} runs have an id that begins with {wanted!r}",
                hint="give more of it: " + ", ".join(sorted(starting)[:3]),
            )
        raise RunNotFoundError(
            f"no run is called {wanted!r} in {self.path}",
            hint=_nearby(wanted, [info.name for info in reversed(infos)]),
        )

    # -- removing ---------------------------------------------------------------------------

    def remove(self, name_or_id: str) -> Path:
        """Move a run to the trash, from where `restore` brings it back; returns its new place.

        Raises:
            RunNotFoundError: there is no such run.
            StoreError: it is going on.
        """
        folder = self.find(name_or_id)
        if self._is_going_on(peek(folder)):
            raise StoreError(
                f"run {name_or_id!r} is going on",
                hint=f"stop it first: %automl stop {name_or_id}",
            )
        make_folder(self.trash_dir)
        target = self.trash_dir / folder.id
        with os_errors("remove", folder.path):
            folder.path.rename(target)
        return target

    def restore(self, name_or_id: str) -> RunFolder:
        """Bring a run back from the trash.

        Raises:
            RunNotFoundError: the trash holds no such run.
        """
        folder = self._find(name_or_id, self.trash_dir)
        target = make_folder(self.runs_dir) / folder.id
        with os_errors("restore", folder.path):
            folder.path.rename(target)
        return RunFolder(target)

    def empty_trash(self) -> int:
        """Delete for ever what was removed; returns how many runs.

        Raises:
            StoreError: a folder cannot be deleted, or a server that holds its record is away.
        """
        folders = self._folders(self.trash_dir)
        for folder in folders:
            if (folder.path / "store.json").exists():
                from nbautoml.store.copying import forget_on_server

                forget_on_server(folder)
            with os_errors("delete", folder.path):
                shutil.rmtree(folder.path)
        return len(folders)

    # -- moving -----------------------------------------------------------------------------

    def export(self, name_or_id: str, path: Path | str, *, with_data: bool = False) -> Path:
        """Write a run into one archive; see `nbautoml.store.archive`."""
        from nbautoml.store.archive import export_run

        folder = self.find(name_or_id)
        return export_run(folder, Path(path), data_dir=self.data_dir, with_data=with_data)

    def import_archive(self, path: Path | str) -> RunFolder:
        """Unpack a run that `export` wrote, here or elsewhere; it keeps its id and name.

        Raises:
            StoreError: damaged, hostile, or here already.
        """
        from nbautoml.store.archive import import_archive

        self._make()
        return import_archive(Path(path), runs_dir=self.runs_dir, data_dir=self.data_dir)


def _has_recipe(path: Path) -> bool:
    try:
        return (path / "recipe.json").is_file()
    except OSError:  # a folder that we may not enter: whoever opens the run is told so
        return True


def _nearby(wanted: str, names: list[str]) -> str:
    near = nearest(wanted, names)
    if near:
        return f"did you mean {near!r}?"
    if not names:
        return "there are no runs yet; %automl help tune shows how to start one"
    return "the newest are: " + ", ".join(dict.fromkeys(names[:5]))


def new_run_id() -> str:
    """An id that sorts by time (UTC) and is never used twice.

    >>> bool(RUN_ID.fullmatch(new_run_id()))
    True
    """
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def check_name(name: str) -> str:
    """The name, if it can label a run: 1 to 100 characters, none of them invisible control.

    >>> check_name("digits")
    'digits'

    Raises:
        StoreError: empty, too long, or with control characters.
    """
    hint = "use a short word, such as 'digits'"
    if not isinstance(name, str) or not name.strip():
        raise StoreError("a run's name must not be empty", hint=hint)
    if len(name) > MAX_NAME_CHARS:
        raise StoreError(
            f"a run's name has at most {MAX_NAME_CHARS} characters, this one has {len(name)}",
            hint=hint,
        )
    bad = [char for char in name if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    if bad:
        raise StoreError(
            f"the run's name {name!r} holds the character {bad[0]!r}, which cannot be shown",
            hint=hint,
        )
    return name
