"""The numbers of a fit follow from its seed, and from nothing else."""

# ruff: noqa: NPY002  the global generator is what is watched here
from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from nbautoml.train import Silent
from nbautoml.train.seeds import batch_order, order_seed, step_seed


class Noisy(nn.Module):
    """Draws from torch's, NumPy's and Python's global generators."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.scale = 1.0 + np.random.rand() + random.random()

    def forward(self, x):
        if self.training:
            x = x + 0.1 * torch.rand_like(x) + 0.1 * float(np.random.rand()) * random.random()
        return self.fc(nn.functional.dropout(x, 0.2, self.training)) * self.scale


def same(one, other):
    return all(
        torch.equal(other.state_dict[name], weight) for name, weight in one.state_dict.items()
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(blobs, run_fit):
    one = run_fit(Noisy, blobs, seed=3)
    torch.manual_seed(999)
    np.random.seed(1)
    random.seed(2)
    assert same(one, run_fit(Noisy, blobs, seed=3))
    assert not same(one, run_fit(Noisy, blobs, seed=4))


def test_numbers_drawn_between_steps_change_nothing(blobs, run_fit):
    class Drawing(Silent):
        def on_batch(self):
            torch.rand(3)

        def on_epoch(self, epoch, step, metrics):
            torch.rand(5)
            np.random.rand(5)
            random.random()
            return False

    assert same(run_fit(Noisy, blobs), run_fit(Noisy, blobs, listener=Drawing()))


def test_a_fit_leaves_the_global_generators_as_they_were(blobs, run_fit):
    def state():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = state()
    run_fit(Noisy, blobs)
    assert state() == before


def test_a_fit_inside_a_fit_changes_nothing(blobs, run_fit):
    class Nesting(Silent):
        def on_epoch(self, epoch, step, metrics):
            run_fit(Noisy, blobs, seed=8, epochs=1)
            return False

    assert same(run_fit(Noisy, blobs), run_fit(Noisy, blobs, listener=Nesting()))


def test_every_epoch_has_an_order_of_its_own():
    orders = [tuple(batch_order(20, seed=1, epoch=epoch).tolist()) for epoch in range(1, 6)]
    assert len(set(orders)) == 5
    assert all(sorted(order) == list(range(20)) for order in orders)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1, 2**70, -5])
def test_any_whole_number_is_a_seed(seed, blobs, run_fit):
    assert same(run_fit(Noisy, blobs, seed=seed), run_fit(Noisy, blobs, seed=seed))


def test_orders_and_steps_never_share_a_seed():
    orders = {order_seed(seed, epoch) for seed in range(5) for epoch in range(1, 500)}
    steps = {step_seed(seed, step) for seed in range(5) for step in range(1, 500)}
    assert len(orders | steps) == 2 * 5 * 499
