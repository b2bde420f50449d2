"""Shared values and what they take in a file."""

from __future__ import annotations

import heapq
import math

import pytest
import torch
from torch import nn

from nbautoml.compress import Pruning, Sharing, apply_techniques
from nbautoml.compress.codebooks import coded_bytes, huffman_bits, kmeans_1d, share_weights
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


def textbook_bits(counts: list[int]) -> int:
    """Huffman's tree, built as the books do it, with the depth of each leaf."""
    heap: list[tuple[int, int, dict[int, int]]] = [(n, i, {i: 0}) for i, n in enumerate(counts)]
    heapq.heapify(heap)
    while len(heap) > 1:
        n1, i, left = heapq.heappop(heap)
        n2, _, right = heapq.heappop(heap)
        heapq.heappush(heap, (n1 + n2, i, {k: d + 1 for k, d in (left | right).items()}))
    return sum(counts[symbol] * depth for symbol, depth in heap[0][2].items())


@pytest.mark.parametrize("counts", [[5, 9, 12, 13, 16, 45], [1, 1, 2, 3, 5, 8], [4, 4, 4, 4]])
def test_huffman_needs_what_the_books_say_and_no_less_than_the_entropy(counts):
    symbols = [symbol for symbol, n in enumerate(counts) for _ in range(n)]
    entropy = -sum(n * math.log2(n / sum(counts)) for n in counts)
    assert huffman_bits(symbols) == textbook_bits(counts)
    assert entropy <= huffman_bits(symbols) < entropy + sum(counts)


def test_the_known_example_takes_224_bits():
    symbols = [s for s, n in enumerate([5, 9, 12, 13, 16, 45]) for _ in range(n)]
    assert huffman_bits(symbols) == 224  # Cormen et al., "Introduction to Algorithms", 16.3


def test_few_values_among_many_zeros_are_stored_in_little():
    dense = torch.randn(100, 100)
    sparse, _ = share_weights(dense * (dense.abs() > 2), 16)
    assert coded_bytes(dense) == 40_000
    assert coded_bytes(sparse) < 40_000 / 50


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
