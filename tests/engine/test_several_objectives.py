"""Runs with several objectives: accuracy against size, from the cell to the front."""

from __future__ import annotations

import pytest
from engine_runs import wait_for_end

from nbautoml.spec import Budget, Float, Int, Objective, Space
from nbautoml.spec.fronts import front_of_trials
from nbautoml.spec.recipe import Execution, Target

BOTH = (Objective("accuracy", "maximize"), Objective("n_parameters", "minimize"))
SPACE = Space({"lr": Float(1e-3, 3e-2, log=True), "hidden": Int(4, 64, log=True)})
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.mark.parametrize("executor", ["process", "vectorized"])
def test_values_are_accuracy_and_size_and_the_fronts_weights_are_kept(runs, executor):
    folder = runs.submit(
        NET, space=SPACE, objectives=BOTH, fixed={"epochs": 3}, budget=Budget(n_trials=10),
        execution=Execution(executor=executor, n_workers=2),
    )  # fmt: skip
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        rows, artifacts = reader.trials(), reader.artifacts()
        sizes = reader.points(trial=0, name="n_parameters").values
    for row in rows:
        hidden = row.params["hidden"]
        n_parameters = 64 * hidden + hidden + 10 * hidden + 10
        assert row.values == pytest.approx((row.metrics["accuracy"], n_parameters))
        assert row.metrics["n_parameters"] == n_parameters
    assert len(sizes) == 3
    front = front_of_trials(rows, BOTH)
    assert min(row.values[1] for row in rows) == front[-1].values[1]
    assert {row.number for row in front} <= {item.trial for item in artifacts}


def test_rungs_end_trials_that_are_behind_in_both(runs):
    folder = runs.submit(
        NET, space=Space({**SPACE, "lr": Float(1e-6, 3e-2, log=True)}), objectives=BOTH,
        fixed={"epochs": 9}, budget=Budget(n_trials=40), sampler="random", stopper="asha",
        execution=Execution(executor="vectorized", n_workers=1),
    )  # fmt: skip
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        rows = reader.trials()
    assert {row.state for row in rows} == {"complete", "stopped_early"}
    ended = [row for row in rows if row.state == "stopped_early"]
    assert all(len(row.values) == 2 for row in ended)


def test_an_objective_reports_one_value_an_objective_and_is_stopped_by_both(runs):
    source = """
    class TrialPruned(Exception):
        pass

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for step in range(1, 10):
            trial.report((x, x + step / 100), step)
            if trial.should_prune():
                raise TrialPruned
        return x, x
    """
    folder = runs.submit(
        source, data=None, space=Space({}), fixed={},
        target=Target(role="objective", symbol="objective", capsule_hash=""),
        objectives=(Objective("error", "minimize"), Objective("cost", "minimize")),
        budget=Budget(n_trials=30), sampler="random", stopper="asha",
        execution=Execution(n_workers=1),
    )  # fmt: skip
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        rows = reader.trials()
    assert {row.state for row in rows} == {"complete", "stopped_early"}
    assert all(set(row.metrics) >= {"error", "cost"} for row in rows)
    assert all(len(row.values) == 2 for row in rows)


def test_an_objective_that_reports_too_few_values_fails_by_name(runs):
    source = """
    def objective(trial):
        trial.report(0.5, 1)
        return 0.5, 1.0
    """
    folder = runs.submit(
        source, data=None, space=Space({}), fixed={},
        target=Target(role="objective", symbol="objective", capsule_hash=""),
        objectives=(Objective("error", "minimize"), Objective("cost", "minimize")),
        budget=Budget(n_trials=1), sampler="random", stopper="none",
    )  # fmt: skip
    assert wait_for_end(folder) == "failed"
    with folder.reader() as reader:
        assert "1 values at step 1, the run has 2 objectives" in reader.trials()[0].error
