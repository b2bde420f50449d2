"""Weights as a few shared values, and how many bytes they take once that is made use of.

Deep Compression's second and third step: the weights that are left share a codebook, the code
words and the gaps between non-zero weights are Huffman coded. A file in this form is smaller; what
runs is a module with plain weights again, no faster than before.

Source: Han, Mao and Dally 2016, "Deep Compression".
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

import torch

__all__ = ["coded_bytes", "huffman_bits", "kmeans_1d", "share_weights", "stored_bytes"]

GAP_BITS = 8  # a longer run of zeros is written as several gaps, with a filler zero between


def kmeans_1d(
    values: torch.Tensor, n_clusters: int, *, n_rounds: int = 30
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres of a k-means clustering of numbers, and the cluster of each.

    Starts from centres spread evenly over the range, which Deep Compression found best (a few
    large weights matter and would get no centre of their own by density). No random numbers.

    Args:
        values: 1-d.
        n_clusters: at most; fewer when there are fewer different values.
        n_rounds: rounds of assignment and averaging.

    >>> centres, codes = kmeans_1d(torch.tensor([1.0, 1.1, 5.0, 5.2]), 2)
    >>> [round(float(centre), 2) for centre in centres], codes.tolist()
    ([1.05, 5.1], [0, 0, 1, 1])
    """
    distinct = torch.unique(values)
    if len(distinct) <= n_clusters:
        return distinct, torch.searchsorted(distinct, values)
    centres = torch.linspace(
        float(values.min()), float(values.max()), n_clusters, dtype=torch.float64
    )
    numbers = values.double()
    codes = torch.zeros(len(values), dtype=torch.int64)
    for _ in range(n_rounds):
        edges = (centres[1:] + centres[:-1]) / 2
        codes = torch.bucketize(numbers, edges)
        sums = torch.zeros(len(centres), dtype=torch.float64).index_add_(0, codes, numbers)
        counts = torch.bincount(codes, minlength=len(centres))
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres.to(values.dtype), codes


def share_weights(weight: torch.Tensor, n_clusters: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight whose non-zero values are replaced by the centres of their clusters.

    Zeros stay zeros: a pruned weight is not one of the shared values.

    Returns:
        The new weight, and the code of each place (0 for zeros, clusters count from 1).
    """
    flat = weight.detach().flatten()
    is_kept = flat != 0
    shared, codes = torch.zeros_like(flat), torch.zeros(len(flat), dtype=torch.int64)
    if bool(is_kept.any()):
        centres, found = kmeans_1d(flat[is_kept], n_clusters)
        shared[is_kept], codes[is_kept] = centres[found], found + 1
    return shared.reshape(weight.shape), codes.reshape(weight.shape)


def huffman_bits(symbols: Iterable[int]) -> int:
    """Bits of these symbols in the best prefix code for their frequencies (its table left out).

    >>> huffman_bits([0, 0, 0, 0, 1, 1, 2, 3])
    14
    """
    counts = Counter(symbols)
    if len(counts) <= 1:
        return sum(counts.values())
    order = itertools.count()
    heap = [(count, next(order)) for count in counts.values()]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap)[0] + heapq.heappop(heap)[0]
        bits += pair  # each symbol below gets one bit longer
        heapq.heappush(heap, (pair, next(order)))
    return bits


def coded_bytes(weight: torch.Tensor) -> int:
    """Bytes of one tensor: its codebook, Huffman coded code words and gaps, and both code tables.

    A tensor with more different values than its coding pays for is counted as plain float32.
    """
    flat = weight.detach().cpu().float().flatten()
    plain = 4 * flat.numel()
    places = torch.nonzero(flat).flatten()
    if len(places) == 0:
        return 1
    codebook, codes = torch.unique(flat[places], return_inverse=True)
    gaps = torch.diff(places, prepend=torch.tensor([-1])) - 1
    limit = 2**GAP_BITS - 1
    fillers = int((gaps // limit).sum())
    written = (gaps % limit).tolist() + [limit] * fillers
    value_bits = huffman_bits(codes.tolist())
    tables = len(codebook) + len(set(written))  # a byte for the code length of each symbol
    coded = 4 * len(codebook) + tables + (value_bits + huffman_bits(written) + 7) // 8
    # Without zeros the gaps say nothing; without repeats the codebook costs more than it saves.
    return min(plain, coded, *_dense(codebook, codes, flat), *_sparse(places, written))


def _dense(codebook: torch.Tensor, codes: torch.Tensor, flat: torch.Tensor) -> list[int]:
    if len(codes) < flat.numel():
        return []
    return [5 * len(codebook) + (huffman_bits(codes.tolist()) + 7) // 8]


def _sparse(places: torch.Tensor, written: list[int]) -> list[int]:
    gap_bytes = len(set(written)) + (huffman_bits(written) + 7) // 8
    return [4 * len(places) + gap_bytes]


def stored_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of all tensors after entropy coding; small ones are counted plain where that is less."""
    return sum(
        coded_bytes(tensor)
        if tensor.is_floating_point()
        else tensor.numel() * tensor.element_size()
        for tensor in tensors.values()
    )
