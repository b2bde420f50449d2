"""Trials of a stack that may take so long: each by its own clock, and nobody for another."""

from __future__ import annotations

import dataclasses

import pytest
from torch import nn

from nbautoml.train import TimeOverError


def linear():
    return nn.Linear(4, 3)


def ends_of(bench, data, trials, limits):
    stack = bench.stack(data, len(trials))
    for number, (trial, limit_s) in enumerate(zip(trials, limits, strict=True)):
        stack.add(dataclasses.replace(bench.member(number, trial), limit_s=limit_s))
    return dict(stack.run())


def test_who_is_over_its_time_ends_and_the_others_keep_their_numbers(bench, blobs):
    trials = [bench.trial(linear, seed, epochs=4) for seed in range(3)]
    alone = bench.alone([bench.trial(linear, seed, epochs=4) for seed in range(3)], blobs)
    found = ends_of(bench, blobs, trials, [None, 0.0, 1e6])
    assert isinstance(found[1], TimeOverError)
    assert str(found[1]) == "took longer than 0 s"
    assert trials[1].listener.epochs == []
    for at in (0, 2):
        assert found[at].n_epochs == 4
        assert found[at].value == pytest.approx(alone[at].result.value, rel=5e-3)


def test_a_trial_pays_for_its_share_only(bench, blobs):
    trials = [bench.trial(linear, seed, epochs=3) for seed in range(4)]
    limits = [1e6] * 4
    found = ends_of(bench, blobs, trials, limits)
    shares = [found[at].duration_s for at in range(4)]
    assert shares == pytest.approx([shares[0]] * 4)
    # Three of them are charged at once: one whose limit lies between its share and the whole stays.
    whole = 2 * sum(shares)
    found = ends_of(bench, blobs, trials, [whole] * 4)
    assert all(found[at].n_epochs == 3 for at in range(4))


def test_time_that_building_took_counts(bench, blobs):
    stack = bench.stack(blobs, 2)
    for number, built_s in enumerate([0.0, 50.0]):
        member = bench.member(number, bench.trial(linear, number))
        stack.add(dataclasses.replace(member, limit_s=40.0, built_s=built_s))
    found = dict(stack.run())
    assert found[0].n_epochs == 2
    assert isinstance(found[1], TimeOverError)
