"""A fit that was interrupted goes on with exactly the numbers that it would have had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.spec.fit import OPTIMIZERS, FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train import Silent, TrialCancelled, fit
from nbautoml.train.state import CannotKeep, FitState


class Shelf:
    """Keeps every state as bytes."""

    def __init__(self):
        self.states, self.refused = [], []

    def is_due(self, spent_s, n_bytes):
        return True

    def keep(self, state):
        self.states.append(state.to_bytes())

    def refuse(self, error):
        self.refused.append(error.message)


class Tape(Silent):
    """Hears everything; calls the fit off in the middle of an epoch."""

    def __init__(self, until_batch=None):
        self.steps, self.epochs, self.n_batches, self.until_batch = [], [], 0, until_batch

    def on_batch(self):
        self.n_batches += 1
        if self.n_batches == self.until_batch:
            raise TrialCancelled

    def on_steps(self, steps, losses):
        self.steps += zip(steps, losses, strict=True)

    def on_epoch(self, epoch, step, metrics):
        self.epochs.append((epoch, step, metrics))
        return False


def conv():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(4, 3),
    )  # fmt: skip


class Tied(nn.Module):
    """Weights under two names, a buffer outside of the state_dict, extra state, a generator."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.out = nn.Linear(4, 3)
        self.register_buffer("n_seen", torch.zeros(()), persistent=False)
        self.scale = 1.0
        self.own = torch.Generator().manual_seed(3)

    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state):
        self.scale = state["scale"]

    def forward(self, x):
        if self.training:
            self.n_seen += 1
            self.scale *= 0.99
            x = x + 0.1 * torch.randn(x.shape, generator=self.own)
        return self.out(torch.tanh(self.two(self.one(x)))) * self.scale + 0.01 * self.n_seen


def trained(data, build, *, listener, keeper=None, start=None, metric="loss", **settings):
    given = FitSettings(**{"batch_size": 32, "epochs": 7, "lr": 0.02, **settings})
    direction = "minimize" if metric == "loss" else "maximize"
    return fit(
        build, data, given, objective=Objective(metric, direction), seed=5, device="cpu",
        listener=listener, keeper=keeper, start=start,
    )  # fmt: skip


def assert_goes_on_as_if_nothing_had_happened(data, build, **settings):
    """Uninterrupted beside: interrupted in the middle of epoch 6, gone on with from epoch 5."""
    whole, first, second = Tape(), Tape(until_batch=5 * 3 + 2), Tape()
    wanted = trained(data, build, listener=whole, **settings)
    shelf = Shelf()
    with pytest.raises(TrialCancelled):
        trained(data, build, listener=first, keeper=shelf, **settings)
    assert shelf.refused == []
    torch.manual_seed(99)  # what else happened in the process does not matter
    state = FitState.from_bytes(shelf.states[-1])
    assert (state.epoch, state.step) == (5, 15)
    found = trained(data, build, listener=second, start=state, **settings)
    kept = [pair for pair in first.steps if pair[0] <= state.step]
    assert kept + second.steps == whole.steps
    assert first.epochs[:5] + second.epochs == whole.epochs
    assert (found.value, found.best_epoch, found.metrics) == (
        wanted.value,
        wanted.best_epoch,
        wanted.metrics,
    )
    assert (found.n_epochs, found.n_steps, found.ended_by) == (
        wanted.n_epochs,
        wanted.n_steps,
        wanted.ended_by,
    )
    assert found.state_dict.keys() == wanted.state_dict.keys()
    for name, weight in wanted.state_dict.items():
        same = torch.equal if isinstance(weight, torch.Tensor) else lambda a, b: a == b
        assert same(found.state_dict[name], weight), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_with_the_same_numbers(blobs, optimizer):
    assert_goes_on_as_if_nothing_had_happened(
        blobs, conv, optimizer=optimizer, schedule="cosine", warmup=0.2, weight_decay=1e-3, clip=1.0
    )


@pytest.mark.parametrize("settings", [{"lr": 0.5}, {"lr": 2.0, "patience": 3}, {"amp": True}])
def test_best_epoch_patience_and_precision_are_remembered(blobs, settings):
    assert_goes_on_as_if_nothing_had_happened(blobs, conv, optimizer="momentum", **settings)


def test_tied_weights_loose_buffers_extra_state_and_own_generators_are_remembered(blobs):
    assert_goes_on_as_if_nothing_had_happened(blobs, Tied, optimizer="adam")


def test_a_fit_that_was_resumed_twice_counts_its_time_once(blobs, mlp):
    shelf = Shelf()
    trained(blobs, mlp, listener=Silent(), keeper=shelf)
    spent = [FitState.from_bytes(data).spent_s for data in shelf.states]
    assert spent == sorted(spent)
    state = FitState.from_bytes(shelf.states[-1])
    state.spent_s = 1000.0
    assert trained(blobs, mlp, listener=Silent(), start=state).duration_s > 1000.0


def test_the_last_epoch_is_not_kept(blobs, mlp):
    shelf = Shelf()
    trained(blobs, mlp, listener=Silent(), keeper=shelf, epochs=3)
    assert [FitState.from_bytes(data).epoch for data in shelf.states] == [1, 2]


def test_another_modules_state_is_refused_with_the_difference(blobs, mlp):
    shelf = Shelf()
    trained(blobs, mlp, listener=Silent(), keeper=shelf, epochs=2)
    state = FitState.from_bytes(shelf.states[0])
    with pytest.raises(CannotKeep, match=r"0\.bias is float32 \(8,\) in the file, float32"):
        trained(
            blobs, lambda: nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Dropout(0.0), nn.Linear(9, 3)),
            listener=Silent(), start=state,
        )  # fmt: skip
    with pytest.raises(CannotKeep, match="only"):
        trained(blobs, lambda: nn.Linear(4, 3), listener=Silent(), start=state)


def test_what_no_file_can_hold_is_told_once_and_the_fit_goes_on(blobs):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return object()

        def set_extra_state(self, state):
            pass

    shelf = Shelf()
    result = trained(blobs, lambda: Odd(4, 3), listener=Silent(), keeper=shelf)
    assert result.n_epochs == 7
    assert len(shelf.refused) == 1
    assert "object" in shelf.refused[0]


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"\xff" * 64, b"PK\x03\x04" * 20])
def test_bytes_that_are_no_checkpoint_are_refused(data):
    with pytest.raises(CannotKeep, match="no checkpoint"):
        FitState.from_bytes(data)
