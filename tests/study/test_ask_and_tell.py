"""The ask/tell loop with every sampler and stopper, and its going on from a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from study_spaces import CONDITIONAL, LOSS, MIXED, NUMBERS, SMALL

from nbautoml.errors import RecipeError
from nbautoml.spec import Float, Objective, Space
from nbautoml.study import SAMPLERS, STOPPERS, Study


@dataclass
class Row:
    """A trial as a record holds it."""

    number: int
    state: str
    params: dict[str, Any]
    value: float | None = None
    curve: dict[int, float] = field(default_factory=dict)


@dataclass
class SeveralRow(Row):
    """One with a value an objective."""

    values: tuple[float, ...] = ()

    def __init__(self, number, state, params, value, values):
        super().__init__(number, state, params, value)
        self.values = values


def loss(params: dict[str, Any]) -> float:
    """Something to minimise in any space: small for middling numbers and early options."""
    total = 0.0
    for name, value in params.items():
        if name == "lr":
            total += abs(value - 1e-2) * 10
        elif isinstance(value, str):
            total += len(value) / 10
        else:
            total += abs(value - 1) / 100
    return total


def searched(study: Study, n: int) -> list[Row]:
    """Trials told as soon as they were asked; fewer where the space is exhausted."""
    rows: list[Row] = []
    for _ in range(n):
        if study.is_exhausted:
            break
        number, params = study.ask()
        rows.append(Row(number, "complete", params, loss(params)))
        study.tell(number, "complete", loss(params))
    return rows


def points(rows: list[Row]) -> list[dict[str, Any]]:
    return [row.params for row in rows]


@pytest.mark.parametrize("sampler", ["auto", *SAMPLERS])
def test_every_sampler_stays_in_the_space(sampler: str):
    space = SMALL if sampler == "brute" else NUMBERS
    study = Study(space, LOSS, sampler=sampler, stopper="none", n_trials=12)
    rows = searched(study, 12)
    assert len(rows) == (6 if sampler == "brute" else 12 if sampler != "grid" else len(rows))
    assert all(space.contains(row.params) for row in rows)


@pytest.mark.parametrize("sampler", [name for name, info in SAMPLERS.items() if name != "gp"])
def test_same_seed_asks_for_the_same_points(sampler: str):
    space = SMALL if sampler == "brute" else NUMBERS
    one, other = (
        points(searched(Study(space, LOSS, sampler=sampler, seed=3, n_trials=12), 12))
        for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize("sampler", ["bayes", "tpe", "random", "qmc", "grid", "brute"])
def test_study_of_a_record_goes_on_as_if_it_had_never_been_away(sampler: str):
    space = MIXED if sampler != "brute" else SMALL

    def new() -> Study:
        return Study(space, LOSS, sampler=sampler, stopper="none", seed=5, n_trials=30)

    whole = searched(new(), 30)
    begun = new()
    rows = searched(begun, len(whole) // 2)
    resumed = new()
    resumed.restore(rows)
    assert points(searched(resumed, 30))[: len(whole) - len(rows)] == points(whole[len(rows) :])


@pytest.mark.parametrize("sampler", ["bayes", "tpe", "random", "qmc", "grid"])
def test_conditions_hold_in_every_point(sampler: str):
    study = Study(CONDITIONAL, LOSS, sampler=sampler, stopper="none", seed=1, n_trials=24)
    rows = searched(study, 24)
    assert all(CONDITIONAL.contains(row.params) for row in rows)
    assert {("momentum" in row.params) for row in rows} == {True, False}


@pytest.mark.parametrize("stopper", ["auto", *STOPPERS])
def test_every_stopper_lets_the_best_trial_run_to_its_end(stopper: str):
    study = Study(NUMBERS, LOSS, stopper=stopper, seed=0, n_trials=30, max_epochs=27)
    ended = {}
    for _ in range(30):
        number, _params = study.ask()
        level = float(number) if number else -1.0  # the first is the best, the later the worse
        for epoch in range(1, 28):
            if study.report(number, epoch, level + 1 / epoch):
                study.tell(number, "stopped_early", level + 1 / epoch)
                break
        else:
            study.tell(number, "complete", level)
        ended[number] = study.to_optuna().trials[number].state.name
    assert ended[0] == "COMPLETE"
    # A test of ranks needs differences of both signs; every other stopper has ended some.
    assert ("PRUNED" in ended.values()) == (stopper not in {"none", "patient"})


def test_late_word_on_a_trial_that_has_ended_changes_nothing():
    study = Study(NUMBERS, LOSS)
    number, _ = study.ask()
    assert study.tell(number, "complete", 1.0)
    assert not study.tell(number, "failed")


def test_enqueued_point_is_asked_for_next():
    study = Study(NUMBERS, LOSS, n_trials=20)
    study.enqueue({"lr": 0.01, "width": 7})
    assert study.ask()[1] == {"lr": 0.01, "width": 7}


def test_enqueued_part_of_a_point_is_completed():
    study = Study(NUMBERS, LOSS, sampler="bayes", n_trials=40)
    searched(study, 10)
    study.enqueue({"width": 7})
    _, params = study.ask()
    assert params["width"] == 7
    assert NUMBERS.contains(params)


def test_value_that_is_no_number_is_a_failure():
    study = Study(NUMBERS, LOSS)
    number, _ = study.ask()
    study.tell(number, "complete", float("nan"))
    assert study.to_optuna().trials[0].state.name == "FAIL"


def test_unknown_sampler_names_the_nearest():
    with pytest.raises(RecipeError) as caught:
        Study(NUMBERS, LOSS, sampler="bays")
    assert "'bayes'" in caught.value.hint


BOTH = [Objective("error", "minimize"), Objective("size", "minimize")]


def constrained(sampler: str, *, is_told: bool, seed: int = 0) -> float:
    """The share of later points that keep to a limit: x below 0.2, where both objectives are worst."""
    study = Study(
        Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}),
        BOTH,
        sampler=sampler,
        stopper="none",
        seed=seed,
        n_trials=80,
    )
    kept = []
    for _ in range(80):
        number, params = study.ask()
        broken = max(0.0, params["x"] - 0.2)
        values = [1 - params["x"] + params["y"], 1 - params["x"] + (1 - params["y"])]
        study.tell(number, "complete", values, constraints=(broken,) if is_told else ())
        kept.append(broken == 0)
    return sum(kept[40:]) / 40


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_sampler_that_is_told_of_limits_searches_within_them(sampler: str):
    assert constrained(sampler, is_told=True) > 0.4
    assert constrained(sampler, is_told=False) < 0.2


def test_limits_are_known_after_a_restore():
    space = Space({"x": Float(0.0, 1.0)})
    first = Study(space, BOTH, sampler="tpe", stopper="none", seed=1, n_trials=40)
    rows, told = [], {}
    for _ in range(30):
        number, params = first.ask()
        values = (1 - params["x"], 1 - params["x"])
        told[number] = (max(0.0, params["x"] - 0.2),)
        first.tell(number, "complete", list(values), constraints=told[number])
        rows.append(SeveralRow(number, "complete", params, values[0], values))
    again = Study(space, BOTH, sampler="tpe", stopper="none", seed=1, n_trials=40)
    again.restore(rows, constraints=told)
    following = first.ask()
    assert again.ask() == following
    bare = Study(space, BOTH, sampler="tpe", stopper="none", seed=1, n_trials=40)
    bare.restore(rows)
    assert bare.ask() != following
