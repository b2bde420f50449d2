"""Small real data through the real data layer, and modules that are small enough to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fits import Ear, one_thread  # noqa: F401  a fixture
from torch import nn

from nbautoml.data import load_named, open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train import FitResult, Silent, fit


@pytest.fixture(scope="session")
def home_data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def open_value(home_data) -> Callable[..., Any]:
    """Any value that `--data` takes -> data as a worker opens it."""

    def open_it(value: Any, **how: Any) -> Any:
        return open_data(snapshot(value, home_data=home_data, **how), home_data)

    return open_it


@pytest.fixture
def digits(open_value):
    return open_value(load_named("digits"))


@pytest.fixture
def blobs(open_value):
    """Three classes of points: 120 rows, 96 of them to train on."""
    random = np.random.RandomState(0)
    y = np.arange(120) % 3
    X = random.normal(size=(120, 4)) + 2 * np.eye(3, 4)[y]
    return open_value((X.astype("float32"), y))


@pytest.fixture
def two_classes(open_value):
    random = np.random.RandomState(0)
    X = random.normal(size=(80, 4)).astype("float32")
    return open_value((X, (X[:, 0] > 0).astype("int64")))


@pytest.fixture
def line(open_value):
    """A regression without noise."""
    random = np.random.RandomState(0)
    X = random.normal(size=(100, 3)).astype("float32")
    return open_value((X, (X @ [1.0, -2.0, 0.5] + 3).astype("float32")))


def mlp(n_in: int = 4, n_out: int = 3, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, n_out))


@pytest.fixture(name="mlp")
def mlp_maker():
    return mlp


@pytest.fixture
def run_fit():
    """`fit` with what most tests don't care about filled in."""

    def run(
        build,
        data,
        *,
        metric="loss",
        seed=0,
        listener=None,
        metrics=None,
        loss=None,
        loss_name=None,
        **settings,
    ):
        direction = "minimize" if metric in {"loss", "mae", "rmse"} else "maximize"
        found: FitResult = fit(
            build,
            data,
            FitSettings(**{"batch_size": 16, "epochs": 2, "loss": loss_name, **settings}),
            objective=Objective(metric, direction),
            seed=seed,
            device="cpu",
            listener=listener or Silent(),
            metrics=metrics,
            loss=loss,
        )
        return found

    return run


@pytest.fixture
def ear():
    return Ear()
