"""Members that were built as another was have that one's tape, and the numbers that they have alone."""

from __future__ import annotations

import random
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.train.stacked import CannotStack, bare, ready

CPU = torch.device("cpu")
N_TRIALS = 4


class Net(nn.Module):
    """What is beside the layers is what a test says."""

    def __init__(self, **more):
        super().__init__()
        # No bias: before a norm its gradient is rounding alone.
        self.first, self.norm = nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
        for name, value in more.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.last(self.drop(F.relu(self.norm(self.first(x)))))


class Random(Net):
    def __init__(self):
        super().__init__(factor=1 + random.randrange(10**9))


class RandomBehindAnUnderscore(Net):
    def __init__(self):
        super().__init__(_factor=1 + random.randrange(10**9))


class Constant(Net):
    def __init__(self):
        super().__init__(constant=torch.rand(3))


class Array(Net):
    """As text the two arrays are one: their middle is left out."""

    def __init__(self):
        table = np.zeros((90, 90))
        table[45, 45] = float(torch.rand(()))
        super().__init__(table=table)


class Listed(Net):
    """As text the two tensors are one: there they have four digits."""

    def __init__(self):
        super().__init__(constants=[1 + 1e-6 * torch.rand(3)])


class Told:
    """Says nothing of what it holds."""

    def __init__(self):
        self.factor = float(torch.rand(()))

    def __repr__(self):
        return "Told()"


class Object(Net):
    def __init__(self):
        super().__init__(told=Told())


class Tied(Net):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(8, 3)
        if torch.rand(()) < 0.5:
            self.other.weight = self.last.weight


class WithLambda(Net):
    def __init__(self):
        super().__init__(act=lambda x: x)


def readied(bench, data, build, like=None, seed=0, **settings):
    member = bench.member(seed, bench.trial(build, seed=seed, **settings))
    return ready(member, data, CPU, None, like)


def pair(bench, blobs, build, **settings):
    """A member that was taped, and another that may have its tape."""
    first = readied(bench, blobs, build)
    return first, readied(bench, blobs, build, bare(first), seed=5, **settings)


class Plain(Net):
    """With attributes that can be compared."""

    def __init__(self):
        super().__init__(act=F.relu, sizes=[4, (8, "x")], of={"a": None}, dtype=torch.float32, _n=3)


@pytest.mark.parametrize("build", [Net, Plain], ids=lambda kind: kind.__name__)
def test_a_module_that_is_built_alike_is_not_taped(bench, blobs, build):
    first, second = pair(bench, blobs, build, lr=0.5, optimizer="adam")
    assert second.again is not None
    assert second.tape is first.tape
    alone = readied(bench, blobs, build, seed=5)
    assert second.key == alone.key
    assert all(torch.equal(value, second.start[name]) for name, value in alone.start.items())


@pytest.mark.parametrize(
    "build",
    [Random, RandomBehindAnUnderscore, Constant, WithLambda, Array, Listed, Object],
    ids=lambda kind: kind.__name__,
)
def test_a_module_that_is_built_otherwise_is_taped(bench, blobs, build):
    assert pair(bench, blobs, build)[1].again is None


def test_weights_that_are_one_are_seen(bench, blobs):
    seeds = {False: [], True: []}
    for seed in range(20):
        net = readied(bench, blobs, Tied, seed=seed).setup.module
        seeds[net.other.weight is net.last.weight].append(seed)
    like = bare(readied(bench, blobs, Tied, seed=seeds[True][0]))
    assert readied(bench, blobs, Tied, like, seed=seeds[True][1]).again is not None
    assert readied(bench, blobs, Tied, like, seed=seeds[False][0]).again is None


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 16}, {"amp": True}, {"label_smoothing": 0.1}, {"loss": "nll"}],
    ids=str,
)
def test_other_settings_of_a_step_are_taped(bench, blobs, settings):
    assert pair(bench, blobs, Net, **settings)[1].again is None


def test_what_cannot_be_stacked_is_refused_all_the_same(bench, blobs):
    class Hooked(Net):
        def __init__(self):
            super().__init__()
            if torch.rand(()) < 0.5:
                self.first.register_forward_hook(lambda *_: None)

    like, n_refused = None, 0
    for seed in range(12):
        try:
            found = readied(bench, blobs, Hooked, like, seed=seed)
            like = bare(found) if found.again is None else like
        except CannotStack:
            n_refused += 1
    assert like is not None
    assert 0 < n_refused < 12


def test_what_is_kept_holds_no_step(bench, blobs):
    found = readied(bench, blobs, Net)
    step = weakref.ref(found.output)
    kept = bare(found)
    del found
    assert step() is None
    assert kept.output.numel() == 0


@pytest.mark.parametrize("n_whole", [0, 1])
def test_they_have_the_numbers_that_they_have_alone(bench, blobs, n_whole):
    trials = [bench.trial(Net, seed=at, lr=0.01 * (1 + at)) for at in range(N_TRIALS)]
    alone = bench.alone(trials, blobs)
    stack, like = bench.stack(blobs, N_TRIALS), bare(readied(bench, blobs, Net, seed=99))
    for at, trial in enumerate(trials):
        known = None if at < n_whole else like
        stack.add_ready(ready(bench.member(at, trial), blobs, CPU, None, known))
    for number, result in stack.run():
        assert result.value == pytest.approx(alone[number].result.value, rel=1e-4)
