"""A shallower student: which blocks may go, which do go, and that it learns and is kept like any other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.compress import Distillation, apply_techniques
from nbautoml.compress.saved import dump_module, load_module
from nbautoml.compress.shallower import blocks_that_may_go, shallower
from nbautoml.errors import CompressError
from nbautoml.measure import call, count_weights, export_onnx, largest_difference, open_onnx
from nbautoml.testing import small_networks
from nbautoml.testing.small_networks import NETWORKS

BLOCKS = {
    "mlp": ["layers.2"],
    "cnn": [],
    "residual": ["blocks.0", "blocks.1.second.0"],  # a block, and a convolution of another
    "lstm": [],
    "transformer": ["layers.0", "layers.1"],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_that_hand_on_their_shape_may_go(name, build):
    found = blocks_that_may_go(build(name), NETWORKS[name].example(4))
    assert list(found) == BLOCKS[name]
    assert all(change > 0 for change in found.values())


class Tower(nn.Module):
    """Four blocks, the third of which does almost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
        self.out = nn.Linear(8, 3)
        with torch.no_grad():
            self.blocks[2].weight.copy_(torch.eye(8) * 1.001)
            self.blocks[2].bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.blocks(x))


def test_the_block_that_does_least_goes_first():
    torch.manual_seed(0)
    tower = Tower()
    student = shallower(tower, torch.randn(16, 8), share=0.25)
    assert [type(block).__name__ for block in student.blocks] == [
        "Linear", "Linear", "Identity", "Linear",
    ]  # fmt: skip
    assert isinstance(tower.blocks[2], nn.Linear)


def test_half_of_the_blocks_go():
    torch.manual_seed(0)
    student = shallower(Tower(), torch.randn(16, 8))
    assert sum(isinstance(block, nn.Identity) for block in student.blocks) == 2


class Encoding(nn.Module):
    """An encoder as torch has it: a list of layers, of which it asks more than to be called."""

    def __init__(self, n_layers: int = 4) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.encoder(x).mean(1))


def test_layers_of_an_encoder_go_and_not_the_encoder():
    torch.manual_seed(0)
    encoding, example = Encoding(), torch.randn(6, 5, 8)
    assert list(blocks_that_may_go(encoding, example)) == [
        f"encoder.layers.{at}" for at in range(4)
    ]
    with torch.no_grad():
        for weight in encoding.encoder.layers[1].parameters():
            weight.mul_(1.5)  # it does more than the others
    student = shallower(encoding, example, share=0.75)
    assert len(student.encoder.layers) == 1
    assert torch.equal(
        student.encoder.layers[0].linear1.weight, encoding.encoder.layers[1].linear1.weight
    )
    assert len(encoding.encoder.layers) == 4


@pytest.mark.parametrize("n_layers", [2, 3])
def test_an_encoder_of_fewer_layers_comes_back_from_its_file(n_layers):
    student = shallower(Encoding(n_layers), torch.randn(6, 5, 8)).eval()
    example = torch.randn(3, 5, 8)
    again = load_module(dump_module(student, globals()), globals())
    assert torch.equal(again(example), student(example))
    assert largest_difference(student, open_onnx(export_onnx(student, example)), example) < 1e-4


@pytest.mark.parametrize("name", ["mlp", "residual", "transformer"])
def test_a_shallow_student_learns_is_smaller_and_comes_back_from_its_file(name, build, bench_for):
    network, module = NETWORKS[name], build(name)
    bench = bench_for(module, network.example(48))
    piece = apply_techniques(module, [Distillation(student="shallow", epochs=1)], bench)
    assert count_weights(piece.module).value < 0.9 * count_weights(module).value
    example = network.example(5)
    with torch.no_grad():
        output = call(piece.module, example)
        again = call(
            load_module(dump_module(piece.module, vars(small_networks)), vars(small_networks)),
            example,
        )
    assert output.shape == (5, 3)
    assert torch.equal(output, again)
    exported = open_onnx(export_onnx(piece.module, network.example(4)))
    assert largest_difference(piece.module, exported, example) < 1e-4


def test_without_such_a_block_it_is_refused_with_a_way_out(build, bench_for):
    module = build("cnn")
    bench = bench_for(module, NETWORKS["cnn"].example(48))
    with pytest.raises(CompressError, match="no shallower Plain can be made") as told:
        apply_techniques(module, [Distillation(student="shallow", epochs=1)], bench)
    assert "narrower" in told.value.hint
