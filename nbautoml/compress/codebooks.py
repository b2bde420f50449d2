"""Weights as a few shared values: Deep Compression's second step.

How many bytes they take once that is made use of is counted by `nbautoml.measure.encode_weights`. What runs
is a module with plain weights again, no faster than before.

Source: Han, Mao and Dally 2016, "Deep Compression".
"""

from __future__ import annotations

import torch

__all__ = ["kmeans_1d", "share_weights"]


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
