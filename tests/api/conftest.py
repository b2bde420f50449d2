"""Runs whose records were written by the real writer, and a home of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from nbautoml.api.run import Run
from nbautoml.events import (
    EpochEnded,
    RunStateChanged,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialStarted,
)
from nbautoml.spec import Budget, Choice, Float, Int, Objective, Space
from nbautoml.spec.recipe import Recipe, Target
from nbautoml.store import Home, Owner, Writer

T0 = 1_790_000_000.0
SPACE = Space(
    {
        "hidden": Int(16, 256, log=True),
        "lr": Float(1e-4, 0.1, log=True),
        "optimizer": Choice("sgd", "adam"),
        "momentum": Float(0, 0.9, when=("optimizer", "sgd")),
    }
)

mpl.use("agg")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Home()


class Record:
    """A run that is written as its supervisor would write it."""

    def __init__(self, home: Home, name: str, **changes: Any) -> None:
        given: dict[str, Any] = {
            "kind": "tune",
            "name": name,
            "run_id": "",
            "target": Target(role="module", symbol="Net", capsule_hash="0" * 64),
            "data": None,
            "space": SPACE,
            "fixed": {"epochs": 3},
            "objectives": (Objective("accuracy", "maximize"),),
            "budget": Budget(n_trials=10),
            "created_at": T0,
        }
        self.folder = home.create_run(Recipe(**(given | changes)), None)
        self.run = Run(self.folder, home)
        self.writer: Writer = self.folder.writer(Owner.this_process())
        self.writer.create(self.folder.recipe())
        self._now = T0
        self.state("running")

    def _next(self) -> float:
        self._now += 1.0
        return self._now

    def state(self, state: str, message: str = "") -> None:
        self.writer.apply([RunStateChanged(state=state, message=message, time=self._next())])

    def trial(
        self,
        number: int,
        value: float | None,
        params: dict[str, Any],
        state: str = "complete",
        **more: Any,
    ) -> None:
        """A trial with three epochs that lead to its value."""
        events: list[Any] = [
            TrialPlanned(trial=number, params=params, time=self._next()),
            TrialStarted(trial=number, worker=1, time=self._next()),
        ]
        if value is not None:
            events.append(
                StepsDone(
                    trial=number,
                    name="step_loss",
                    steps=[1, 2],
                    values=[2.0, 1.0],
                    time=self._next(),
                )
            )
            for epoch in (1, 2, 3):
                metrics = {"accuracy": value * epoch / 3, "loss": 1.0 / epoch}
                events.append(
                    EpochEnded(
                        trial=number,
                        epoch=epoch,
                        step=2 * epoch,
                        metrics=metrics,
                        time=self._next(),
                    )
                )
        if state != "running":
            metrics = {"accuracy": value, "loss": 0.3} if value is not None else {}
            values = [value] if value is not None else []
            events.append(
                TrialEnded(
                    trial=number,
                    state=state,
                    values=values,
                    metrics=metrics,
                    time=self._next(),
                    **more,
                )
            )
        self.writer.apply(events)


@pytest.fixture
def record(home: Home) -> Iterator[Callable[..., Record]]:
    """Makes records, and closes their writers."""
    made: list[Record] = []

    def make(name: str = "digits", **changes: Any) -> Record:
        made.append(Record(home, name, **changes))
        return made[-1]

    yield make
    for item in made:
        item.writer.close()


@pytest.fixture
def digits(record: Callable[..., Record]) -> Run:
    """A finished run of six trials: four whole, one stopped early, one failed."""
    made = record()
    made.trial(0, 0.80, {"hidden": 32, "lr": 0.001, "optimizer": "adam"})
    made.trial(1, 0.90, {"hidden": 64, "lr": 0.01, "optimizer": "sgd", "momentum": 0.5})
    made.trial(2, 0.95, {"hidden": 128, "lr": 0.02, "optimizer": "adam"})
    made.trial(3, 0.97, {"hidden": 200, "lr": 0.03, "optimizer": "adam"}, state="stopped_early")
    made.trial(
        4,
        None,
        {"hidden": 16, "lr": 0.1, "optimizer": "adam"},
        state="failed",
        error="ValueError: no good",
        traceback="Cell In[3], line 7",
    )
    made.trial(5, 0.85, {"hidden": 40, "lr": 0.004, "optimizer": "sgd", "momentum": 0.1})
    made.state("finished")
    made.writer.close()
    return made.run
