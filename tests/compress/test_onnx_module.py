"""A file that is called like its module: any layout of inputs and outputs, copied by its bytes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.errors import UsageError
from nbautoml.measure import export_onnx


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, left, right):
        found = self.fc(left)
        return {"left": found, "both": (found + self.fc(right),)}


LEFT, RIGHT = torch.randn(3, 4), torch.randn(3, 4)


@pytest.fixture(scope="module")
def pair():
    net = Pair()
    return net, OnnxModule.like(export_onnx(net, (LEFT, RIGHT)), net, (LEFT, RIGHT))


def test_inputs_may_be_given_by_place_or_by_name(pair):
    _, quick = pair
    assert torch.equal(quick(LEFT, RIGHT)["left"], quick(right=RIGHT, left=LEFT)["left"])


def test_outputs_lie_as_the_module_returned_them(pair):
    net, quick = pair
    found = quick(LEFT[:1], RIGHT[:1])
    torch.testing.assert_close(found["both"][0], net(LEFT[:1], RIGHT[:1])["both"][0].detach())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
def test_a_copy_says_the_same(pair, again):
    _, quick = pair
    expected = quick(LEFT, RIGHT)["left"]
    assert torch.equal(again(quick)(LEFT, RIGHT)["left"], expected)


def test_a_missing_input_is_named(pair):
    with pytest.raises(UsageError, match="takes left, right"):
        pair[1](LEFT)


def test_it_cannot_be_trained(pair):
    with pytest.raises(UsageError, match="cannot be trained"):
        pair[1].train()


def test_it_has_no_gradients(pair):
    with pytest.raises(UsageError, match="no gradients"):
        pair[1](LEFT.clone().requires_grad_(), RIGHT)
