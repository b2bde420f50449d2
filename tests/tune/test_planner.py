"""How the fastest way is chosen, and what keeps the choice within time and memory."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import nn

from nbautoml.data import load_named, open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train import Silent, TrialCancelled
from nbautoml.train.stacked import Member, ready
from nbautoml.tune import chooser
from nbautoml.tune.measured import Measured
from nbautoml.tune.planner import (
    BUDGET_S,
    COPIES,
    Contest,
    SlowerError,
    _Watch,
    bytes_of_trial,
    fitting_width,
    measure_alone,
    measure_stack,
    why_alone,
    why_never,
)
from nbautoml.tune.remembered import KEPT, Remembered


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    return open_data(snapshot(load_named("digits"), home_data=home), home)


def template(data, hidden):
    member = Member(
        number=0,
        build=lambda: nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)),
        settings=FitSettings(batch_size=32, epochs=1, lr=0.01),
        seed=0,
        listener=Silent(),
    )
    return ready(member, data, torch.device("cpu"), None)


def test_fastest_width_is_taken():
    assert Measured(alone_s=10.0, stacked_s={8: 5.0, 32: 4.0}).width == 32
    assert Measured(alone_s=10.0, stacked_s={8: 4.0, 32: 5.0}).width == 8


def test_stack_that_gains_little_is_not_taken():
    assert Measured(alone_s=10.0, stacked_s={8: 9.5}).width == 1


def test_plan_says_the_rate_of_every_way():
    plan = Measured(alone_s=1e-3, stacked_s={8: 5e-4, 32: 2.5e-4}).plan(
        n_workers=2, n_steps=200, device="cpu"
    )
    assert plan.text == (
        "vectorized x32 in 2 workers on cpu: about 40 trials/s; one by one 10; vectorized x8 20"
    )
    assert (plan.details["executor"], plan.details["width"]) == ("vectorized", 32)


def test_memory_of_a_trial_grows_with_weights_and_activations(digits):
    small, large = template(digits, 10), template(digits, 100)
    n_weights = 64 * 100 + 100 + 100 * 10 + 10
    activations = 2 * 32 * (100 + 100 + 10)
    assert bytes_of_trial(large) == 4 * (COPIES * n_weights + activations)
    assert bytes_of_trial(small) < bytes_of_trial(large)


def test_convolutions_are_not_stacked_on_a_cpu(digits):
    layers = (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10))
    settings = FitSettings(batch_size=32, epochs=1, lr=0.01)
    member = Member(
        number=0, build=lambda: nn.Sequential(*layers), settings=settings, seed=0, listener=Silent()
    )
    one = ready(member, digits, torch.device("cpu"), None)
    assert "convolutions" in why_never(one, "cpu")
    assert why_never(one, "cuda:0") == ""
    assert why_never(template(digits, 10), "cpu") == ""


def test_a_step_that_is_long_is_not_tried_in_a_stack():
    assert why_alone(1e-4, width=32, run_steps=1000) == ""
    assert "0.5 s" in why_alone(0.5, width=32, run_steps=100)
    assert why_alone(0.5, width=32, run_steps=100_000) == ""  # it has a day


def contest(alone_s, stacked_s, other=lambda width, is_ahead: (width, math.inf)):
    """A contest whose stack's steps take as long as is said; it, and what it decided."""
    decided, now = [], itertools.count(1)
    made = Contest(alone_s, lambda: next(now) * stacked_s, other, decided.append)
    made.start()
    return made, decided


def until_decided(made, width):
    while made.is_open:
        made.tick(width)


def test_a_stack_that_is_far_ahead_goes_on_and_no_other_is_timed():
    def other(width, is_ahead):
        raise AssertionError("nothing else is to be timed")

    made, decided = contest(alone_s=1.0, stacked_s=8.0, other=other)
    until_decided(made, 32)
    assert decided[0].stacked_s == {32: pytest.approx(0.25)}
    assert decided[0].width == 32


def test_a_stack_that_is_slower_ends():
    made, decided = contest(alone_s=1.0, stacked_s=40.0)
    with pytest.raises(SlowerError) as caught:
        until_decided(made, 32)
    assert caught.value.width == 1
    assert decided[0].stacked_s == {32: pytest.approx(1.25)}
    assert not made.is_open


def test_a_narrower_stack_that_is_faster_takes_its_place():
    made, _ = contest(alone_s=1.0, stacked_s=25.0, other=lambda width, is_ahead: (8, 0.3))
    with pytest.raises(SlowerError) as caught:
        until_decided(made, 32)
    assert caught.value.width == 8


def test_a_stack_that_is_not_full_yet_is_judged_by_the_width_that_it_may_have():
    def other(width, is_ahead):
        assert not is_ahead
        return 32, 0.2

    made, decided = contest(alone_s=1.0, stacked_s=3.0, other=other)
    until_decided(made, 2)
    assert decided[0].width == 32


@pytest.mark.parametrize(("stacked_s", "is_ahead"), [(1.4, True), (1.9, False)])
def test_who_times_another_width_is_told_whether_there_is_a_gain(stacked_s, is_ahead):
    told = []
    made, _ = contest(
        1.0, stacked_s, other=lambda width, ahead: told.append(ahead) or (2, math.inf)
    )
    with contextlib.suppress(SlowerError):
        until_decided(made, 2)
    assert told == [is_ahead]


def test_a_stack_timed_before_it_was_full_is_no_narrower_for_it():
    found = Measured(alone_s=1e-3, stacked_s={5: 2.5e-4}, limit=25)
    assert found.stack_width == 25
    plan = found.plan(n_workers=2, n_steps=200, device="cpu")
    assert plan.text == (
        "vectorized x25 in 2 workers on cpu: about 40 trials/s at x5; one by one 10"
    )
    assert plan.details["width"] == 25
    assert Measured(alone_s=1.0, stacked_s={8: 0.2, 32: 0.4}, limit=32).stack_width == 8


