"""Members come and go; what one does is nothing to the others."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from nbautoml.errors import DivergedError
from nbautoml.spec.fit import OPTIMIZERS
from nbautoml.train import TrialCancelled


def net(dropout=0.2):
    return lambda: nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.BatchNorm1d(8), nn.Linear(8, 3)
    )


def test_members_at_different_epochs_share_a_stack(bench, blobs):
    trials = [
        bench.trial(
            net(0.1 * at),
            seed=at,
            epochs=1 + at % 4,
            optimizer=OPTIMIZERS[at % 7],
            schedule="cosine",
            warmup=0.2,
        )
        for at in range(9)
    ]
    alone, stacked = bench.both(trials, blobs, 3)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


def test_a_trial_does_not_notice_who_else_is_there(bench, blobs):
    def third(others):
        trials = [bench.trial(net(), seed=at, epochs=3) for at in others]
        return bench.stacked(trials, blobs, len(trials))[-1]

    alone, together = third([7]), third([1, 2, 7])
    bench.assert_same_weights([alone], [together], 1e-6)


class Stopping:
    def __init__(self, ear, epoch):
        self.ear, self.epoch = ear, epoch

    def __getattr__(self, name):
        return getattr(self.ear, name)

    def on_epoch(self, epoch, step, metrics):
        self.ear.on_epoch(epoch, step, metrics)
        return epoch == self.epoch


def test_a_stopped_trial_leaves_at_once_and_its_slot_is_free(bench, blobs):
    stack = bench.stack(blobs, 2)
    stack.add(bench.member(0, bench.trial(net(), listener=Stopping(bench.ear(), 1), epochs=5)))
    stack.add(bench.member(1, bench.trial(net(), seed=1, epochs=5)))
    assert stack.n_free == 0
    ((number, result),) = stack.step_epoch()
    assert (number, result.stopped, result.ended_by, result.n_epochs) == (0, True, "stopped", 1)
    assert stack.n_free == 1
    stack.add(bench.member(2, bench.trial(net(), seed=2, epochs=2)))
    assert [number for number, _ in stack.run()] == [2, 1]


def test_patience_ends_a_trial(bench, blobs):
    trials = [
        bench.trial(net(), seed=at, lr=1e-9 + 0.01 * at, epochs=8, patience=2) for at in (0, 1)
    ]
    alone, stacked = bench.both(trials, blobs, 2)
    bench.assert_equal(alone, stacked)
    assert [one.result.ended_by for one in alone] == [one.result.ended_by for one in stacked]


@pytest.mark.parametrize("lr", [1e20, 1e38])
def test_a_trial_that_diverges_ends_alone(lr, bench, blobs):
    trials = [
        bench.trial(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)),
            seed=at,
            optimizer="sgd",
            lr=lr if at == 1 else 0.01,
            epochs=3,
        )
        for at in range(3)
    ]
    calm = [trials[0], trials[2]]
    found = bench.stacked(trials, blobs, 3)
    error = found[1].result
    assert isinstance(error, DivergedError)
    with pytest.raises(DivergedError) as alone:
        bench.alone([trials[1]], blobs)
    assert error.step == alone.value.step
    bench.assert_equal(bench.alone(calm, blobs), [found[0], found[2]])


class Cancelling:
    def __init__(self, ear, at, error):
        self.ear, self.left, self.error = ear, at, error

    def __getattr__(self, name):
        return getattr(self.ear, name)

    def on_batch(self):
        self.left -= 1
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("error", [TrialCancelled(), ValueError("the disk is full")])
def test_what_a_listener_raises_ends_its_trial_only(error, bench, blobs):
    trials = [bench.trial(net(), seed=at, epochs=3) for at in range(3)]
    trials[1].listener = Cancelling(bench.ear(), 4, error)
    found = bench.stacked(trials, blobs, 3)
    assert found[1].result is error
    calm = [trials[0], trials[2]]
    bench.assert_equal(bench.alone(calm, blobs), [found[0], found[2]])


def test_losses_of_members_are_reported_under_their_own_steps(bench, blobs):
    trials = [bench.trial(net(), seed=at, epochs=at + 1) for at in range(3)]
    found = bench.stacked(trials, blobs, 2)
    assert [one.heard.steps for one in found] == [list(range(1, 3 * at + 1)) for at in (1, 2, 3)]
    assert [epoch for epoch, _, _ in found[2].heard.epochs] == [1, 2, 3]


def test_nothing_outside_is_changed(bench, blobs):
    before = torch.get_rng_state()
    bench.stacked([bench.trial(net(), seed=at) for at in range(2)], blobs, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()


def test_the_state_loads_into_a_module_of_the_trial(bench, blobs):
    found = bench.stacked([bench.trial(net(), seed=at) for at in range(2)], blobs, 2)
    for one in found:
        module = net()()
        module.load_state_dict(one.result.state_dict)
        assert all(not value.requires_grad for value in one.result.state_dict.values())
        assert module[3].num_batches_tracked.item() == one.result.best_epoch * 3


def test_the_best_weights_can_be_taken_out_while_it_trains(bench, blobs):
    stack = bench.stack(blobs, 2)
    trials = [bench.trial(net(), seed=at, epochs=3) for at in range(2)]
    for at, trial in enumerate(trials):
        stack.add(bench.member(at, trial))
    with pytest.raises(KeyError):
        stack.state_of(1)
    stack.step_epoch()
    (first,) = bench.alone([bench.trial(net(), seed=1, epochs=1)], blobs)
    for name, value in stack.state_of(1).items():
        torch.testing.assert_close(value, first.result.state_dict[name])


def test_tied_weights_keep_both_names(bench, blobs):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.out(self.two(self.one(x)))

    state = bench.stacked([bench.trial(Tied)], blobs, 1)[0].result.state_dict
    assert torch.equal(state["one.weight"], state["two.weight"])


def test_a_stack_lets_go_of_modules_that_it_has_taken_in(bench, blobs):
    alive = []

    def build():
        module = net()()
        alive.append(weakref.ref(module))
        return module

    stack = bench.stack(blobs, 3)
    for at in range(3):
        stack.add(bench.member(at, bench.trial(build, seed=at)))
    stack.step_epoch()
    gc.collect()
    # One stays, to be taped with other batch sizes.
    assert sum(one() is not None for one in alive) == 1


@pytest.mark.parametrize("compares", [True, False])
def test_both_ways_to_draw_give_the_same_masks(compares, bench, blobs, monkeypatch):
    from nbautoml.train.stacked import noise

    compares = compares and noise._compares_doubles()
    monkeypatch.setattr(noise, "_compares_doubles", lambda: compares)
    trials = [bench.trial(net((0.0, 0.3, 1.0)[at]), seed=at) for at in range(3)]
    bench.assert_equal(*bench.both(trials, blobs, 3))
