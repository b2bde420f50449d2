"""Masks that a GPU has drawn (H200, torch 2.11), computed without one."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from nbautoml.train.seeds import step_seed
from nbautoml.train.stacked.philox import AtOnce, Launch, PhiloxMask

H200 = Launch(132, 2048)
CPU = torch.device("cpu")
# By type and shape: what two draws at rates 0.3 and 0.5 keep, one after the other, of seed 7000024.
DRAWN = {
    (torch.float32, (7, 3)): (
        "3bd778",
        "9e2080",
    ),
    (torch.bfloat16, (7, 3)): (
        "3bd778",
        "9e2080",
    ),
    (torch.float32, (16, 16)): (
        "57ffb6cfbf7b5fdf6fdaf8b55f9e9eff7f9faffe07d7f3bb5df9b3bfff9ad7df",
        "953faba420866140f0743afa6d48cb4f105e73812094cd63021f23f7bb80e25f",
    ),
    (torch.bfloat16, (16, 16)): (
        "5f7dfbffbb6fcefdb7f878b657f3d7f16ff0dfaef78bbf5e56ff95ea9febfcff",
        "965e3ff2a8baaa412906836d671c4d0ff10c754737a4f0a865d14a8dcfbc4ef3",
    ),
}
# Larger ones, by the first bytes of a hash of their bits: n, bytes of an element, hashes.
HASHED = [
    (6400, 4, "22099a9a26ec", "267c5f91786d"),
    (6400, 2, "b7a520e89b7b", "002fbab3d530"),
    (262144, 4, "0146243f310a", "bd6f93ee0ae1"),
    (2097152, 4, "3d6af9e8ded9", "c62a9d417782"),
    (2097152, 2, "f2992889f0b4", "45fd263dd8b2"),
]


def bits(mask: torch.Tensor) -> bytes:
    return np.packbits(mask.numpy()).tobytes()


def two_draws(n: int, item_bytes: int, seed: int) -> list[bytes]:
    offsets = (0, H200.used(n))
    return [
        bits(PhiloxMask(n, item_bytes, [rate], [at], H200, CPU).drawn(torch.tensor([seed]))[0])
        for rate, at in zip((0.3, 0.5), offsets, strict=True)
    ]


@pytest.mark.parametrize("case", DRAWN, ids=str)
def test_masks_are_those_that_were_drawn(case):
    dtype, shape = case
    found = two_draws(torch.Size(shape).numel(), dtype.itemsize, 7000024)
    assert [one.hex() for one in found] == list(DRAWN[case])


@pytest.mark.parametrize(("n", "item_bytes", "first", "second"), HASHED)
def test_large_masks_too(n, item_bytes, first, second):
    found = two_draws(n, item_bytes, 12)
    assert [hashlib.sha256(one).hexdigest()[:12] for one in found] == [first, second]


def test_a_trial_drops_the_same_whoever_is_beside_it():
    rates = [(0.3, 0.5), (0.0, 0.5), (0.3, 0.0), (0.3, 1.0)]
    shapes, dtypes = [((16, 16), (16, 1))] * 2, [torch.float32] * 2

    def drawn(own, seeds):
        together = AtOnce.by(H200, shapes, dtypes, own, CPU)
        together.seed(seeds, 1)
        return together.factors()

    seeds = [step_seed(at, 1) for at in range(len(rates))]
    together = drawn(rates, seeds)
    for at, pair in enumerate(rates):
        alone = drawn([pair], seeds[at : at + 1])
        for layer, rate in enumerate(pair):
            assert together[layer].shape == (4, 16, 16)
            if rate == 0:
                assert bool((together[layer][at] == 1).all())
            else:
                assert torch.equal(together[layer][at], alone[layer][0])
    # Nothing is drawn at rate 0, so that the second layer's numbers are the first ones.
    second, first = together[1][1] > 0, drawn([(0.5, 0.5)], seeds[1:2])[0][0] > 0
    assert torch.equal(second, first)


@pytest.mark.parametrize("seed", [0, 3, 2**40 + 5, 2**63 - 1])
def test_seeds_of_later_steps_are_counted_on(seed):
    together = AtOnce.by(H200, [((4, 4), (4, 1))], [torch.float32], [(0.5,)], CPU)
    anew = AtOnce.by(H200, [((4, 4), (4, 1))], [torch.float32], [(0.5,)], CPU)
    together.seed([step_seed(seed, 5)], 5)
    together.seed([step_seed(seed, 11)], 11)
    anew.seed([step_seed(seed, 11)], 11)
    assert torch.equal(together.factors()[0], anew.factors()[0])


def test_what_is_kept_is_scaled():
    (factor,) = AtOnce.by(H200, [((64, 64), (64, 1))], [torch.float32], [(0.25,)], CPU).factors()
    assert factor.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert float((factor > 0).float().mean()) == pytest.approx(0.75, abs=0.03)
