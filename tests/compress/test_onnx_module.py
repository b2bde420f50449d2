"""A file that is called like its module: any layout of inputs and outputs, copied by its bytes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.errors import UsageError
from nbautoml.measure import export_onnx, measure


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


def test_it_is_measured_by_its_own_file(pair):
    _, quick = pair
    found = measure(quick, (LEFT, RIGHT), batch_sizes=(1, 5), seconds=0.01)
    assert found["onnx_bytes"].value == len(quick.data)
    assert found["onnx_5_p50"].n >= 20
    assert found["onnx_5_p50"].method.startswith("median; ONNX Runtime, batch of 5")
    assert {"onnx_1_p50", "onnx_1_p95", "onnx_5_p95"} <= set(found)


def test_what_a_file_does_not_have_is_left_out_and_said_so(pair):
    _, quick = pair
    found = measure(quick, (LEFT, RIGHT), batch_sizes=(2,), seconds=0.01, should_compile=True)
    assert not {"weights", "nonzero", "macs", "peak_memory"} & set(found)
    assert not [name for name in found if name.startswith(("eager", "compile"))]
    (note,) = [note for note in found.notes if "ONNX file" in note]
    assert "weights" in note
    assert "the module that it was made from" in note


def test_a_file_of_a_run_is_measured_beside_any_number_of_threads(pair):
    _, quick = pair
    found = measure(quick, (LEFT, RIGHT), batch_sizes=(2,), seconds=0.01, n_threads=2)
    assert "2 threads" in found["onnx_2_p50"].method
