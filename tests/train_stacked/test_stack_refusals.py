"""What cannot be stacked is refused with the reason, and only that."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.train import setup
from nbautoml.train.precision import Precision
from nbautoml.train.stacked import CannotStack, group_key, why_not
from nbautoml.train.stacked.rules import RULES
from nbautoml.train.stacked.tape import MAX_CONSTANT


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


def hooked_weight():
    net = Net()
    net.fc.weight.register_hook(lambda grad: grad * 2)
    return net


def sparse():
    net = Net()
    net.register_buffer("links", torch.eye(3).to_sparse())
    return net


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


class Out(Net):
    def forward(self, x):
        kept = torch.empty(len(x), 4)
        torch.mul(x, 2, out=kept)
        return super().forward(kept)


class Seeds(Net):
    def forward(self, x):
        torch.manual_seed(0)  # so that each batch is dropped alike
        return super().forward(F.dropout(x, 0.5, self.training))


LARGE = torch.zeros(MAX_CONSTANT + 1)


class UsesALargeTensor(Net):
    def forward(self, x):
        return super().forward(x) + LARGE.sum()


class Straight(torch.autograd.Function):
    """The identity, with a gradient that only this class knows: a stack sees no more than clone()."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class StraightAtTheEnd(Net):
    def forward(self, x):
        return Straight.apply(super().forward(x))


class StraightInTheMiddle(Net):
    def forward(self, x):
        return self.out(Straight.apply(self.fc(x)))


class StraightBeside(Net):
    def forward(self, x):
        x = self.fc(x)
        return self.out(x + Straight.apply(x))


def reading(read):
    """A module whose forward multiplies by what it reads of a tensor."""

    class Reads(Net):
        def forward(self, x):
            return super().forward(x) * (1.0 + 0.0 * read(x.detach().flatten()[0]))

    return Reads


READS = {
    "tolist()": lambda x: x.tolist(),
    "numpy()": lambda x: float(x.numpy()),
    "numpy:": lambda x: float(np.asarray(x)),
    "int()": int,
    "complex()": lambda x: complex(x).real,
    "an index": lambda x: [0, 1][(x > 0).long()],
    "torch.equal": lambda x: torch.equal(x, x + 1),
    "torch.allclose": lambda x: torch.allclose(x, x + 1),
    "is_nonzero": torch.is_nonzero,
    "with in": lambda x: 7.0 in x,
    "with a text": lambda x: len(f"{x}") + len(repr(x)),
}
REASONS = {
    **{reason: reading(read) for reason, read in READS.items()},
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
    "layer fc has hooks": hooked,
    "weights of layer 'fc' have hooks": hooked_weight,
    "sparse": sparse,
    "forward returns a tuple, not one tensor": Pair,
    "torch.mul with out=": Out,
    "the seed of torch's generator": Seeds,
    "neither a parameter nor a buffer": UsesALargeTensor,
    "its stacked step raised RuntimeError: element 0 of tensors does not": StraightAtTheEnd,
    "no gradient reaches fc.weight in the stack": StraightInTheMiddle,
    "its stacked gradient of fc.weight differs by": StraightBeside,
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_reason_is_said(reason, bench, blobs):
    trial = bench.trial(REASONS[reason])
    found = why_not(bench.member(0, trial), blobs, device="cpu")
    assert found is not None
    assert reason in found
    with pytest.raises(CannotStack):
        bench.stack(blobs, 2).add(bench.member(0, trial))


def test_gradients_that_must_be_scaled_are_no_stacks(bench, blobs, monkeypatch):
    scaled = Precision(device_type="cpu", dtype=torch.bfloat16, scaler=torch.amp.GradScaler("cpu"))
    monkeypatch.setattr(setup, "precision_for", lambda amp, device, n_weights: scaled)
    found = why_not(bench.member(0, bench.trial(Net)), blobs, device="cpu")
    assert "float16 with scaled gradients" in found


class EndsInTanh(Net):
    def forward(self, x):
        x = super().forward(x)
        return x if self.training else torch.tanh(x)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (lambda op, x: x, "output in evaluation differs by"),
        (lambda op, x: torch.tanh(x)[..., :1], "output in evaluation has another shape"),
    ],
)
def test_a_wrong_rule_of_ours_is_found_out(rule, reason, bench, blobs, monkeypatch):
    """Shapes first: numbers of one column would be compared with those of three, which torch allows."""
    monkeypatch.setitem(RULES, torch.tanh, rule)
    found = why_not(bench.member(0, bench.trial(EndsInTanh)), blobs, device="cpu")
    assert reason in found


class Roots(Net):
    def forward(self, x):
        return self.out(self.fc(x).abs().sqrt())


class Products(nn.Module):
    """With one hidden unit, that unit is multiplied with all four: padded to four it would be zero."""

    def __init__(self, hidden):
        super().__init__()
        self.one, self.four, self.out = nn.Linear(4, hidden), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.one(x) * self.four(x))


@pytest.mark.parametrize(
    ("build", "wide", "narrow", "reason"),
    [
        (Roots, 16, 8, "gradient of fc.weight isn't finite where it is padded"),
        (Products, 4, 1, "its stacked padded output differs by"),
    ],
)
def test_what_padding_would_change_is_refused(build, wide, narrow, reason, bench, blobs):
    stack = bench.stack(blobs, 2)
    stack.add(bench.member(0, bench.trial(lambda: build(wide))))
    with pytest.raises(CannotStack, match=reason):
        stack.add(bench.member(1, bench.trial(lambda: build(narrow))))
    assert stack.numbers == (0,)


def test_what_a_padded_step_raises_is_a_reason(bench, blobs):
    calls = []

    def loss(output, target):
        calls.append(1)
        if n_allowed is not None and len(calls) > n_allowed:
            raise ValueError("enough")
        return F.cross_entropy(output, target)

    n_allowed = None
    stack = bench.stack(blobs, 2, loss=loss)
    stack.add(bench.member(0, bench.trial(lambda: Net(16))))
    n_allowed = len(calls)
    with pytest.raises(CannotStack, match="its padded step raised ValueError: enough"):
        stack.add(bench.member(1, bench.trial(lambda: Net(8))))


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
