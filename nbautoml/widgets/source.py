"""What the widgets need of the store, as protocols: a run's folder gives them, and so may anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nbautoml.spec.objective import Direction
from nbautoml.spec.recipe import Recipe
from nbautoml.store.rows import ArtifactRow, Changes, Cursor, LogRow, Page, Points, RunRow

__all__ = ["RecordReader", "RunSource"]


class RecordReader(Protocol):
    """A read-only view of one run's record; `nbautoml.store.Reader` is one."""

    def changes(
        self,
        cursor: Cursor | None = None,
        *,
        max_points: int | None = None,
        max_logs: int | None = None,
    ) -> Changes:
        """What is new since then, of one moment."""

    def run(self) -> RunRow:
        """The run's row."""

    def page(self, direction: Direction, *, n_each: int | None = None) -> Page:
        """Where the record ends, how many trials there are, and the open, best and newest of them."""

    def points(
        self,
        since_id: int = 0,
        *,
        trial: int | Sequence[int] | None = None,
        name: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Points:
        """Measured values in order."""

    def logs(self, since_id: int = 0, limit: int | None = None) -> Sequence[LogRow]:
        """Lines of the log in order; with a limit the newest of them."""

    def artifacts(self, trial: int | None = None) -> Sequence[ArtifactRow]:
        """Files of the run, or of one trial, oldest first."""

    def close(self) -> None:
        """Let go of files and connections."""


class RunSource(Protocol):
    """A run to be shown; `nbautoml.store.RunFolder` is one."""

    @property
    def id(self) -> str:
        """The run's id."""

    def recipe(self) -> Recipe:
        """What was asked to run."""

    def reader(self) -> RecordReader:
        """A new reader, to be closed after use."""
