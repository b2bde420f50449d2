"""How the fastest way is chosen, and what keeps the choice within time and memory."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import nn

from nbautoml.data import load_named, open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.train import Silent
from nbautoml.train.stacked import Member, ready
from nbautoml.tune.planner import COPIES, Measured, bytes_of_trial, fitting_width, measure


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
    session = SimpleNamespace(opened_data=digits)
    found = measure([one], one, session, device="cpu", max_width=8, run_steps=100)
    assert found.width == 1
    assert "convolutions" in found.reason


def test_width_is_what_fits_into_free_memory(digits):
    one = template(digits, 100)
    free = psutil.virtual_memory().available
    width = fitting_width(one, n_workers=2, device="cpu")
    assert 0.2 * free < width * 2 * bytes_of_trial(one) < 0.9 * free
    assert fitting_width(one, n_workers=10**9, device="cpu") == 1
