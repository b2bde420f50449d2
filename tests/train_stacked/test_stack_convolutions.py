"""A stack's convolution as one of many groups, which GPUs are given, beside one call a trial."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nbautoml.train.stacked.rules import conv_each, conv_grouped
from nbautoml.train.stacked.tape import Op

K, B, SIZE = 3, 5, 9
OPTIONS = {
    "plain": {},
    "stride and padding": {"stride": 2, "padding": 1},
    "same size": {"padding": "same"},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "padding": 1},
}


def tensors(n_spatial, groups):
    """Inputs, weights and biases of K trials."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(K, B, 4, *[SIZE] * n_spatial), (K, 8, 4 // groups, *[3] * n_spatial), (K, 8)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def computed(way, op, given, args, kwargs):
    leaves = [None if item is None else item.clone().requires_grad_() for item in given]
    out = way(op, *leaves, *args, **kwargs)
    asked = [leaf for leaf in leaves if leaf is not None]
    return out, torch.autograd.grad((out**2).sum(), asked)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("function", "n_spatial"), [(F.conv1d, 1), (F.conv2d, 2)])
def test_one_grouped_convolution_is_one_a_trial(function, n_spatial, name, has_bias):
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **OPTIONS[name]}
    x, weight, bias = tensors(n_spatial, options["groups"])
    given = (x, weight, bias if has_bias else None)
    op = Op(function, (), {}, (), ())
    expected, gradients = computed(conv_each, op, given, (), options)
    assert expected.shape[:3] == (K, B, 8)
    # As nn.Conv2d calls it, as people do, and what they leave out.
    for args, kwargs in ((tuple(options.values()), {}), ((), options), ((), OPTIONS[name])):
        found, ours = computed(conv_grouped, op, given, args, kwargs)
        torch.testing.assert_close(found, expected)
        for own, other in zip(ours, gradients, strict=True):
            torch.testing.assert_close(own, other)
