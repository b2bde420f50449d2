"""What an executor must do: give each trial the numbers that it has under every other executor.

::

    class TestMyCluster(ExecutorContract):
        executions = {"cluster": Way(options={"executor": "cluster", "workers": 2})}

The same twelve trials of a small real module on real digits go through `nbautoml.tune` and the
real engine. What "inline" makes of them, one by one in this process, is the measure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import psutil
import pytest

import nbautoml
from nbautoml import Choice, Float
from nbautoml.data import load_named
from nbautoml.engine import client
from nbautoml.spec.fit import OPTIMIZERS, SCHEDULES
from nbautoml.store import TrialRow
from nbautoml.testing.small_modules import KINDS

__all__ = ["ExecutorContract", "Outcome", "Way", "train_with"]

N_TRIALS = 12
N_STEPS = 30
LOSS_TOLERANCE = 1e-4
METRIC_TOLERANCE = 5e-3
WAIT_S = 280.0
# A first step of RMSprop moves each weight by ten times its rate. At 0.01 that is so far that the
# last digits, which hang on the number of threads, become 2.5e-4 of a loss within thirty steps.
SPACE = {
    "lr": Float(3e-4, 3e-3, log=True),
    "weight_decay": Float(1e-6, 1e-2, log=True),
    "dropout": Float(0.0, 0.5),
    "optimizer": Choice(*OPTIMIZERS),
    "schedule": Choice(None, *SCHEDULES),
    "warmup": Choice(0.0, 0.2),
    "momentum": Choice(0.5, 0.9),
    "betas": Choice((0.9, 0.999), (0.8, 0.99)),
    "clip": Choice(None, 0.5),
    "label_smoothing": Choice(0.0, 0.1),
}
# What the first three are is drawn; all else that a stack keeps for each trial occurs.
POINTS = [
    {
        "optimizer": OPTIMIZERS[at % len(OPTIMIZERS)],
        "schedule": (None, *SCHEDULES)[at % (1 + len(SCHEDULES))],
        "warmup": (0.0, 0.2)[at // 2 % 2],
        "momentum": (0.9, 0.5)[at // 3 % 2],
        "betas": ((0.9, 0.999), (0.8, 0.99))[at // 4 % 2],
        "clip": (None, 0.5)[at // 2 % 2 ^ at % 2],
        "label_smoothing": (0.0, 0.1)[at % 2],
    }
    for at in range(N_TRIALS)
]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to execute a run.

    Attributes:
        options: what `nbautoml.tune` is told.
        width: how many trials one worker has in hand at once.
    """

    options: Mapping[str, Any]
    width: int = 1


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "inline": Way(options={"executor": "inline"}),
        "one worker": Way(options={"executor": "process", "workers": 1}),
        "two workers": Way(options={"executor": "process", "workers": 2}),
        # Twelve trials are shared out between the workers.
        "stacks of 3": Way(options={"executor": "vectorized", "workers": 4}, width=3),
        "a stack of 12": Way(options={"executor": "vectorized", "workers": 1}, width=12),
    }
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run's record holds.

    Attributes:
        losses: trial -> step -> loss.
        logs: lines of the run's log.
    """

    rows: tuple[TrialRow, ...]
    losses: Mapping[int, Mapping[int, float]]
    logs: tuple[str, ...]

    @property
    def most_at_once(self) -> int:
        """The most trials that one worker had in hand at the same time."""
        spans = [(row.worker, row.started_at or 0.0, row.ended_at or 0.0) for row in self.rows]
        return max(
            sum(other == worker and begin <= start < end for other, begin, end in spans)
            for worker, start, _ in spans
        )


def train_with(kind: str, way: Way, home: Path) -> Outcome:
    """Tune a small module in one way, and read what was recorded."""
    rows, labels = load_named("digits")
    run = nbautoml.tune(
        KINDS[kind],
        data=(rows[:1000], labels[:1000]),
        valid=0.36,  # 640 rows to train on, ten batches an epoch
        space=SPACE,
        enqueue=POINTS,
        trials=N_TRIALS,
        sampler="random",
        stopper="none",
        seed=3,
        epochs=3,
        batch_size=64,
        home=home,
        **{"device": "cpu", **way.options},
    )
    run.wait(timeout=WAIT_S)
    if run.state != "finished":
        raise AssertionError(f"the run is {run.state}: {run.message}")
    with run.folder.reader() as reader:
        points = reader.points(name="step_loss")
        losses: dict[int, dict[int, float]] = {}
        for trial, step, value in zip(points.trials, points.steps, points.values, strict=True):
            losses.setdefault(trial, {})[step] = value
        logs = tuple(line.text for line in reader.logs())
        return Outcome(rows=tuple(reader.trials()), losses=losses, logs=logs)


@dataclass
class _Trained:
    """Runs of one class of tests, each trained once."""

    home: Path
    found: dict[tuple[str, str], Outcome] = field(default_factory=dict)

    def __call__(self, kind: str, name: str, way: Way) -> Outcome:
        if (kind, name) not in self.found:
            self.found[kind, name] = train_with(kind, way, self.home)
        return self.found[kind, name]


class ExecutorContract:
    """The obligations; a subclass says in ``executions`` what is to keep them."""

    executions: ClassVar[Mapping[str, Way]] = WAYS
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each obligation for each kind of module and each way."""
        if {"kind", "way"} <= set(metafunc.fixturenames):
            first, *others = self.kinds
            rest = [pytest.param(kind, marks=pytest.mark.slow) for kind in others]
            metafunc.parametrize("kind", [first, *rest])
            metafunc.parametrize("way", [name for name in self.executions if name != "inline"])

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Trained]:
        """Runs in a home of their own."""
        before = os.environ.get("PYTHONPATH")
        # Supervisors start elsewhere, and the package may not be installed.
        os.environ["PYTHONPATH"] = str(Path(nbautoml.__file__).parents[1])
        yield _Trained(tmp_path_factory.mktemp("executors") / ".nbautoml")
        psutil.wait_procs(psutil.Process().children(recursive=True), timeout=15)
        client.forget_warm()  # collects the exit codes of those that ended
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

    def test_same_trials_are_drawn(self, trained: _Trained, kind: str, way: str) -> None:
        """Numbers and parameters; and each trial is complete."""
        ours, measure = self._both(trained, kind, way)
        assert [row.number for row in ours.rows] == list(range(N_TRIALS))
        assert [row.params for row in ours.rows] == [row.params for row in measure.rows]
        assert {row.state for row in ours.rows} == {"complete"}
        for name, dimension in SPACE.items():
            if isinstance(dimension, Choice):
                tried = {str(row.params[name]) for row in ours.rows}
                assert len(tried) == len(dimension.options), f"{name} was {tried} only"

    def test_first_losses_agree(self, trained: _Trained, kind: str, way: str) -> None:
        """The first thirty steps, to 1e-4."""
        ours, measure = self._both(trained, kind, way)
        for trial in range(N_TRIALS):
            steps = range(1, N_STEPS + 1)
            found, expected = ([o.losses[trial][s] for s in steps] for o in (ours, measure))
            assert found == pytest.approx(expected, rel=LOSS_TOLERANCE), f"trial {trial}"

    def test_final_metrics_agree(self, trained: _Trained, kind: str, way: str) -> None:
        """To half a percent."""
        ours, measure = self._both(trained, kind, way)
        for found, expected in zip(ours.rows, measure.rows, strict=True):
            assert found.best_epoch == expected.best_epoch
            assert dict(found.metrics) == pytest.approx(
                dict(expected.metrics), rel=METRIC_TOLERANCE
            ), f"trial {found.number}"

    def test_workers_hold_as_many_trials_as_they_should(
        self, trained: _Trained, kind: str, way: str
    ) -> None:
        """Else it would be another way that kept the obligations."""
        outcome = trained(kind, way, self.executions[way])
        assert outcome.most_at_once == self.executions[way].width
        assert not [line for line in outcome.logs if line.startswith("one by one")]

    def _both(self, trained: _Trained, kind: str, way: str) -> tuple[Outcome, Outcome]:
        return trained(kind, way, self.executions[way]), trained(kind, "inline", WAYS["inline"])
