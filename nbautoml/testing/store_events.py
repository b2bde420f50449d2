"""Recipes and events for tests of a store: small, real, and the same each time."""

from __future__ import annotations

from collections.abc import Iterable

from nbautoml.events import (
    ArtifactRemoved,
    ArtifactWritten,
    CommandObeyed,
    EpochEnded,
    Event,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialStarted,
)
from nbautoml.spec.budget import Budget
from nbautoml.spec.objective import Objective
from nbautoml.spec.recipe import Recipe, Target
from nbautoml.spec.space import Space

__all__ = ["artifact", "epochs", "obeyed", "removed", "started", "tiny_recipe", "whole_trial"]


def tiny_recipe(name: str = "digits", **changes: object) -> Recipe:
    """A recipe that nothing can run, for tests of what is around it."""
    words: dict[str, object] = {
        "kind": "tune",
        "name": name,
        "run_id": "",
        "target": Target(role="module", symbol="Net", capsule_hash="0" * 64),
        "data": None,
        "space": Space({}),
        "fixed": {},
        "objectives": (Objective(metric="accuracy", direction="maximize"),),
        "budget": Budget(n_trials=5),
    }
    return Recipe(**{**words, **changes})  # type: ignore[arg-type]


def started(trial: int) -> list[Event]:
    """A trial on its way."""
    return [
        TrialPlanned(trial=trial, params={"lr": 0.1 / (trial + 1), "optimizer": "adam"}),
        TrialStarted(trial=trial, worker=1000 + trial),
    ]


def whole_trial(trial: int, n_epochs: int = 3) -> list[Event]:
    """A trial from its plan to its end; its value is its number / 1000."""
    epochs = [
        EpochEnded(
            trial=trial,
            epoch=epoch,
            step=epoch * 10,
            metrics={"accuracy": 0.5 + epoch / 100, "loss": 1 / epoch},
        )
        for epoch in range(1, n_epochs + 1)
    ]
    end = TrialEnded(
        trial=trial, state="complete", values=[trial / 1000], metrics={"accuracy": trial / 1000}
    )
    return [*started(trial), *epochs, end]


def obeyed(key: str) -> Event:
    """A command's acknowledgement."""
    return CommandObeyed(command_id=key, command="Pause")


def removed(path: str) -> Event:
    """A file that was thrown away."""
    return ArtifactRemoved(path=path)


def epochs(trial: int, epochs: Iterable[int]) -> list[Event]:
    """Ten steps an epoch: one point in the middle, one at the end."""
    return [
        event
        for epoch in epochs
        for event in (
            StepsDone(trial=trial, name="step_loss", steps=[epoch * 10 - 5], values=[1.0]),
            EpochEnded(trial=trial, epoch=epoch, step=epoch * 10, metrics={"a": 1.0}),
        )
    ]


def artifact(trial: int | None, path: str) -> Event:
    """A file that was kept, of a trial or of the run."""
    return ArtifactWritten(
        trial=trial, kind="weights", path=path, sha256="0" * 64, n_bytes=3, details={"k": 1}
    )
