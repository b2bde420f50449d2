"""Several objectives from Python: what is undefined, compared, and written as a plain cell."""

from __future__ import annotations

import numpy as np
import pytest

import nbautoml
from nbautoml import Float
from nbautoml.api.portable import portable_code

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


def test_the_written_cell_of_a_trial_reaches_its_first_objective_again(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    run = nbautoml.tune(
        Net, data=(x, y), metric=["loss", "n_parameters"], trials=2, epochs=2,
        space={"lr": Float(0.01, 0.1)}, executor="inline", home=tmp_path / "home",
    )  # fmt: skip
    exec(portable_code(run, 1), {"X": x, "y": y})
    assert f"best loss: {run.trial(1).values[0]:.4f}"[:-1] in capsys.readouterr().out
