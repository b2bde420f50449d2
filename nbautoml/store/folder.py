"""A run's folder: where its recipe, capsule, record, artifacts, inbox and log lie."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from nbautoml.errors import StoreError
from nbautoml.store.files import (
    checked_folder,
    keep_private,
    make_folder,
    os_errors,
    read_small,
    write_whole,
)
from nbautoml.store.inbox import Inbox
from nbautoml.store.urls import sqlite_url, without_password

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store.owner import Owner
    from nbautoml.store.reader import Reader
    from nbautoml.store.writer import Writer

__all__ = ["RUN_ID", "RunFolder", "Savable"]

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
STORE_VARIABLE = "NBAUTOML_STORE"
_RECIPE_LIMIT_BYTES = 64 * 1024**2


class Savable(Protocol):
    """What can write itself into a folder: a capsule."""

    def save(self, folder: Path) -> object:
        """Write everything into the folder, which exists."""


class RunFolder:
    """The folder of one run; opening it touches nothing.

    Args:
        path: ``<home>/runs/<id>``.

    Raises:
        StoreError: there is no such folder, or it is a symbolic link.
    """

    def __init__(self, path: Path) -> None:
        self.path = checked_folder(Path(path).absolute())

    def __repr__(self) -> str:
        return f"RunFolder({self.id!r})"

    @property
    def id(self) -> str:
        """The run's id, which is the folder's name."""
        return self.path.name

    @property
    def capsule_dir(self) -> Path:
        """Where the capsule lies."""
        return self.path / "capsule"

    @property
    def given_dir(self) -> Path:
        """Where files lie that the run was submitted with: a model to make smaller."""
        return self.path / "given"

    @property
    def artifacts_dir(self) -> Path:
        """Where weights and other files of the run lie."""
        return self.path / "artifacts"

    @property
    def inbox(self) -> Inbox:
        """Commands for the run's supervisor."""
        return Inbox(self.path / "inbox")

    @property
    def log_path(self) -> Path:
        """What the supervisor and its workers print."""
        return self.path / "supervisor.log"

    @property
    def is_ours(self) -> bool:
        """Whether this user submitted it here: only then is its code executed without asking."""
        from nbautoml.store.signature import is_signed

        return is_signed(self.path)

    def take_as_ours(self) -> None:
        """The user has said that they trust the run's code, as it is now."""
        from nbautoml.store.signature import sign

        sign(self.path)

    @property
    def is_imported(self) -> bool:
        """Whether it came in an archive: then its capsule is somebody else's code."""
        return (self.path / "imported.json").exists()

    @property
    def record_url(self) -> str:
        """Where the record lies. Not for people's eyes: it may hold a password.

        Raises:
            StoreError: the record lies on a server whose URL is not known here.
        """
        place = self.path / "store.json"
        with os_errors("read", place):
            if not place.exists():
                return sqlite_url(self.path / "record.db")
        kept = str(_json(place).get("url", ""))
        named = os.environ.get(STORE_VARIABLE, "")
        return named if named and without_password(named) == kept else kept

    @classmethod
    def create(
        cls,
        path: Path,
        recipe: Recipe,
        capsule: Savable | None,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> RunFolder:
        """Make the folder of a new run; ``files`` by name are what it is given to work on.

        Raises:
            StoreError: it exists, or cannot be written.
        """
        if path.exists():
            raise StoreError(f"{path} exists already")
        try:
            return cls._fill(path, recipe, capsule, files)
        except BaseException:
            # Half a run would be listed as one that waits, and keep its name.
            shutil.rmtree(path, ignore_errors=True)
            raise

    @classmethod
    def _fill(
        cls, path: Path, recipe: Recipe, capsule: Savable | None, files: Mapping[str, bytes]
    ) -> RunFolder:
        make_folder(path)
        for name in ("capsule", "artifacts", "inbox"):
            make_folder(path / name)
        if capsule is not None:
            capsule.save(path / "capsule")
            keep_private(path / "capsule")
        if files:
            make_folder(path / "given")
        for name, data in files.items():
            write_whole(path / "given" / name, data)
        server = os.environ.get(STORE_VARIABLE, "")
        if server:
            kept = json.dumps({"url": without_password(server)})
            write_whole(path / "store.json", kept.encode())
        # The recipe comes last: a folder without one is no run, whatever stopped us before.
        write_whole(path / "recipe.json", _written(recipe))
        made = cls(path)
        made.take_as_ours()
        return made

    def recipe(self) -> Recipe:
        """What is to be run.

        Raises:
            StoreError: the file is not there or damaged.
            RecipeError: written by a newer version.
        """
        from nbautoml.spec.recipe import Recipe

        return Recipe.from_json(self.recipe_json())

    def replace_recipe(self, recipe: Recipe) -> None:
        """Another budget for a run that nobody trains at the moment; it stays this user's.

        Raises:
            StoreError: it was not submitted by this user, or the folder cannot be written.
        """
        from nbautoml.store.signature import sign

        if not self.is_ours:
            raise StoreError(f"the run {self.id} was not submitted by you on this machine")
        data = _written(recipe)
        sign(self.path, next_recipe=data)
        write_whole(self.path / "recipe.json", data)
        sign(self.path)

    def recipe_json(self) -> dict[str, Any]:
        """The recipe's file as it is."""
        return _json(self.path / "recipe.json")

    def reader(self) -> Reader:
        """The record, read-only; close it after use (``with folder.reader() as reader``)."""
        from nbautoml.store.reader import Reader

        return Reader(self)

    def writer(self, owner: Owner) -> Writer:
        """The record, for the one process that owns the run.

        Raises:
            StoreError: another process owns it.
        """
        from nbautoml.store.writer import Writer

        return Writer(self, owner)


def _written(recipe: Recipe) -> bytes:
    return json.dumps(recipe.to_json(), indent=1, ensure_ascii=False).encode("utf-8", "replace")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_small(path, limit=_RECIPE_LIMIT_BYTES))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise StoreError(f"{path} is damaged: not an object")
    return found
