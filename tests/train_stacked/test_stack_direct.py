"""Gradients of a stack without autograd: the same numbers, or none at all."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.train.stacked.direct import direct_of
from nbautoml.train.stacked.losses import stacked_loss
from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.optimizers import Updater
from nbautoml.train.stacked.program import Program
from nbautoml.train.stacked.tape import record

N_TRIALS, N_ROWS = 3, 16
CPU = torch.device("cpu")


class Both(nn.Module):
    """A layer whose output is used, one whose isn't, and one that is read twice."""

    def __init__(self):
        super().__init__()
        self.fc, self.idle, self.out = nn.Linear(8, 6), nn.Linear(8, 2), nn.Linear(6, 4)

    def forward(self, x):
        self.idle(x)
        return self.out(F.silu(self.fc(x)))


class Frozen(nn.Sequential):
    """Its first layer is not trained."""

    def __init__(self):
        super().__init__(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))
        self[0].requires_grad_(False)


class Tied(nn.Module):
    """One layer, used twice."""

    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.out(self.fc(self.fc(x)))


class Skip(nn.Module):
    """Writes into what another function reads."""

    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        hidden = self.fc(x)
        return self.out(F.relu(hidden, inplace=True)) + hidden[:, :4]


KNOWN = {
    "mlp": lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 4)),
    "no biases": lambda: nn.Sequential(nn.Linear(8, 6, bias=False), nn.Sigmoid(), nn.Linear(6, 4)),
    "flattened": lambda: nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Linear(4, 5), nn.Flatten(),
                                       nn.ReLU(inplace=True), nn.Linear(10, 4)),
    "batch norm": lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4)),
    "an idle layer": Both,
    "a frozen layer": Frozen,
}  # fmt: skip
NOT_KNOWN = {
    "an image alone": lambda: nn.Sequential(nn.Conv1d(16, 16, 5), nn.Flatten()),
    "a layer norm": lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4)),
    "one layer twice": Tied,
    "written into": Skip,
}  # fmt: skip


def taped(make):
    torch.manual_seed(0)
    module = make().train()
    return module, record(module, torch.randn(N_ROWS, 8))[0]


def columns_for(leaves):
    """Where gradients go in a stack: columns of one matrix."""
    flat = torch.full((N_TRIALS, sum(leaf[0].numel() for leaf in leaves.values())), torch.nan)
    found, at = {}, 0
    for name, leaf in leaves.items():
        found[name] = flat[:, at : at + leaf[0].numel()].view(leaf.shape)
        at += leaf[0].numel()
    return found


def both_ways(make, loss, target):
    """Losses and gradients, by autograd and directly."""
    module, tape = taped(make)
    stacked = {
        name: torch.stack([value.detach() * scale for scale in (1.0, 0.5, -2.0)])
        for name, value in module.named_parameters()
    }
    for name, value in module.named_buffers():
        stacked[name] = torch.stack([value] * N_TRIALS)
    used = [n for n, p in module.named_parameters() if p.requires_grad and not n.startswith("idle")]
    leaves = {name: stacked[name].requires_grad_() for name in used}
    inputs = [torch.randn(N_TRIALS, N_ROWS, 8)]
    draws = Draws([(torch.rand(N_TRIALS, N_ROWS, 6) > 0.4) / 0.6 for _ in tape.rates])
    losses = loss(Program(tape)(inputs, stacked, draws), target)
    expected = torch.autograd.grad(losses.sum(), list(leaves.values()))
    into = columns_for(leaves)
    with torch.inference_mode():  # as in a stack
        found = direct_of(tape, used, CPU)(inputs, stacked, draws, target, loss, into)
    return (losses, *expected), (found, *into.values())


@pytest.mark.parametrize("make", KNOWN.values(), ids=KNOWN)
def test_gradients_are_those_of_autograd_bit_for_bit(make):
    target = torch.randint(0, 4, (N_TRIALS, N_ROWS))
    expected, found = both_ways(make, stacked_loss("multiclass", None, None), target)
    assert all(map(torch.equal, expected, found))


@pytest.mark.parametrize("smoothing", [None, torch.tensor([0.0, 0.1, 0.3])])
@pytest.mark.parametrize("weights", [None, torch.rand(N_TRIALS, 4) + 0.5])
def test_smoothed_and_weighted_losses_are_the_same_too(smoothing, weights):
    target = torch.randint(0, 4, (N_TRIALS, N_ROWS))
    loss = stacked_loss("multiclass", None, smoothing, weights)
    expected, found = both_ways(KNOWN["mlp"], loss, target)
    assert all(map(torch.equal, expected, found))


def of_the_users_own(output, target):
    return ((output - target) ** 4).mean()


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", of_the_users_own])
def test_other_losses_are_left_to_autograd_and_agree(loss):
    target = torch.randn(N_TRIALS, N_ROWS, 4)
    expected, found = both_ways(KNOWN["mlp"], stacked_loss("regression", loss, None), target)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("make", NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_what_is_not_known_is_left_to_autograd(make):
    module, tape = taped(make)
    assert direct_of(tape, [name for name, _ in module.named_parameters()], CPU) is None


def test_a_weight_that_gets_no_gradient_directly_is_left_to_autograd():
    _, tape = taped(Both)
    assert direct_of(tape, ["fc.weight", "elsewhere"], CPU) is None


def test_a_stack_of_small_models_does_without_autograd(bench, digits):
    net = lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))  # noqa: E731
    stack = bench.stack(digits, 2)
    stack.add(bench.member(0, bench.trial(net)))
    group, _ = stack._inside()
    assert group.direct(group.program(32, is_training=True)) is not None


@pytest.mark.parametrize(
    ("net", "is_direct"),
    [
        (lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)), True),
        (lambda: nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 10)), False),
    ],
    ids=["directly", "by autograd"],
)
def test_only_steps_without_autograd_are_made_in_inference_mode(
    bench, digits, monkeypatch, net, is_direct
):
    seen = []
    step = Updater.step

    def watched(self):
        seen.append(torch.is_inference_mode_enabled())
        step(self)

    monkeypatch.setattr(Updater, "step", watched)
    stack = bench.stack(digits, 2)
    stack.add(bench.member(0, bench.trial(net)))
    stack.step_epoch()
    assert set(seen) == {is_direct}
