"""Fine-tunes that listen to the original while the form of what is left is held."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nbautoml.compress import LowRank, Pruning, Sharing, apply_techniques, sharing
from nbautoml.compress.codebooks import share_weights
from nbautoml.compress.table import technique_from_json
from nbautoml.compress.training import Teaching
from nbautoml.errors import RecipeError
from nbautoml.testing.small_networks import NETWORKS

TUNED = {
    "channels": Pruning(0.5, epochs=2, n_rounds=2, lr=0.1),
    "weights": Pruning(0.5, granularity="weights", epochs=1, lr=0.1),
    "weights, gradually": Pruning(
        0.5, granularity="weights", schedule="agp", regrow=True, epochs=3, lr=0.1
    ),
    "low rank": LowRank(0.6, epochs=1, lr=0.1),
    "shared values": Sharing(8, epochs=1, lr=0.1),
}


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


@pytest.mark.parametrize("name", TUNED)
def test_the_original_teaches_what_is_left(name, build, bench_for):
    module, config = build("mlp"), TUNED[name]
    bench = bench_for(module, NETWORKS["mlp"].example(96))
    for weight in module.parameters():
        weight.data.mul_(3)  # it answers the more decidedly, and otherwise than the targets say
    alone, taught, wholly = (
        flat(apply_techniques(module, [dataclasses.replace(config, taught=how)], bench).module)
        for how in (0.0, 0.5, 1.0)
    )
    assert torch.equal(alone, flat(apply_techniques(module, [config], bench).module))
    assert not torch.equal(alone, taught)
    assert not torch.equal(taught, wholly)


@pytest.mark.parametrize("name", ["weights", "weights, gradually"])
def test_pruned_weights_stay_zero_while_the_original_teaches(name, build, bench_for):
    module = build("mlp")
    config = dataclasses.replace(TUNED[name], taught=0.7)
    bench = bench_for(module, NETWORKS["mlp"].example(96))
    piece = apply_techniques(module, [config, Sharing(8, epochs=1, lr=0.1, taught=0.7)], bench)
    weights = [weight for weight in piece.module.parameters() if weight.ndim > 1]
    n = sum(weight.numel() for weight in weights)
    assert sum(int((weight != 0).sum()) for weight in weights) == n - round(0.5 * n)
    assert all(len(torch.unique(weight[weight != 0])) <= 8 for weight in weights)


def test_values_can_be_taught_by_another_than_what_they_came_from(build, bench_for):
    module, teacher = build("mlp"), build("mlp")
    for weight in teacher.parameters():
        weight.data.neg_()
    bench = bench_for(module, NETWORKS["mlp"].example(96))
    found = []
    for teaching in (None, Teaching(teacher=teacher, weight=0.9)):
        made = build("mlp")
        sharing.share_values(made, bench, Sharing(8, epochs=1, lr=0.1), teaching=teaching)
        found.append(flat(made))
        untrained, codes = share_weights(build("mlp").layers[2].weight, 8)
        assert not torch.equal(made.layers[2].weight, untrained)
        assert len(torch.unique(made.layers[2].weight)) == int(codes.max())
    assert not torch.equal(*found)


@pytest.mark.parametrize("config", [Pruning, LowRank, Sharing])
def test_what_a_teacher_cannot_be_is_refused(config):
    for said, told in (
        ({"taught": -0.1}, "taught is -0.1"),
        ({"taught": 1.5}, "taught is 1.5"),
        ({"taught": 0.5, "temperature": 0}, "temperature is 0"),
        ({"temperature": "warm"}, "temperature is 'warm'"),
        ({"taught": 0.5, "epochs": 0}, "taught is 0.5, and epochs is 0"),
    ):
        with pytest.raises(RecipeError, match=told):
            config(**said)


@pytest.mark.parametrize("name", TUNED)
def test_a_taught_technique_reads_back_from_json(name):
    config = dataclasses.replace(TUNED[name], taught=0.7, temperature=2.0)
    assert technique_from_json(config.to_json()) == config
