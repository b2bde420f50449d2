"""Dropout by hash: as random as dropout needs to be, and each trial's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.train.seeds import step_seed
from nbautoml.train.stacked.hashed import HashedMask, stream_keys

N = 1 << 14
CPU = torch.device("cpu")


def masks(seeds, rate=0.5, layer=0, n=N):
    out = torch.empty(len(seeds), n)
    HashedMask(n, [rate] * len(seeds), layer, CPU).draw(seeds, out)
    return out


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_was_asked(rate):
    seeds = [step_seed(7, step) for step in range(1, 65)]
    kept = masks(seeds, rate).mean(1)
    spread = (rate * (1 - rate) / N) ** 0.5
    assert (kept - (1 - rate)).abs().max() < 4.5 * spread
    assert kept.std() == pytest.approx(spread, rel=0.35)


def test_a_rate_of_zero_keeps_all_and_of_one_nothing():
    assert masks([1, 2], 0.0).min() == 1
    assert masks([1, 2], 1.0).max() == 0


def correlation(one, other):
    return abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item())


@pytest.mark.parametrize("distance", [1, 2, 3, 8, 64, 4096])
def test_neighbours_in_a_mask_have_nothing_in_common(distance):
    found = masks([step_seed(3, step) for step in range(1, 33)])
    assert correlation(found[:, distance:], found[:, :-distance]) < 0.007


def test_steps_trials_and_layers_have_nothing_in_common():
    steps = [step_seed(3, step) for step in range(1, 33)]
    found = masks(steps)
    assert correlation(found[1:], found[:-1]) < 0.007
    assert correlation(found, masks([step_seed(4, step) for step in range(1, 33)])) < 0.007
    assert correlation(found, masks(steps, layer=1)) < 0.007
    worst = torch.corrcoef(found).fill_diagonal_(0).abs().max()
    assert worst < 0.04  # 496 pairs of 16,384


def test_keys_of_all_streams_differ():
    keys = {
        tuple(pair)
        for layer in range(3)
        for pair in stream_keys([step_seed(s, t) for s in range(20) for t in range(1, 50)], layer).T
    }
    assert len(keys) == 3 * 20 * 49


def net(rate=0.3):
    return lambda: nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Dropout(rate), nn.Linear(8, 3), nn.Dropout(0.1)
    )


def test_a_trial_drops_the_same_in_any_company(bench, blobs):
    def last(seeds):
        trials = [bench.trial(net(), seed=seed, epochs=3) for seed in seeds]
        return bench.stacked(trials, blobs, len(seeds), has_exact_dropout=False)[-1]

    bench.assert_same_weights([last([7])], [last([1, 2, 7])], 1e-6)


def test_trials_without_dropout_are_as_on_their_own(bench, blobs):
    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.0), nn.Linear(8, 3))

    trials = [bench.trial(build, seed=at) for at in range(2)]
    alone = bench.alone(trials, blobs)
    bench.assert_equal(alone, bench.stacked(trials, blobs, 2, has_exact_dropout=False))


def test_it_learns_as_well(bench, digits):
    def values(**how):
        trials = [
            bench.trial(
                lambda: nn.Sequential(
                    nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10)
                ),
                seed=at,
                batch_size=64,
                epochs=3,
            )
            for at in range(4)
        ]
        found = bench.stacked(trials, digits, 4, metric="accuracy", **how)
        return sum(one.result.value for one in found) / 4

    assert values(has_exact_dropout=False) == pytest.approx(values(), abs=0.02)
