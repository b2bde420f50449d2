"""Optuna's samplers as the study keeps them: what is kept between two trials changes no draw."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from nbautoml.spec import Choice, Float, Int, Objective, Space
from nbautoml.study import SAMPLERS, Study
from nbautoml.study import loop as loops
from nbautoml.study.live import SteadyTPE

SPACE = Space(
    {
        "lr": Float(1e-4, 1e-1, log=True),
        "hidden": Int(4, 200),
        "optimizer": Choice("sgd", "adam"),
        "momentum": Float(0.0, 0.9, when=("optimizer", "sgd")),
    }
)


def drawn(sampler, n=40):
    """Points of a study that is told of good, failed, stopped and unfinished trials."""
    study = Study(SPACE, [Objective("loss", "minimize")], sampler=sampler, stopper="none", seed=3)
    points = []
    for at in range(n):
        number, params = study.ask()
        points.append(params)
        if at % 7 == 3:
            study.report(number, 1, params["lr"])
            study.tell(number, "stopped_early")
        elif at % 7 == 5:
            study.tell(number, "failed")
        elif at % 7 != 6:  # the seventh goes on running
            study.tell(number, "complete", params["lr"] + params["hidden"] / 100)
    return points


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_sampler_that_is_seeded_anew_draws_what_a_new_one_draws(name, monkeypatch):
    points = drawn(name)
    monkeypatch.setattr(loops.Loop, "_set_sampler", make_new)
    assert drawn(name) == points


def make_new(loop, number, n_drawn):
    """The plain way: a sampler of its own for each trial, which remembers nothing."""
    loop._study.sampler = loop._new_sampler(number, n_drawn)


def test_numbers_of_trials_are_those_that_optuna_takes(monkeypatch):
    points = drawn("tpe", 60)
    monkeypatch.setattr(SteadyTPE, "_get_internal_repr", TPESampler._get_internal_repr)
    assert drawn("tpe", 60) == points


def test_an_unfinished_trial_is_asked_each_time():
    sampler = SteadyTPE(seed=0, multivariate=True, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    trial = optuna.trial.create_trial(
        state=TrialState.RUNNING, params={}, distributions={}, system_attrs={}
    )
    trial.number = 0
    assert sampler._get_internal_repr([trial], space, study)["x"].shape == (0,)
    trial.params = {"x": 0.25}
    assert np.array_equal(sampler._get_internal_repr([trial], space, study)["x"], [0.25])


def test_who_is_seeded_by_trial_can_be_seeded_anew_where_making_one_is_dear():
    from nbautoml.study.live import Reseedable

    made = {
        name: Study(SPACE, [Objective("loss", "minimize")], sampler=name)._loop._lasting
        for name in ("random", "tpe")
    }
    assert all(SAMPLERS[name].is_seeded_by_trial for name in made)
    assert all(isinstance(sampler, Reseedable) for sampler in made.values())
