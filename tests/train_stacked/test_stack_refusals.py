"""What cannot be stacked is refused with the reason, and only that."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from nbautoml.train.stacked import CannotStack, group_key, why_not


class Net(nn.Module):
    def __init__(self, hidden=8, slope=0.01):
        super().__init__()
        self.fc, self.out = nn.Linear(4, hidden), nn.Linear(hidden, 3)
        self.slope = slope

    def forward(self, x):
        return self.out(nn.functional.leaky_relu(self.fc(x), self.slope))


class ReadsAValue(Net):
    def forward(self, x):
        return super().forward(x) * self.fc.weight.norm().item()


class BranchesOnData(Net):
    def forward(self, x):
        if self.fc.weight.sum() > 0:
            x = x + 1
        return super().forward(x)


class Counts(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) / self.calls


class DrawsInPython(Net):
    def forward(self, x):
        return super().forward(x) * random.random()


class DrawsInNumPy(Net):
    def forward(self, x):
        return super().forward(x) * float(np.random.rand())  # noqa: NPY002


class PicksRows(Net):
    def forward(self, x):
        x = super().forward(x)
        x = x.clone()
        x[x > 0] = 0.5
        return x * 1.0 + 0 * x.unique().sum()


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * float(x.detach().numpy().shape[0] > 0)

    @staticmethod
    def backward(ctx, grad):
        return grad


class OwnFunction(Net):
    def forward(self, x):
        return Twice.apply(super().forward(x))


class Cumulative(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=None)

    def forward(self, x):
        return self.norm(self.fc(x))


class ReplacesABuffer(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(dim=0)
        return super().forward(x - self.mean)


class SetsData(Net):
    def forward(self, x):
        self.fc.weight.data = self.fc.weight.data.clamp(-1, 1)
        return super().forward(x)


class Picks(Net):
    def forward(self, x):
        return super().forward(x) + x[x > 0].mean()


class Raises(Net):
    def forward(self, x):
        raise ValueError("not today")


def complex_weights():
    net = Net()
    net.extra = nn.Parameter(torch.zeros(3, dtype=torch.complex64))
    return net


def hooked():
    net = Net()
    net.fc.register_forward_hook(lambda layer, args, output: output * 2)
    return net


REASONS = {
    "item()": ReadsAValue,
    "an if or while": BranchesOnData,
    "forward changes calls": Counts,
    "random numbers of Python": DrawsInPython,
    "random numbers of NumPy": DrawsInNumPy,
    "float()": Cumulative,
    "forward changes mean": ReplacesABuffer,
    "changes something unseen": SetsData,
    "by a condition": Picks,
    "not today": Raises,
    "several types": complex_weights,
    "hooks": hooked,
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_reason_is_said(reason, bench, blobs):
    trial = bench.trial(REASONS[reason])
    found = why_not(bench.member(0, trial), blobs, device="cpu")
    assert found is not None
    assert reason in found
    with pytest.raises(CannotStack):
        bench.stack(blobs, 2).add(bench.member(0, trial))


@pytest.mark.parametrize("build", [PicksRows, OwnFunction])
def test_odd_functions_are_right_or_refused(build, bench, blobs):
    trials = [bench.trial(build, seed=at) for at in range(2)]
    if why_not(bench.member(0, trials[0]), blobs, device="cpu") is None:
        bench.assert_equal(*bench.both(trials, blobs, 2))


def test_a_plain_module_has_no_reason(bench, blobs):
    assert why_not(bench.member(0, bench.trial(Net)), blobs, device="cpu") is None


def keys(bench, data, *trials):
    return [group_key(bench.member(0, trial), data, device="cpu") for trial in trials]


def test_trials_that_differ_in_rates_and_settings_share_a_key(bench, blobs):
    def dropping(rate):
        return lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(rate), nn.Linear(8, 3))

    one, other = keys(
        bench,
        blobs,
        bench.trial(dropping(0.0), seed=1, optimizer="sgd", lr=0.1, epochs=3),
        bench.trial(dropping(0.9), seed=2, optimizer="adam", clip=1.0, weight_decay=0.1),
    )
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    "other",
    [
        {"build": lambda: Net(16)},
        {"build": lambda: Net(slope=0.2)},
        {"batch_size": 16},
        {"loss": "nll"},
        {"amp": True},
        {"build": lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))},
    ],
)
def test_what_a_stack_shares_is_in_the_key(other, bench, blobs):
    one, two = keys(bench, blobs, bench.trial(Net), bench.trial(**{"build": Net, **other}))
    assert one != two


def test_a_word_that_is_not_in_the_vocabulary_is_never_another_trials(bench, open_value):
    data = open_value((np.array([[0], [1], [2], [9]] * 10), np.arange(40) % 2))
    build = lambda: nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(4, 1))  # noqa: E731
    with pytest.raises(CannotStack, match="out of range"):
        bench.stack(data, 2).add(bench.member(0, bench.trial(build)))


def test_a_stack_lets_no_stranger_in(bench, blobs):
    stack = bench.stack(blobs, 3)
    stack.add(bench.member(0, bench.trial(Net)))
    with pytest.raises(CannotStack, match="differ"):
        stack.add(bench.member(1, bench.trial(lambda: nn.Sequential(Net(8), nn.ReLU()))))
    assert stack.numbers == (0,)


def test_a_full_stack_lets_nobody_in(bench, blobs):
    stack = bench.stack(blobs, 1)
    stack.add(bench.member(0, bench.trial(Net)))
    with pytest.raises(CannotStack, match="slots are taken"):
        stack.add(bench.member(1, bench.trial(Net)))


def test_an_empty_stack_takes_another_structure(bench, blobs):
    stack = bench.stack(blobs, 2)
    for at, hidden in enumerate((8, 16)):
        stack.add(bench.member(at, bench.trial(lambda hidden=hidden: Net(hidden), epochs=1)))
        assert [number for number, _ in stack.run()] == [at]
