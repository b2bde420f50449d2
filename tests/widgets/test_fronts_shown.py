"""Several objectives in what a person reads: every objective has a column, the front has a line."""

from __future__ import annotations

from dataclasses import replace

from nbautoml.spec import Budget, Float, Objective, Space
from nbautoml.spec.recipe import Execution, Recipe, Target
from nbautoml.store.rows import RunRow, TrialRow
from nbautoml.widgets.header import header_of
from nbautoml.widgets.summary import facts
from nbautoml.widgets.table import TrialTable


def recipe_of(*objectives):
    return Recipe(
        kind="tune", name="both", run_id="", target=Target(role="module", symbol="Net", capsule_hash=""),
        data=None, space=Space({"lr": Float(0, 1)}), fixed={}, objectives=objectives,
        budget=Budget(n_trials=4), seed=0, sampler="random", stopper="none", execution=Execution(),
    )  # fmt: skip


def header_for(*objectives, values):
    recipe = recipe_of(*objectives)
    table = TrialTable(recipe)
    names = [one.metric for one in objectives]
    table.update(
        TrialRow(
            number=number, state="complete", params={"lr": 0.1}, value=own[0], values=own,
            metrics=dict(zip(names, own, strict=True)),
        )
        for number, own in enumerate(values)
    )  # fmt: skip
    run = RunRow(id="a", name="both", kind="tune", state="running", message="", plan="")
    return header_of(run, recipe, table, now=1.0), table


def test_the_front_is_said_where_there_are_several_objectives():
    header, table = header_for(
        Objective("accuracy", "maximize"), Objective("n_parameters", "minimize"),
        values=[(0.8, 10.0), (0.9, 50.0), (0.7, 20.0), (0.9, 60.0)],
    )  # fmt: skip
    assert header["front"] == [1, 0]
    line = dict(facts(header))["front"]
    assert line == "trials 1, 0: no other beats them in all of accuracy, n_parameters"
    assert table.metrics[:2] == ["accuracy", "n_parameters"]


def test_one_objective_has_a_best_trial_and_no_front():
    header, _ = header_for(Objective("accuracy", "maximize"), values=[(0.8,), (0.9,)])
    assert "front" not in header
    assert header["best"]["trial"] == 1


def test_front_follows_trials_that_end():
    recipe = recipe_of(Objective("accuracy", "maximize"), Objective("n_parameters", "minimize"))
    table = TrialTable(recipe)
    row = TrialRow(number=0, state="running", params={}, value=None, values=(), metrics={})
    table.update([row])
    assert table.front == []
    table.update([replace(row, state="complete", value=0.8, values=(0.8, 10.0))])
    assert table.front == [0]
    better = replace(row, number=1, state="complete", value=0.9, values=(0.9, 10.0))
    table.update([better])
    assert table.front == [1]


def test_objective_that_is_no_metric_of_the_trial_is_taken_from_its_values():
    recipe = recipe_of(Objective("accuracy", "maximize"), Objective("latency_ms", "minimize"))
    table = TrialTable(recipe)
    row = TrialRow(
        number=0, state="complete", params={}, value=0.8, values=(0.8, 1.5), metrics={"loss": 1.0}
    )
    table.update([row])
    assert table.columnar([0])["metrics"] == {"accuracy": [0.8], "latency_ms": [1.5], "loss": [1.0]}
