"""What the engine asks of a kind of run. A run need not be a tuning run, a task need not be one trial."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nbautoml.errors import RecipeError, nearest
from nbautoml.events import Command, Event, Handout, Obeyed, RunControl, Verdict

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import Reader

__all__ = ["DRIVERS", "Driver", "driver_for"]


class Driver(Protocol):
    """Decides what comes next in a run of one kind; knows no process and no record.

    Obligations: `restore` is called once, before anything else, with what an earlier owner
    recorded; every event of a task reaches `on_event` in order, before the record has it (a
    `TrialRequeued` is a trial that its handler hands back, to be run on its own);
    calls come from one thread; each call returns within some tens of milliseconds.
    """

    def restore(self, reader: Reader) -> Sequence[Event]:
        """Rebuild from the record; returns events to record (a plan, a log line)."""

    @property
    def choices(self) -> Mapping[str, Any]:
        """What it chose where the recipe left the choice to it; goes into the plan's details."""

    def next_handout(self, *, n_free: int) -> Handout | None:
        """The next task, or None when there is nothing to hand out at the moment.

        ``n_free``: workers that are waiting for one, this one included.
        """

    def more(self, n: int) -> Handout | None:
        """Up to ``n`` trials for a task that is going on; its `Task` only carries them."""

    def on_event(self, event: Event) -> Sequence[Event]:
        """Learn what happened; returns further events to record."""

    def on_report(self, trial: int, epoch: int, value: float) -> RunControl:
        """Whether a trial goes on after an epoch."""

    def on_question(self, trial: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a handler's `TaskContext.ask`; {"error": text} refuses."""

    def on_command(self, command: Command) -> Obeyed:
        """Obey a command that the engine does not know, so that it outlives this process."""

    def requeue(self, trial: int) -> None:
        """The trial's worker died; hand it out again."""

    def withdraw(self, trial: int) -> bool:
        """A trial that waits is cancelled; False when it doesn't wait."""

    def verdict(self, n_running: int) -> Verdict | None:
        """How the run ended; None while it goes on. ``n_running``: trials in workers' hands."""


# A kind's driver is named, not imported: an engine that runs a tuning run loads no compressor.
DRIVERS: Mapping[str, str] = {
    "tune": "nbautoml.tune.driver:TuneDriver",
    "train": "nbautoml.tune.driver:TuneDriver",
    "compress": "nbautoml.compress.driver:CompressDriver",
}


def driver_for(recipe: Recipe) -> Driver:
    """The driver of a recipe's kind.

    Raises:
        RecipeError: no such kind in this version.
    """
    place = DRIVERS.get(recipe.kind)
    if place is None:
        near = nearest(recipe.kind, DRIVERS)
        raise RecipeError(
            f"this nbautoml has no runs of kind {recipe.kind!r}",
            hint=f"did you mean {near!r}?" if near else "kinds: " + ", ".join(DRIVERS),
        )
    module, _, name = place.partition(":")
    driver: Driver = getattr(importlib.import_module(module), name)(recipe)
    return driver
