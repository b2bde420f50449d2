"""Trials trained one by one and in a stack, side by side, on small real data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from fits import Ear, one_thread  # noqa: F401  a fixture

from nbautoml.data import load_named, open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train import fit
from nbautoml.train.stacked import Member, Solo, StackedFit


@pytest.fixture(scope="session")
def home_data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def open_value(home_data) -> Callable[..., Any]:
    """Any value that `--data` takes -> data as a worker opens it."""

    def open_it(value: Any, *, limit: int | None = None, **how: Any) -> Any:
        spec = snapshot(value, home_data=home_data, **how)
        return open_data(spec, home_data, device_limit_bytes=limit)

    return open_it


@pytest.fixture(scope="session")
def digits(open_value):
    return open_value(load_named("digits"))


@pytest.fixture(scope="session")
def blobs(open_value):
    """Three classes of points, 96 rows to train on: three batches of 32, or five of 20."""
    random = np.random.RandomState(0)
    y = np.arange(120) % 3
    X = random.normal(size=(120, 4)) + 2 * np.eye(3, 4)[y]
    return open_value((X.astype("float32"), y))


@pytest.fixture(scope="session")
def images(open_value):
    """Three classes of 1 x 8 x 8 images."""
    random = np.random.RandomState(0)
    y = np.arange(120) % 3
    X = random.normal(size=(120, 1, 8, 8)).astype("float32")
    X[np.arange(120), 0, y * 2] += 1.5
    return open_value((X, y))


@pytest.fixture(scope="session")
def sequences(open_value):
    """Three classes of sequences of 6 words out of 12."""
    random = np.random.RandomState(0)
    y = np.arange(120) % 3
    return open_value((random.randint(0, 4, size=(120, 6)) + 4 * y[:, None], y))


@dataclass
class Trial:
    """What both ways are given."""

    build: Callable[[], Any]
    settings: FitSettings
    seed: int
    listener: Any = field(default_factory=Ear)


@dataclass
class Outcome:
    result: Any
    heard: Any


def objective_of(metric: str) -> Objective:
    return Objective(metric, "minimize" if metric in {"loss", "mae", "rmse"} else "maximize")


class Bench:
    """Runs trials one by one and stacked."""

    ear = Ear
    device = "cpu"

    @staticmethod
    def trial(
        build: Callable[[], Any], seed: int = 0, listener: Any = None, **settings: Any
    ) -> Trial:
        given = FitSettings(**{"batch_size": 32, "epochs": 2, "lr": 0.01, **settings})
        return Trial(build, given, seed, listener or Ear())

    @classmethod
    def alone(cls, trials: Sequence[Trial], data: Any, **how: Any) -> list[Outcome]:
        return [cls.alone_with(Ear(), trial, data, **how) for trial in trials]

    @classmethod
    def alone_with(cls, ear: Any, trial: Trial, data: Any, *, metric="loss", **how: Any) -> Outcome:
        result = fit(
            trial.build, data, trial.settings, objective=objective_of(metric),
            seed=trial.seed, device=cls.device, listener=ear, **how,
        )  # fmt: skip
        return Outcome(result, ear)

    @classmethod
    def stack(cls, data: Any, width: int, *, metric="loss", **how: Any) -> StackedFit:
        return StackedFit(
            data, objective=objective_of(metric), device=cls.device, width=width, **how
        )

    @classmethod
    def stacked(cls, trials: Sequence[Trial], data: Any, width: int, **how: Any) -> list[Outcome]:
        stack = cls.stack(data, width, **how)
        waiting = list(enumerate(trials))
        found: dict[int, Any] = {}
        while waiting or stack.numbers:
            while waiting and stack.n_free:
                stack.add(cls.member(*waiting.pop(0)))
            found.update(stack.step_epoch())
        return [Outcome(found[at], trial.listener) for at, trial in enumerate(trials)]

    @staticmethod
    def member(number: int, trial: Trial) -> Member:
        return Member(
            number=number, build=trial.build, settings=trial.settings, seed=trial.seed,
            listener=trial.listener,
        )  # fmt: skip

    @staticmethod
    def solo(data: Any, *, metric="loss") -> Solo:
        return Solo(data, objective=objective_of(metric), metrics=None, loss=None)

    @classmethod
    def by_solo(cls, ways: Solo, trial: Trial, built_with: str = "") -> Outcome:
        return Outcome(ways.fit(cls.member(0, trial), built_with), trial.listener)

    @classmethod
    def both(cls, trials, data, width, **how):
        return cls.alone(trials, data, **how), cls.stacked(trials, data, width, **how)

    @staticmethod
    def assert_equal(alone: Sequence[Outcome], stacked: Sequence[Outcome], rel=1e-4) -> None:
        """The contract: losses of the first 30 steps to 1e-4, final metrics to 0.5 %."""
        for one, other in zip(alone, stacked, strict=True):
            if isinstance(other.result, Exception):
                raise other.result
            assert other.heard.steps == one.heard.steps
            assert other.heard.losses[:30] == pytest.approx(one.heard.losses[:30], rel=rel)
            assert other.result.value == pytest.approx(one.result.value, rel=5e-3)
            assert other.result.n_epochs == one.result.n_epochs
            assert other.result.n_steps == one.result.n_steps
            assert list(other.result.metrics) == list(one.result.metrics)
            assert other.result.state_dict.keys() == one.result.state_dict.keys()

    @staticmethod
    def assert_same_weights(alone, stacked, tolerance=1e-4) -> None:
        for one, other in zip(alone, stacked, strict=True):
            for name, weight in one.result.state_dict.items():
                found = other.result.state_dict[name]
                assert found.dtype == weight.dtype
                torch.testing.assert_close(found, weight, rtol=tolerance, atol=tolerance)


@pytest.fixture
def bench():
    return Bench
