"""The `Controller` that panels act through: runs of this kernel's homes, commands to their inboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbautoml.errors import EngineError, RunNotFoundError
from nbautoml.events import Command, Resume
from nbautoml.store import Home, RunFolder
from nbautoml.store.folder import RUN_ID
from nbautoml.store.peek import peek
from nbautoml.store.rows import LIVE_RUN_STATES

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe

__all__ = ["HomeController"]


class HomeController:
    """Finds runs in the homes that this kernel has met, and drops commands into their inboxes.

    Only ids are taken, and only of runs that lie in those homes: a notebook that came by mail
    may name any id, and must not lead to a folder elsewhere.
    """

    def __init__(self) -> None:
        self._homes: dict[str, Home] = {}

    def add_home(self, home: Home) -> None:
        """Look there, too."""
        self._homes[str(home.path)] = home

    def submit(self, recipe: Recipe, capsule: Any) -> RunFolder:
        """Start a new run in the default home."""
        from nbautoml.engine.client import submit

        return submit(Home(), recipe, capsule)

    def command(self, run_id: str, command: Command) -> str:
        """Ask a run to do something; see `nbautoml.widgets.controller.Controller`."""
        from nbautoml.engine.client import resume, send

        folder = self.load(run_id)
        info = peek(folder)
        word = type(command).__name__
        if info.state in LIVE_RUN_STATES:
            send(folder, command)
            return f"{word} asked of {info.name}"
        if isinstance(command, Resume) and info.state != "finished":
            resume(Home(folder.path.parent.parent), folder)
            return f"{info.name} goes on"
        raise EngineError(
            f"run {info.name!r} is {info.state}: nobody would hear {word}",
            hint=f"%automl resume {info.name}" if info.state == "interrupted" else "",
        )

    def load(self, run_id: str) -> RunFolder:
        """The run with that id."""
        if RUN_ID.fullmatch(run_id):
            for home in [Home(), *self._homes.values()]:
                path = home.runs_dir / run_id
                if path.is_dir() and not path.is_symlink():
                    return RunFolder(path)
        raise RunNotFoundError(f"no run with the id {run_id[:40]!r} is here")
