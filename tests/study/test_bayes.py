"""The sampler `bayes`, its model and its encoding, and when `auto` chooses it."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from study_spaces import LOSS, MIXED

from nbautoml.errors import RecipeError
from nbautoml.spec import Choice, Float, Int, Objective, Space
from nbautoml.study import Study
from nbautoml.study.encoding import Axis, Encoding
from nbautoml.study.surrogate import Surrogate, _misfit, _squares

SEEDS = range(4)


def best_of(space: Space, function: Any, sampler: str, n: int, seed: int) -> float:
    study = Study(space, LOSS, sampler=sampler, stopper="none", seed=seed, n_trials=n)
    found = []
    for _ in range(n):
        number, params = study.ask()
        found.append(function(params))
        study.tell(number, "complete", found[-1])
    return min(found)


def branin(params: dict[str, Any]) -> float:
    """Three equal minima of 0.398 in curved valleys."""
    a, b = params["a"], params["b"]
    valley = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def letters(params: dict[str, Any]) -> float:
    """How many of six letters are wrong, two of them worth more when they are right together."""
    wrong = sum(params[name] != "c" for name in params)
    return wrong + 2.0 * (params["l0"] != params["l1"])


BRANIN = Space({"a": Float(-5, 10), "b": Float(0, 15)})
LETTERS = Space({f"l{index}": Choice(*"abcde") for index in range(6)})


@pytest.mark.parametrize(
    ("space", "function", "n"),
    [(BRANIN, branin, 40), (LETTERS, letters, 60)],
    ids=["smooth", "letters"],
)
def test_finds_better_points_than_chance_and_tpe(space: Space, function: Any, n: int):
    mean = {
        sampler: sum(best_of(space, function, sampler, n, seed) for seed in SEEDS) / len(SEEDS)
        for sampler in ("bayes", "tpe", "random")
    }
    assert mean["bayes"] < mean["tpe"] <= mean["random"]


def test_minimum_of_branin_is_found_to_a_hundredth():
    found = [best_of(BRANIN, branin, "bayes", 50, seed) for seed in SEEDS]
    assert sorted(found)[len(found) // 2] == pytest.approx(0.3979, abs=0.01)


def test_larger_is_better_where_the_objective_says_so():
    space = Space({"x": Float(0, 1)})
    study = Study(space, (Objective("score", "maximize"),), sampler="bayes", n_trials=30)
    asked = []
    for _ in range(30):
        number, params = study.ask()
        asked.append(params["x"])
        study.tell(number, "complete", -((params["x"] - 0.8) ** 2))
    assert np.median(asked[15:]) == pytest.approx(0.8, abs=0.05)


def test_no_point_is_tried_twice_while_others_are_left():
    study = Study(MIXED, LOSS, sampler="bayes", stopper="none", n_trials=80)
    seen = []
    for _ in range(80):
        number, params = study.ask()
        seen.append(tuple(params.items()))
        study.tell(number, "complete", params["depth"])
    assert len(set(seen)) == 80


def test_trials_asked_for_together_differ():
    study = Study(BRANIN, LOSS, sampler="bayes", stopper="none", n_trials=40)
    for _ in range(10):
        number, params = study.ask()
        study.tell(number, "complete", branin(params))
    together = [study.ask()[1] for _ in range(8)]
    apart = [
        math.dist(tuple(one.values()), tuple(other.values()))
        for at, one in enumerate(together)
        for other in together[:at]
    ]
    assert min(apart) > 0.05


def test_trials_stopped_early_steer_away():
    space = Space({"x": Float(0, 1)})
    study = Study(space, LOSS, sampler="bayes", n_trials=40, max_epochs=27)
    asked = []
    for _ in range(40):
        number, params = study.ask()
        asked.append(params["x"])
        if params["x"] > 0.5 and number > 2:
            study.report(number, 1, params["x"])
            study.tell(number, "stopped_early", params["x"])
        else:
            study.tell(number, "complete", abs(params["x"] - 0.2))
    assert sum(x > 0.5 for x in asked[20:]) <= 6  # by chance it would be ten


def test_running_trials_that_got_as_far_as_stopped_ones_are_learnt_from():
    """Only bad trials have ended; the good ones run, and say how good they are."""
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    n_near = 0
    for seed in range(3):
        study = Study(space, LOSS, sampler="bayes", n_trials=60, max_epochs=27, seed=seed)
        for _ in range(40):
            number, params = study.ask()
            off = math.hypot(params["x"] - 0.2, params["y"] - 0.7)
            for epoch in range(1, 7 if off < 0.3 else 4):
                study.report(number, epoch, off)
            if off >= 0.3:
                study.tell(number, "stopped_early", off)
            n_near += number >= 20 and off < 0.1
    assert (
        n_near >= 15
    )  # by chance it would be two, and where only the ended are known there is none


def test_regions_where_training_fails_are_left():
    space = Space({"x": Float(0, 1)})
    study = Study(space, LOSS, sampler="bayes", stopper="none", n_trials=50)
    asked = []
    for _ in range(50):
        number, params = study.ask()
        asked.append(params["x"])
        if params["x"] > 0.6:
            study.tell(number, "failed")
        else:
            study.tell(number, "complete", 1 - params["x"])
    assert sum(x > 0.6 for x in asked[35:]) <= 3


def test_model_that_was_kept_from_the_draw_before_changes_no_point():
    def drawn(*, is_kept: bool) -> list[dict[str, Any]]:
        study = Study(BRANIN, LOSS, sampler="bayes", stopper="none", seed=2, n_trials=40)
        for _ in range(12):
            number, params = study.ask()
            study.tell(number, "complete", branin(params))
        found = []
        for _ in range(3):
            found.append(study.ask()[1])
            if not is_kept:
                study._source.fits.clear()
        return found

    assert drawn(is_kept=True) == drawn(is_kept=False)


# -- auto -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "n_trials", "n_objectives", "sampler"),
    [
        (MIXED, 60, 1, "bayes"),
        (MIXED, None, 1, "bayes"),
        (MIXED, 216, 1, "brute"),
        (MIXED, 60, 2, "tpe"),
        (BRANIN, 2000, 1, "tpe"),
        (Space({f"x{at}": Float(0, 1) for at in range(21)}), 60, 1, "tpe"),
        (Space(), 60, 1, "tpe"),
    ],
    ids=["few", "no end", "all fit", "two objectives", "very many", "wide", "open"],
)
def test_auto_says_what_it_chose_and_why(
    space: Space, n_trials: int | None, n_objectives: int, sampler: str
):
    objectives = [Objective(f"loss{at}", "minimize") for at in range(n_objectives)]
    study = Study(space, objectives, n_trials=n_trials)
    assert study.sampler == sampler
    assert study.explanation.startswith(f"sampler {sampler}: ")


def test_bayes_refuses_several_objectives():
    objectives = [Objective(f"loss{at}", "minimize") for at in range(2)]
    with pytest.raises(RecipeError, match="one objective"):
        Study(MIXED, objectives, sampler="bayes")


def test_bayes_refuses_an_objective_that_says_while_it_runs_what_varies():
    with pytest.raises(RecipeError, match="know the space beforehand"):
        Study(Space(), LOSS, sampler="bayes")


def test_bayes_loads_neither_torch_nor_scipy():
    code = (
        "import sys; from nbautoml.spec import *; from nbautoml.study import Study\n"
        "s = Study(Space({'x': Float(0, 1)}), [Objective('l', 'minimize')], sampler='bayes')\n"
        "for _ in range(9): n, p = s.ask(); s.tell(n, 'complete', p['x'])\n"
        "print([m for m in ('torch', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- encoding and model -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "dimension",
    [
        Int(1, 4),
        Int(10, 90, step=20),
        Int(3, 300, log=True),
        Float(-1, 1),
        Float(0, 1, step=0.25),
        Float(1e-5, 1, log=True),
        Choice("a", "b", "c"),
        Choice(16, 32, 64),
        Choice(0.5, 0.1, 0.0),
        Choice(True, False),
    ],
    ids=repr,
)
def test_value_comes_back_from_its_place(dimension: Any):
    axis = Axis.of(dimension)
    places = axis.drawn(50, np.random.default_rng(0))
    values = [axis.value(place) for place in places]
    assert all(dimension.contains(value) for value in values)
    assert [axis.number(value) for value in values] == pytest.approx(places.tolist())
    assert axis.snapped(places).tolist() == pytest.approx(places.tolist())


@pytest.mark.parametrize(
    ("choice", "is_category"),
    [
        (Choice(16, 32, 64), False),
        (Choice(0.5, 0.1, 0.0), False),
        (Choice(16, 64, 32), True),
        (Choice("16", "32", "64"), True),
        (Choice(True, False, 3), True),
    ],
    ids=repr,
)
def test_options_are_a_number_where_they_are_numbers_in_order(choice: Choice, is_category: bool):
    assert Axis.of(choice).is_category == is_category


def test_gradient_of_the_fit_is_that_of_its_value():
    generator = np.random.default_rng(0)
    rows, is_category = generator.random((12, 3)), np.array([False, False, True])
    rows[:, 2] = generator.integers(3, size=12)
    squares, scores = _squares(rows, rows, is_category), generator.standard_normal(12)
    theta = np.array([0.2, -0.5, 0.3, 0.1, -2.0])
    _, gradient = _misfit(theta, squares, scores)
    for at in range(5):
        step = np.zeros(5)
        step[at] = 1e-5
        slope = (
            _misfit(theta + step, squares, scores)[0] - _misfit(theta - step, squares, scores)[0]
        ) / 2e-5
        assert gradient[at] == pytest.approx(slope, rel=1e-4)


def test_point_that_is_believed_is_sure_and_bends_no_mean():
    rows = np.linspace(0, 1, 8)[:, None]
    model = Surrogate.fit(rows, np.cos(5 * rows[:, 0]), np.array([False]))
    new = np.array([[0.4321]])
    mean, variance = model.predict(new)
    believed_mean, believed_variance = model.believing(new).predict(new)
    assert believed_mean == pytest.approx(mean, abs=1e-3)
    assert believed_variance < variance


def test_point_without_a_value_is_a_place_of_its_own():
    encoding = Encoding(Space({"kind": Choice("a", "b"), "deep": Int(1, 9, when=("kind", "b"))}))
    row = encoding.row({"kind": "a"})
    assert np.isnan(row[1])
    assert encoding.params(row) == {"kind": "a"}
    assert not np.isnan(encoding.features(row[None])).any()


def test_neighbours_differ_from_their_point_in_one_value():
    space = Space(
        {
            "lr": Float(1e-4, 1, log=True),
            "kind": Choice("a", "b"),
            "n": Int(1, 200, log=True),
            "deep": Int(1, 9, when=("kind", "b")),
            "letter": Choice(*"abcdefghijklmnopqrstuvwxyz"),
        }
    )
    encoding = Encoding(space)
    flat = {"lr": 0.01, "kind": "a", "n": 20, "letter": "k"}
    for params in (flat, {**flat, "kind": "b", "deep": 4}):
        row = encoding.row(params)
        found = encoding.neighbours(row[None], np.random.default_rng(0))
        kind = encoding.names.index("kind")
        for other in found:
            differ = set(np.flatnonzero(~((other == row) | (np.isnan(other) & np.isnan(row)))))
            # Where another value brings a parameter with it, or takes it away, that is no second one.
            assert len(differ - {encoding.names.index("deep")} if kind in differ else differ) == 1
        moved = {name for at, name in enumerate(encoding.names) if (found[:, at] != row[at]).any()}
        assert moved >= params.keys()
