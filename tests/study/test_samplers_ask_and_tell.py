"""Every sampler: points of the space, the same for the same seed, and the same after a resume."""

from __future__ import annotations

import pytest

from nbautoml.errors import RecipeError
from nbautoml.spec import Choice, Float, Int, Objective, Space
from nbautoml.study import SAMPLERS, Study
from nbautoml.study.entries import Entry

SPACE = Space(
    {
        "lr": Float(1e-4, 1e-1, log=True),
        "hidden": Int(4, 64, log=True),
        "optimizer": Choice("sgd", "adam"),
        "momentum": Float(0.0, 0.9, when=("optimizer", "sgd")),
    }
)
SMALL = Space({"layers": Int(1, 3), "optimizer": Choice("sgd", "adam", "adamw")})
EXHAUSTIVE = {"grid", "brute"}
QUICK = [name for name in SAMPLERS if name not in {"gp", "cmaes"}]  # minutes, and an extra


def space_for(name):
    return SMALL if name in EXHAUSTIVE else SPACE


def study_of(name, seed=0):
    goal = [Objective("loss", "minimize")]
    return Study(space_for(name), goal, sampler=name, stopper="none", seed=seed, n_trials=40)


def loss(params):
    found = abs(params.get("lr", 0.01) - 0.01) * 10 + params.get("hidden", 20) / 100
    return found + 0.1 * (params["optimizer"] == "sgd") + 0.01 * params.get("layers", 0)


def ask_and_tell(study, n):
    told = []
    for _ in range(n):
        if study.is_exhausted:
            break
        number, params = study.ask()
        study.tell(number, "complete", loss(params))
        told.append(Entry(number, "complete", params, values=[loss(params)]))
    return told


@pytest.mark.parametrize("name", QUICK)
def test_points_lie_in_the_space_and_follow_from_the_seed(name):
    one, other = (ask_and_tell(study_of(name), 14) for _ in range(2))
    assert all(space_for(name).contains(entry.params) for entry in one)
    assert [entry.params for entry in one] == [entry.params for entry in other]


@pytest.mark.parametrize("name", sorted(set(QUICK) - EXHAUSTIVE))
def test_another_seed_gives_other_points(name):
    one, other = (ask_and_tell(study_of(name, seed), 14) for seed in (0, 1))
    assert [entry.params for entry in one] != [entry.params for entry in other]


@pytest.mark.parametrize("name", sorted(EXHAUSTIVE))
def test_every_point_of_a_small_space_comes_once(name):
    told = ask_and_tell(study_of(name), 40)
    assert len({tuple(sorted(entry.params.items())) for entry in told}) == len(told) == 9


@pytest.mark.parametrize("name", ["bayes", "tpe", "random", "qmc"])
def test_restored_study_goes_on_as_it_would_have(name):
    whole = ask_and_tell(study_of(name), 16)
    resumed = study_of(name)
    resumed.restore(whole[:9])
    rest = ask_and_tell(resumed, 7)
    assert [entry.params for entry in rest] == [entry.params for entry in whole[9:]]


@pytest.mark.parametrize("name", ["bayes", "tpe"])
def test_learning_finds_better_points_than_chance(name):
    seeds = range(4)
    learnt = [min(e.values[0] for e in ask_and_tell(study_of(name, s), 40)) for s in seeds]
    chance = [min(e.values[0] for e in ask_and_tell(study_of("random", s), 40)) for s in seeds]
    assert sum(learnt) < sum(chance)


def test_auto_takes_bayes_for_few_trials_and_tpe_for_many():
    goal = [Objective("loss", "minimize")]
    assert Study(SPACE, goal, n_trials=50).sampler == "bayes"
    assert Study(SPACE, goal, n_trials=5000).sampler == "tpe"
    assert Study(SMALL, goal, n_trials=50).sampler == "brute"


def test_bayes_says_what_it_cannot_do():
    two = [Objective("loss", "minimize"), Objective("accuracy", "maximize")]
    with pytest.raises(RecipeError, match="bayes"):
        Study(SPACE, two, sampler="bayes")
