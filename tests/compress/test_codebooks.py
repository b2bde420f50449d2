"""Shared values: which there are, and that training keeps them shared."""

from __future__ import annotations

import torch
from torch import nn

from nbautoml.compress import Pruning, Sharing, apply_techniques
from nbautoml.compress.codebooks import kmeans_1d, share_weights
from nbautoml.testing.small_networks import NETWORKS


def test_centres_are_the_means_of_what_is_nearest_to_them():
    values = torch.randn(500, generator=torch.Generator().manual_seed(0))
    centres, codes = kmeans_1d(values, 8, n_rounds=200)
    assert torch.equal(codes, (values[:, None] - centres).abs().argmin(1))
    for at, centre in enumerate(centres):
        torch.testing.assert_close(centre, values[codes == at].mean(), rtol=1e-4, atol=1e-5)


def test_zeros_are_not_shared():
    weight = torch.randn(20, 20) * (torch.rand(20, 20) > 0.5)
    shared, codes = share_weights(weight, 4)
    assert torch.equal(shared == 0, weight == 0)
    assert torch.equal(codes == 0, weight == 0)
    assert len(torch.unique(shared[shared != 0])) == 4


def test_sharing_after_pruning_keeps_the_zeros_and_trains_the_values(build, bench_for):
    module = build("cnn")
    bench = bench_for(module, NETWORKS["cnn"].example(48))
    pruning = Pruning(0.5, granularity="weights", epochs=0)
    before = apply_techniques(module, [pruning], bench).module.hidden.weight
    piece = apply_techniques(module, [pruning, Sharing(8, epochs=1, lr=0.1)], bench)
    after = piece.module.hidden.weight
    assert torch.equal(before == 0, after == 0)
    assert len(torch.unique(after[after != 0])) <= 8
    untrained, _ = share_weights(before, 8)
    assert not torch.equal(after, untrained)
    assert any("entropy coded" in note for note in piece.notes)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.out = nn.Linear(8, 20, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words):
        return self.out(self.words(words).mean(1))


def test_tied_weights_share_one_codebook(bench_for):
    words = torch.arange(48 * 6).reshape(48, 6) % 20
    piece = apply_techniques(Tied(), [Sharing(4, epochs=1)], bench_for(Tied(), words))
    assert piece.module.out.weight is piece.module.words.weight
    assert len(torch.unique(piece.module.out.weight)) == 4


def test_the_matrices_of_a_recurrent_layer_and_of_attention_share_values_too(build, bench_for):
    for name, inside in (
        ("lstm", "lstm.weight_hh_l0"),
        ("transformer", "layers.0.self_attn.in_proj_weight"),
    ):
        module = build(name)
        piece = apply_techniques(
            module, [Sharing(8, epochs=1, lr=0.1)], bench_for(module, NETWORKS[name].example(48))
        )
        after = piece.module.get_parameter(inside)
        assert len(torch.unique(after)) == 8
        untrained, _ = share_weights(module.get_parameter(inside), 8)
        assert not torch.equal(after, untrained)
