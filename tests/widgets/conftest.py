"""Records made by the real writer, for panels to be drawn from."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbautoml.events import (
    EpochEnded,
    LogLine,
    PlanChosen,
    RunStateChanged,
    TrialEnded,
    TrialPlanned,
    TrialStarted,
)
from nbautoml.spec.budget import Budget
from nbautoml.spec.choice import Choice
from nbautoml.spec.data import DataSpec, InputSpec
from nbautoml.spec.objective import Objective
from nbautoml.spec.ranges import Float, Int
from nbautoml.spec.recipe import Recipe, Target
from nbautoml.spec.space import Space
from nbautoml.store import Home, Owner, RunFolder, Writer

T0 = 1_790_000_000.0
FIXTURES = Path(__file__).parents[1] / "fixtures" / "protocol"


def make_recipe(name: str = "digits", **changes: Any) -> Recipe:
    space = Space(
        {
            "hidden": Int(16, 256, log=True),
            "optimizer": Choice("sgd", "adam", "adamw"),
            "lr": Float(1e-4, 0.1, log=True),
            "momentum": Float(0, 0.9, when=("optimizer", "sgd")),
            "batch_size": Choice(32, 64, 128),
            "dropout": Float(0, 0.5),
            "weight_decay": Float(1e-6, 1e-2, log=True),
            "clip": Float(0.1, 10, log=True),
        }
    )
    given: dict[str, Any] = {
        "kind": "tune",
        "name": name,
        "run_id": "",
        "target": Target(role="module", symbol="Net", capsule_hash="0" * 64),
        "data": DataSpec(
            digest="0" * 64,
            task="multiclass",
            n_rows=1797,
            n_valid_given=0,
            n_train=1438,
            n_valid=359,
            inputs=(InputSpec(name="x", shape=(64,), dtype="float32"),),
            layout="single",
            target_shape=(),
            target_dtype="int64",
            classes=tuple("0123456789"),
            description="1,797 rows, 64 inputs, 10 classes",
        ),
        "space": space,
        "fixed": {"epochs": 10},
        "objectives": (Objective("accuracy", "maximize"),),
        "budget": Budget(n_trials=20),
        "sampler": "tpe",
        "stopper": "asha",
        "created_at": T0,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    return Recipe(**(given | changes))


class Recorder:
    """A run that is written as its supervisor would write it, with a clock of its own."""

    def __init__(self, home: Home, recipe: Recipe, owner: Owner | None = None) -> None:
        self.folder: RunFolder = home.create_run(recipe, None)
        self.recipe = self.folder.recipe()
        self.writer: Writer = self.folder.writer(owner or Owner.this_process())
        self.writer.create(self.recipe)
        self.now = T0
        self._random = random.Random(7)

    def apply(self, *events: Any) -> int:
        return self.writer.apply(events)

    def tick(self, seconds: float = 0.1) -> float:
        self.now += seconds
        return self.now

    def begin(self) -> Recorder:
        self.apply(
            RunStateChanged(state="running", time=self.tick()),
            PlanChosen(text="2 trials at once, 1 thread each", time=self.tick()),
            LogLine(text="2 trials at once", time=self.tick()),
        )
        return self

    def params(self) -> dict[str, Any]:
        draw = self._random
        found = {
            "hidden": draw.randint(16, 256),
            "optimizer": draw.choice(["sgd", "adam", "adamw"]),
            "lr": 10 ** draw.uniform(-4, -1),
            "batch_size": draw.choice([32, 64, 128]),
            "dropout": draw.uniform(0, 0.5),
            "weight_decay": 10 ** draw.uniform(-6, -2),
            "clip": 10 ** draw.uniform(-1, 1),
        }
        if found["optimizer"] == "sgd":
            found["momentum"] = draw.uniform(0, 0.9)
        return found

    def plan(self, number: int, params: dict[str, Any] | None = None) -> None:
        params = self.params() if params is None else params
        self.apply(TrialPlanned(trial=number, params=params, time=self.tick()))

    def start(self, number: int) -> None:
        self.apply(TrialStarted(trial=number, worker=1, time=self.tick()))

    def epoch_event(self, number: int, epoch: int) -> EpochEnded:
        level = 0.5 + 0.4 * self._random.random()
        metrics = {
            "accuracy": level * (1 - math.exp(-epoch / 3)),
            "loss": 2.3 * math.exp(-epoch / 4) + 0.1 * self._random.random(),
            "train_loss": 2.2 * math.exp(-epoch / 3),
        }
        return EpochEnded(
            trial=number, epoch=epoch, step=epoch * 45, metrics=metrics, time=self.tick()
        )

    def epoch(self, number: int, epoch: int) -> None:
        self.apply(self.epoch_event(number, epoch))

    def end(self, number: int, value: float | None, state: str = "complete", **more: Any) -> None:
        values = [] if value is None else [value]
        self.apply(TrialEnded(trial=number, state=state, values=values, time=self.tick(), **more))

    def whole_trial_events(self, number: int, n_epochs: int = 10) -> list[Any]:
        """A trial from its plan to its end, as events."""
        events: list[Any] = [
            TrialPlanned(trial=number, params=self.params(), time=self.tick()),
            TrialStarted(trial=number, worker=1, time=self.tick()),
        ]
        epochs = [self.epoch_event(number, epoch) for epoch in range(1, n_epochs + 1)]
        best = max(epochs, key=lambda event: event.metrics["accuracy"])
        state = "stopped_early" if number % 7 == 3 else "complete"
        end = TrialEnded(
            trial=number,
            state=state,
            values=[best.metrics["accuracy"]],
            metrics=best.metrics,
            best_epoch=best.epoch,
            time=self.tick(),
        )
        return [*events, *epochs, end]

    def trials(self, n: int, n_epochs: int = 10) -> Recorder:
        """Many finished trials, in few transactions."""
        for first in range(0, n, 500):
            events = []
            for number in range(first, min(first + 500, n)):
                events += self.whole_trial_events(number, n_epochs)
            self.apply(*events)
        return self

    def finish(self, state: str = "finished") -> Recorder:
        self.apply(RunStateChanged(state=state, time=self.tick()))
        return self

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def new_record(home: Home) -> Iterator[Callable[..., Recorder]]:
    """Makes runs; changes of the recipe as keywords."""
    made: list[Recorder] = []

    def make(name: str = "digits", owner: Owner | None = None, **changes: Any) -> Recorder:
        made.append(Recorder(home, make_recipe(name, **changes), owner))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


@pytest.fixture
def record(new_record: Callable[..., Recorder]) -> Recorder:
    """A run that has begun and has no trial yet."""
    return new_record().begin()


@pytest.fixture(scope="session")
def fixture_json() -> Callable[[str], Any]:
    """One of the JSON fixtures of the wire, by its name."""

    def load(name: str) -> Any:
        return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))

    return load


@pytest.fixture(scope="session")
def big_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of 1,000 trials with 8 parameters and 10 epochs."""
    recorder = Recorder(
        Home(tmp_path_factory.mktemp("big")), make_recipe(budget=Budget(n_trials=1000))
    )
    recorder.begin().trials(1000).finish().close()
    return recorder.folder


@pytest.fixture(scope="session")
def huge_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of 10,000 trials."""
    home = Home(tmp_path_factory.mktemp("huge"))
    recorder = Recorder(home, make_recipe(budget=Budget(n_trials=10_000)))
    recorder.begin().trials(10_000, n_epochs=3).finish().close()
    return recorder.folder
