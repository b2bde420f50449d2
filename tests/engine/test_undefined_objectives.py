"""A further objective that the validation rows do not define fails its trial, and says so."""

from __future__ import annotations

import numpy as np
import pytest

import nbautoml
from nbautoml import Float

torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 1)

    def forward(self, x):
        return self.last(x).squeeze(1)


def test_a_further_objective_that_is_not_defined_fails_its_trial_by_name(tmp_path):
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    data = (x, np.arange(24) % 2, x[:6], np.zeros(6, dtype=int))
    run = nbautoml.tune(
        Net, data=data, metric=["loss", "auroc"], space={"lr": Float(0.01, 0.1)}, trials=1,
        epochs=1, executor="inline", home=tmp_path / "home",
    )  # fmt: skip
    assert run.trial(0).state == "failed"
    assert "auroc is not defined on the validation rows" in run.trial(0).error
    assert len(run.front) == 0


def test_a_comparison_names_all_objectives(tmp_path):
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    run = nbautoml.tune(
        Net, data=(x, np.arange(24) % 2), metric=["loss", "n_parameters"], trials=1,
        space={"lr": Float(0.01, 0.1)}, epochs=1, executor="inline", home=tmp_path / "home",
    )  # fmt: skip
    assert run.trial(0).values[1] == 5
    assert "loss, minimize; n_parameters, minimize" in repr(nbautoml.compare(run, run))
    assert list(run.trials["on_front"]) == [True]
