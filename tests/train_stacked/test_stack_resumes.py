"""Members of a stack are kept, and go on in another stack or alone, with the numbers they would have had."""

from __future__ import annotations

import dataclasses

import pytest
from torch import nn

from nbautoml.spec.fit import OPTIMIZERS
from nbautoml.train import FitState, TrialCancelled, fit
from nbautoml.train.stacked import CannotStack, Member, ready


class Shelf:
    """Keeps every state as bytes."""

    def __init__(self):
        self.states = []

    def is_due(self, spent_s, n_bytes):
        return True

    def keep(self, state):
        self.states.append(state.to_bytes())

    def state_after(self, epoch):
        states = {state.epoch: state for state in map(FitState.from_bytes, self.states)}
        return states[epoch]


def net(width=8, *, has_bias=True):
    return nn.Sequential(
        nn.Linear(4, width, bias=has_bias),
        nn.BatchNorm1d(width),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(width, 3),
    )


def trials_for(bench):
    """One of each optimiser, each with a schedule of its own; widths differ.

    No bias before the norm, which takes it away: its gradient is nothing but rounding, and Adam walks by that.
    """
    return [
        bench.trial(
            lambda at=at: net(8 - at % 2, has_bias=False), seed=at, epochs=6, optimizer=name, schedule="cosine", weight_decay=1e-3
        )
        for at, name in enumerate(OPTIMIZERS)
    ]  # fmt: skip


def member(number, trial, **changes):
    plain = Member(
        number=number, build=trial.build, settings=trial.settings, seed=trial.seed,
        listener=trial.listener,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def kept_in_a_stack(bench, trials, data, n_epochs):
    stack, shelves = bench.stack(data, len(trials)), [Shelf() for _ in trials]
    for at, (trial, shelf) in enumerate(zip(trials, shelves, strict=True)):
        stack.add(member(at, trial, keeper=shelf))
    for _ in range(n_epochs):
        stack.step_epoch()
    return shelves


def kept_alone(bench, trials, data, n_epochs):
    shelves = [Shelf() for _ in trials]
    for trial, shelf in zip(trials, shelves, strict=True):

        def stop_there(epoch, step, metrics, heard=trial.listener.on_epoch):
            heard(epoch, step, metrics)
            if len(shelf.states) == n_epochs:  # noqa: B023
                raise TrialCancelled

        trial.listener.on_epoch = stop_there
        with pytest.raises(TrialCancelled):
            alone(trial, data, keeper=shelf)
    return shelves


def alone(trial, data, **how):
    from nbautoml.spec.objective import Objective

    return fit(
        trial.build, data, trial.settings, objective=Objective("loss", "minimize"),
        seed=trial.seed, device="cpu", listener=trial.listener, **how,
    )  # fmt: skip


def goes_on_in_a_stack(bench, trials, data, shelves, epoch):
    """Beside a trial that starts anew, at its first epoch."""
    stack = bench.stack(data, len(trials) + 1)
    stack.add(member(99, bench.trial(trials[0].build, seed=5, epochs=6)))
    found = {}
    for at, (trial, shelf) in enumerate(zip(trials, shelves, strict=True)):
        stack.add(member(at, trial, resumed=shelf.state_after(epoch)))
    found.update(stack.run())
    return [found[at] for at in range(len(trials))]


def assert_same(bench, trials, results, wanted):
    heard = [
        dataclasses.replace(one, result=result) for one, result in zip(wanted, results, strict=True)
    ]
    for at, (trial, one) in enumerate(zip(trials, wanted, strict=True)):
        assert trial.listener.steps == [s for s in one.heard.steps if s > 9], at
        assert trial.listener.losses == pytest.approx(one.heard.losses[9:], rel=1e-4, abs=1e-5)
        assert [epoch for epoch, _, _ in trial.listener.epochs] == [4, 5, 6]
        assert results[at].value == pytest.approx(one.result.value, rel=5e-3)
        assert results[at].best_epoch == one.result.best_epoch
        assert (results[at].n_epochs, results[at].n_steps) == (6, 18)
    bench.assert_same_weights(wanted, heard, 1e-3)


@pytest.mark.parametrize("begun", [kept_in_a_stack, kept_alone])
@pytest.mark.parametrize("goes_on", ["in a stack", "alone"])
def test_a_member_goes_on_wherever_it_began(bench, blobs, begun, goes_on):
    wanted = bench.alone(trials_for(bench), blobs)
    shelves = begun(bench, trials_for(bench), blobs, 4)
    trials = trials_for(bench)
    if goes_on == "alone":
        results = [
            alone(trial, blobs, start=shelf.state_after(3))
            for trial, shelf in zip(trials, shelves, strict=True)
        ]
    else:
        results = goes_on_in_a_stack(bench, trials, blobs, shelves, 3)
    assert_same(bench, trials, results, wanted)


def test_the_best_epoch_before_the_interruption_is_remembered(bench, blobs):
    """A rate that spoils the weights after a good beginning."""

    def spoilt():
        return [bench.trial(net, seed=at, epochs=6, lr=2.0 + at, optimizer="sgd") for at in (0, 1)]

    wanted = bench.alone(spoilt(), blobs)
    early = [one for one in wanted if one.result.best_epoch < 3]
    assert early, "the case that is meant"
    shelves = kept_in_a_stack(bench, spoilt(), blobs, 3)
    results = goes_on_in_a_stack(bench, spoilt(), blobs, shelves, 3)
    assert [r.best_epoch for r in results] == [one.result.best_epoch for one in wanted]
    bench.assert_same_weights(
        wanted,
        [dataclasses.replace(o, result=r) for o, r in zip(wanted, results, strict=True)],
        1e-3,
    )


def test_a_state_of_other_layers_is_no_member(bench, blobs):
    import torch

    (shelf,) = kept_in_a_stack(bench, [bench.trial(net, epochs=6)], blobs, 1)
    other = member(0, bench.trial(lambda: net(9), epochs=6), resumed=shelf.state_after(1))
    with pytest.raises(CannotStack, match="in the file"):
        ready(other, blobs, torch.device("cpu"), None)


def test_members_that_ended_are_not_kept(bench, blobs):
    (shelf,) = kept_in_a_stack(bench, [bench.trial(net, epochs=2)], blobs, 2)
    assert [FitState.from_bytes(data).epoch for data in shelf.states] == [1]
