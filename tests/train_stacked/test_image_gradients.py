"""Gradients of images without autograd, beside autograd's, in double precision; and relu behind pooling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.train.stacked.direct import direct_of
from nbautoml.train.stacked.images import channels_last, halves
from nbautoml.train.stacked.losses import stacked_loss
from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.program import Program
from nbautoml.train.stacked.reordered import pooled_first
from nbautoml.train.stacked.tape import Op, record

CPU = torch.device("cpu")
N_ROWS, N_CLASSES = 6, 3


def net(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(N_CLASSES))


NETS = {
    "strides, padding": lambda: net(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh()),
    "dilation": lambda: net(nn.Conv2d(2, 3, 3, dilation=2), nn.Sigmoid()),
    "groups": lambda: net(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.SiLU()),
    "one channel, max": lambda: net(nn.Conv2d(2, 1, 3), nn.ReLU(), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "overlapping max": lambda: net(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
    "ceiled max": lambda: net(nn.Conv2d(2, 4, 3), nn.MaxPool2d(4, ceil_mode=True)),
    "average": lambda: net(nn.Conv2d(2, 4, 3), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "global average": lambda: net(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d((None, 1))),
    "batch norm": lambda: net(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "rows normed": lambda: net(nn.Flatten(), nn.Linear(128, 5), nn.BatchNorm1d(5, affine=False)),
    "dropped channels": lambda: net(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.5)),
    "in one dimension": lambda: net(nn.Flatten(2), nn.Conv1d(2, 4, 5, stride=3), nn.ReLU()),
}  # fmt: skip


def built(make):
    torch.manual_seed(0)
    module, x = make().double().train(), torch.randn(N_ROWS, 2, 8, 8, dtype=torch.float64)
    module(x)  # lazy layers learn their shapes
    return module, x


def stacked_of(module, scales):
    named = (*module.named_parameters(), *module.named_buffers())
    return {
        name: torch.stack([value.detach() * scale if value.is_floating_point() else value for scale in scales])
        for name, value in named
    }  # fmt: skip


@pytest.mark.parametrize("scales", [(1.0,), (1.0, -0.5, 2.0)], ids=["alone", "three"])
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_autograd(name, scales):
    module, x = built(NETS[name])
    tape = Program(record(module, x)[0]).tape
    trained = [name for name, _ in module.named_parameters()]
    stacked, again = stacked_of(module, scales), stacked_of(module, scales)
    leaves = {name: stacked[name].requires_grad_() for name in trained}
    n = len(scales)
    inputs = [torch.randn(n, *x.shape, dtype=x.dtype)]
    target = torch.randint(0, N_CLASSES, (n, N_ROWS))
    draws = Draws([2.0 * (torch.rand(n, N_ROWS, 4, 1, 1, dtype=x.dtype) > 0.5) for _ in tape.rates])
    loss = stacked_loss("multiclass", None, None)
    losses = loss(Program(tape)([inputs[0].clone()], stacked, draws), target)
    expected = torch.autograd.grad(losses.sum(), list(leaves.values()))
    into = {name: torch.full_like(leaf, torch.nan) for name, leaf in leaves.items()}
    with torch.inference_mode():
        found = direct_of(tape, trained, CPU)(inputs, again, draws, target, loss, into)
    torch.testing.assert_close(found, losses.detach())
    for own, other in zip(into.values(), expected, strict=True):
        torch.testing.assert_close(own, other)
    for name, _ in module.named_buffers():
        torch.testing.assert_close(again[name], stacked[name])


@pytest.mark.parametrize("is_in_place", [False, True])
def test_a_block_that_is_added_is_known(is_in_place):
    class Blocks(nn.Sequential):
        def __init__(self):
            super().__init__(Headless(is_in_place), nn.Linear(4, N_CLASSES))

    module, x = built(Blocks)
    tape = record(module, x)[0]
    trained = [name for name, _ in module.named_parameters()]
    target = torch.randint(0, N_CLASSES, (N_ROWS,))
    expected = torch.autograd.grad(F.cross_entropy(module(x), target), module.parameters())
    into = {
        name: torch.empty(1, *value.shape).double() for name, value in module.named_parameters()
    }
    values = {name: value.detach().unsqueeze(0) for name, value in module.named_parameters()}
    direct = direct_of(tape, trained, CPU)
    direct([x.unsqueeze(0)], values, Draws(), target.unsqueeze(0), stacked_loss("multiclass", None, None), into)  # fmt: skip
    for own, other in zip(into.values(), expected, strict=True):
        torch.testing.assert_close(own[0], other)


class Headless(nn.Module):
    def __init__(self, is_in_place):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.is_in_place = is_in_place

    def forward(self, x):
        x = F.relu(self.first(x))
        found = self.second(x)
        if self.is_in_place:
            found += x
        else:
            found = torch.add(x, found)
        return F.adaptive_avg_pool2d(found, 1).flatten(1)


def test_on_a_gpu_convolutions_of_all_trials_stay_one_call():
    module, x = built(NETS["strides, padding"])
    trained = [name for name, _ in module.named_parameters()]
    assert direct_of(record(module, x)[0], trained, torch.device("cuda")) is None


# -- relu behind pooling --------------------------------------------------------------------


def names(tape):
    return [getattr(op.function, "__name__", "") for op in tape.ops]


def test_relu_goes_behind_the_pooling_that_alone_reads_it():
    module, x = built(lambda: net(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)))
    tape, output = record(module, x)
    before, after = tape, pooled_first(tape)
    assert names(before)[1:3] == ["relu", "max_pool2d"]
    assert names(after)[1:3] == ["max_pool2d", "relu"]
    assert after.ops[2].shapes == ((N_ROWS, 4, 3, 3),)
    stacked = {name: value.detach().unsqueeze(0) for name, value in module.named_parameters()}
    with torch.no_grad():
        found = Program(tape)([x.unsqueeze(0)], stacked, Draws())[0]
    torch.testing.assert_close(found, output.detach())


class TwoReaders(nn.Module):
    def __init__(self, *, of_relu):
        super().__init__()
        self.conv, self.of_relu = nn.Conv2d(2, 4, 3), of_relu

    def forward(self, x):
        before = self.conv(x)
        after = F.relu(before)
        read = after if self.of_relu else before
        return F.max_pool2d(after, 2).mean((2, 3))[:, :3] + read.mean((2, 3))[:, :3]


@pytest.mark.parametrize("of_relu", [True, False])
def test_what_another_reads_stays_where_it_is(of_relu):
    module, x = built(lambda: TwoReaders(of_relu=of_relu))
    tape = record(module, x)[0]
    assert names(pooled_first(tape)) == names(tape)


def test_a_pooling_that_gives_places_stays_where_it_is():
    module, x = built(lambda: net(nn.Conv2d(2, 4, 3), nn.ReLU(), WithPlaces()))
    tape = record(module, x)[0]
    assert names(pooled_first(tape)) == names(tape)


class WithPlaces(nn.Module):
    def forward(self, x):
        return F.max_pool2d(x, 2, return_indices=True)[0]


# -- layouts --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_convolution_of_any_channels_gives_images_with_channels_last(n_channels):
    kernel = channels_last(torch.randn(4, n_channels, 3, 3))
    out = F.conv2d(torch.randn(2, n_channels, 8, 8), kernel)
    assert out.stride(1) == 1


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(("args", "kwargs"), [((2,), {}), (((2, 2), 2), {}), ((), {"kernel_size": 2, "stride": 2})])  # fmt: skip
def test_two_by_two_is_pooled_by_comparing_neighbours(size, args, kwargs):
    x = torch.randn(2, 3, size, size, 4).permute(0, 1, 4, 2, 3)
    op = Op(F.max_pool2d, (), {}, (), ((3, 4, size // 2, size // 2),))
    with torch.no_grad():
        found = halves(op, x, *args, **kwargs)
    assert torch.equal(found.flatten(0, 1), F.max_pool2d(x.flatten(0, 1), 2))


@pytest.mark.parametrize("kwargs", [{"kernel_size": 3}, {"kernel_size": 2, "stride": 1}, {"kernel_size": 2, "padding": 1},
                                    {"kernel_size": 2, "ceil_mode": True}, {"kernel_size": 2, "return_indices": True}])  # fmt: skip
def test_any_other_pooling_is_left_to_torch(kwargs):
    x = torch.randn(2, 3, 8, 8, 4).permute(0, 1, 4, 2, 3)
    with torch.no_grad():
        assert halves(Op(F.max_pool2d, (), {}, (), ((3, 4, 4, 4),)), x, **kwargs) is None