MEASURED = Measured(alone_s=1e-3, stacked_s={32: 2.5e-4})


def test_what_was_measured_is_remembered_under_the_same_facts_only(tmp_path):
    plans = Remembered(tmp_path / "plans", "digits (20261125-0000)", "facts")
    assert plans.recall(("layers", 1)) is None
    plans.keep(("layers", 1), MEASURED)
    found = plans.recall(("layers", 1))
    assert found == dataclasses.replace(MEASURED, earlier_run="digits (20261125-0000)")
    assert plans.recall(("layers", 2)) is None
    assert dataclasses.replace(plans, facts="other data").recall(("layers", 1)) is None
    plan = found.plan(n_workers=2, n_steps=200, device="cpu")
    assert plan.text.endswith("measured in run digits (20261125-0000)")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"alone_s": 1}', "\xff", '{"alone_s": 1, "stacked_s": {"1": 2}, "reason": "", "run": ""}',
     '{"alone_s": NaN, "stacked_s": {}, "reason": "", "run": ""}'],
)  # fmt: skip
def test_a_plan_that_cannot_be_read_is_measured_anew(tmp_path, content):
    plans = Remembered(tmp_path, "digits", "facts")
    plans.keep("layers", MEASURED)
    (file,) = tmp_path.glob("*.json")
    file.write_text(content)
    assert plans.recall("layers") is None


def test_only_the_latest_plans_are_kept(tmp_path):
    plans = Remembered(tmp_path, "digits", "facts")
    for at in range(KEPT + 3):
        plans.keep(at, MEASURED)
    assert len(list(tmp_path.glob("*.json"))) == KEPT
    assert plans.recall(KEPT + 2) is not None


def test_width_is_what_fits_into_free_memory(digits):
    one = template(digits, 100)
    free = psutil.virtual_memory().available
    width = fitting_width(one, n_workers=2, device="cpu")
    assert 0.2 * free < width * 2 * bytes_of_trial(one) < 0.9 * free
    assert fitting_width(one, n_workers=10**9, device="cpu") == 1


class Ticks:
    """A clock that is told what each step takes."""

    def __init__(self, *steps):
        self._times = iter(itertools.accumulate((0.0, *steps)))

    def __call__(self):
        return next(self._times)


def watched(*steps):
    """What a watch saw of steps of these seconds until it had enough, and how many began."""
    watch = _Watch(Ticks(*steps))
    with contextlib.suppress(TrialCancelled):
        for _ in range(len(steps) + 1):
            watch.on_batch()
    return watch.seconds_per_step, len(watch.began_at)


def test_first_steps_do_not_count_where_others_follow():
    assert watched(0.5, 0.3, *[0.002] * 20) == (pytest.approx(0.002), 6)


def test_first_steps_are_all_that_is_timed_where_they_take_what_measuring_may():
    assert watched(*[BUDGET_S + 1] * 5) == (BUDGET_S + 1, 2)


def test_a_step_of_a_trial_that_has_but_one_is_timed(digits):
    settings = FitSettings(batch_size=2048, epochs=1, lr=0.01, patience=1)
    member = dataclasses.replace(template(digits, 10).member, settings=settings)
    one = ready(member, digits, torch.device("cpu"), None)
    session = SimpleNamespace(
        opened_data=digits,
        recipe=SimpleNamespace(objectives=(Objective("accuracy", "maximize"),)),
        loss=None,
    )
    assert measure_alone([one], session, "cpu") > 0
    assert measure_stack([one], one, session, device="cpu", width=2) > 0


def test_plan_says_what_planning_took_and_what_a_trial_needs():
    measured = Measured(
        alone_s=1e-3, stacked_s={8: 5e-4}, planning_s=0.02, trial_bytes=70_000, limit=16
    )
    details = measured.plan(n_workers=2, n_steps=200, device="cpu").details
    assert (details["planning_s"], details["bytes_per_trial"], details["limit"]) == (
        0.02,
        70_000,
        16,
    )
    slow = Measured(alone_s=2.0, reason="a step takes 2 s", planning_s=4.1)
    assert slow.plan(n_workers=2, n_steps=200, device="cpu").details["planning_s"] == 4.1


def chooser_of(data):
    payload = {"measure": False, "n_workers": 1, "n_trials": 20, "width": 8}
    session = SimpleNamespace(opened_data=data, widths={})
    return chooser.Chooser(SimpleNamespace(payload=payload), session, SimpleNamespace(device="cpu"))


@pytest.mark.parametrize(("looks", "is_tried"), [([5.0, 0.001], True), ([5.0, 5.0], False)])
def test_a_step_that_seemed_long_is_looked_at_again(digits, monkeypatch, looks, is_tried):
    seen = iter(looks)
    monkeypatch.setattr(chooser, "measure_alone", lambda *_: next(seen))
    alone_s, reason = chooser_of(digits)._measured_alone([template(digits, 8)] * 4, 8)
    assert (alone_s == 0.001, reason == "") == (is_tried, is_tried)
    assert not list(seen)


def test_a_step_that_takes_long_is_timed_once(digits, monkeypatch):
    seen = iter([5.0])
    monkeypatch.setattr(chooser, "measure_alone", lambda *_: next(seen))
    monkeypatch.setattr(chooser, "SECOND_LOOK_S", 0.0)
    assert chooser_of(digits)._measured_alone([template(digits, 8)] * 4, 8)[1]
