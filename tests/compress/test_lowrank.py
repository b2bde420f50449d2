"""Layers as two thinner ones: how near they are, and where it is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.compress import LowRank, apply_techniques
from nbautoml.compress.lowrank import factorise, rank_for_energy, split_layer
from nbautoml.errors import CompressError
from nbautoml.testing.small_networks import NETWORKS


@pytest.mark.parametrize("energy", [0.3, 0.9, 0.999])
def test_the_error_is_the_energy_that_was_left_out(energy):
    matrix = torch.randn(12, 20, generator=torch.Generator().manual_seed(0)).double()
    left, right = factorise(matrix, energy)
    singular = torch.linalg.svdvals(matrix)
    rank = rank_for_energy(singular, energy)
    assert left.shape == (12, rank)
    lost = (matrix - left @ right).square().sum() / matrix.square().sum()
    torch.testing.assert_close(lost, singular[rank:].square().sum() / singular.square().sum())
    assert float(lost) <= 1 - energy + 1e-9


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(24, 16), torch.randn(3, 24)),
        (nn.Conv2d(8, 16, 3, stride=2, padding=1), torch.randn(2, 8, 9, 9)),
        (nn.Conv2d(8, 16, (1, 3), padding="same", bias=False), torch.randn(2, 8, 5, 5)),
        (
            nn.Conv1d(8, 16, 5, dilation=2, padding_mode="circular", padding=4),
            torch.randn(2, 8, 20),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_of_low_rank_is_split_without_loss(layer, inputs):
    with torch.no_grad():
        shape = layer.weight.shape
        flat = torch.randn(shape[0], 2) @ torch.randn(2, layer.weight[0].numel())
        layer.weight.copy_(flat.reshape(shape) / 4)
    split = split_layer(layer, 0.999999)
    assert sum(w.numel() for w in split.parameters()) < sum(w.numel() for w in layer.parameters())
    torch.testing.assert_close(split(inputs), layer(inputs), rtol=1e-3, atol=1e-4)


def test_a_layer_is_left_alone_where_two_would_be_larger(build, bench_for):
    torch.manual_seed(0)
    with pytest.raises(CompressError, match="would hold more weights"):
        apply_techniques(
            build("mlp"), [LowRank(0.999, epochs=0)], bench_for(build("mlp"), torch.randn(48, 8))
        )


class ReadsItsWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.second = nn.Linear(32, 32)
        self.out = nn.Linear(32, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.out(torch.relu(x @ self.second.weight.T))


def test_a_layer_whose_weight_forward_reads_itself_is_left_alone_and_named(bench_for):
    module = ReadsItsWeight()
    piece = apply_techniques(
        module, [LowRank(0.5, epochs=0)], bench_for(module, torch.randn(48, 8))
    )
    assert isinstance(piece.module.second, nn.Linear)
    assert isinstance(piece.module.first, nn.Sequential)
    assert any(note.startswith("second is not factorised") for note in piece.notes)


def test_layers_that_cannot_be_two_are_named(build, bench_for):
    for name, left in (
        ("lstm", "lstm (LSTM)"),
        ("depthwise", "depthwise.0 (Conv2d), grouped.0 (Conv2d)"),
    ):
        module = build(name)
        bench = bench_for(module, NETWORKS[name].example(48))
        notes = apply_techniques(module, [LowRank(0.6, epochs=0)], bench).notes
        assert f"{left}: only linear layers and plain convolutions are factorised" in notes
