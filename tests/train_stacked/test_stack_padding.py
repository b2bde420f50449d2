"""Trials whose layers differ in width share a stack, padded with zeros, and keep their own numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.spec.fit import OPTIMIZERS
from nbautoml.train.stacked import CannotStack


class Mlp(nn.Module):
    def __init__(self, hidden=16, second=8, dropout=0.0, activation=F.relu):
        super().__init__()
        self.first = nn.Linear(4, hidden)
        self.second = nn.Linear(hidden, second)
        self.out = nn.Linear(second, 3)
        self.drop = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, x):
        x = self.drop(self.activation(self.first(x)))
        return self.out(self.drop(self.activation(self.second(x))))


class Convolutional(nn.Module):
    def __init__(self, channels, hidden, dropout=0.0):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(channels * 16, hidden)
        self.out = nn.Linear(hidden, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.out(F.relu(self.fc(self.drop(x).flatten(1))))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inward = nn.Linear(4, width)
        self.inner = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        x = torch.tanh(self.inward(x))
        return self.out(x + self.scale * F.gelu(self.inner(x)))


WIDEST_FIRST = ((16, 12), (5, 12), (11, 3), (16, 12), (7, 7), (1, 1), (3, 12))


@pytest.mark.parametrize("activation", [F.relu, torch.sigmoid, torch.tanh])
def test_widths_differ_and_numbers_do_not(activation, bench, blobs):
    trials = [
        bench.trial(
            lambda widths=widths, at=at: Mlp(
                *widths, dropout=(0.0, 0.3)[at % 2], activation=activation
            ),
            seed=at,
            optimizer=OPTIMIZERS[at],
            weight_decay=(0.0, 1e-2)[at % 2],
            clip=(None, 0.1)[at % 2],
            epochs=3,
            batch_size=20,
        )
        for at, widths in enumerate(WIDEST_FIRST)
    ]
    alone, stacked = bench.both(trials, blobs, 4)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


def test_weights_come_out_in_the_trials_own_shapes(bench, blobs):
    trials = [bench.trial(lambda n=n: Mlp(n, 6)) for n in (16, 5)]
    stacked = bench.stacked(trials, blobs, 2)
    assert [tuple(o.result.state_dict["first.weight"].shape) for o in stacked] == [(16, 4), (5, 4)]


def test_channels_of_convolutions_with_batch_norm_differ(bench, images):
    trials = [
        bench.trial(lambda s=s: Convolutional(*s, dropout=0.2), seed=at, epochs=3)
        for at, s in enumerate([(6, 16), (3, 16), (5, 9), (1, 2)])
    ]
    alone, stacked = bench.both(trials, images, 4)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


def test_residual_widths_differ(bench, blobs):
    trials = [bench.trial(lambda n=n: Residual(n), seed=n) for n in (9, 4, 8)]
    alone, stacked = bench.both(trials, blobs, 3)
    bench.assert_equal(alone, stacked)


class Normed(Mlp):
    def __init__(self, hidden):
        super().__init__(hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x):
        return self.out(self.second(self.norm(self.first(x))))


class Softened(Mlp):
    def forward(self, x):
        return self.out(self.second(self.first(x).softmax(-1)))


class Inverted(Mlp):
    def forward(self, x):
        return self.out(self.second((1 + self.first(x).abs()).log().sqrt()))


class Meaned(Mlp):
    def forward(self, x):
        return self.out(self.second(self.first(x))) + self.first(x).mean(1, keepdim=True)


@pytest.mark.parametrize("kind", [Normed, Softened, Inverted, Meaned])
def test_what_looks_across_units_is_not_padded(kind, bench, blobs):
    stack = bench.stack(blobs, 2)
    stack.add(bench.member(0, bench.trial(lambda: kind(16))))
    with pytest.raises(CannotStack):
        stack.add(bench.member(1, bench.trial(lambda: kind(12))))


def test_trial_wider_than_the_stack_is_refused(bench, blobs):
    stack = bench.stack(blobs, 2)
    stack.add(bench.member(0, bench.trial(lambda: Mlp(8))))
    with pytest.raises(CannotStack, match="wider"):
        stack.add(bench.member(1, bench.trial(lambda: Mlp(9))))


class Heads(nn.Module):
    """The same layers, cut up in another way."""

    def __init__(self, n):
        super().__init__()
        self.n = n
        self.inward, self.out = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x):
        parts = self.inward(x).reshape(len(x), self.n, 16 // self.n)
        return self.out((parts * torch.softmax(parts, -1)).flatten(1))


def test_other_cuts_of_the_same_width_are_no_padding(bench, blobs):
    stack = bench.stack(blobs, 2)
    stack.add(bench.member(0, bench.trial(lambda: Heads(4))))
    with pytest.raises(CannotStack):
        stack.add(bench.member(1, bench.trial(lambda: Heads(2))))
