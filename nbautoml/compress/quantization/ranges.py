"""How far an activation's eight bits should reach, from a histogram of the values it took.

A wide range wastes levels on values that hardly occur; a narrow one cuts off values that do::

    minmax      all that was seen
    percentile  all but the rarest, at both ends
    entropy     the quantised distribution is nearest to the real one (Kullback-Leibler)
    histogram   the expected squared error is smallest

Sources: Jacob et al. 2018, section 3.1 (min-max); Migacz 2017, "8-bit Inference with TensorRT"
(entropy); Sung, Shin and Hwang 2015, "Resiliency of Deep Neural Networks under Quantization"
(squared error).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["N_BINS", "RANGES", "Range", "entropy_range", "percentile_range", "squared_error_range"]

N_BINS = 2048
LEVELS = 256
PERCENTILE = 99.99
_SHARES = tuple(np.geomspace(1.0, 0.05, 41).tolist())  # of an end, widest first

Array = npt.NDArray[np.float64]
Range = tuple[float, float]


def whole_range(_counts: Array, edges: Array) -> Range:
    """All that was seen."""
    return float(edges[0]), float(edges[-1])


def percentile_range(counts: Array, edges: Array, *, percentile: float = PERCENTILE) -> Range:
    """The range without the rarest values at either end.

    >>> counts = np.array([1.0, 98.0, 1.0])
    >>> percentile_range(counts, np.array([0.0, 1.0, 2.0, 3.0]), percentile=90)
    (1.0, 2.0)
    """
    below = np.cumsum(counts) / counts.sum()
    tail = (1 - percentile / 100) / 2
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1 - tail, side="left"))
    return float(edges[low]), float(edges[min(high + 1, len(edges) - 1)])


def squared_error_range(counts: Array, edges: Array) -> Range:
    """The range whose rounding and cutting off cost least in squares."""
    centres = (edges[:-1] + edges[1:]) / 2

    def cost(low: float, high: float) -> float:
        step = (high - low) / (LEVELS - 1)
        near = low + np.round((np.clip(centres, low, high) - low) / step) * step
        return float((counts * (centres - near) ** 2).sum())

    return _cheapest(edges, cost)


def entropy_range(counts: Array, edges: Array) -> Range:
    """The range after which the distribution of the values is nearest to what it was."""
    centres = (edges[:-1] + edges[1:]) / 2
    real = counts / counts.sum()
    is_seen = real > 0

    def cost(low: float, high: float) -> float:
        step = (high - low) / (LEVELS - 1)
        level = np.round((np.clip(centres, low, high) - low) / step).astype(np.int64)
        is_inside = (centres >= low) & (centres <= high) & is_seen
        mass = np.bincount(level, weights=real, minlength=LEVELS)
        n_bins = np.bincount(level[is_inside], minlength=LEVELS)
        # A level's mass lies evenly on the bins that it stands for; bins cut off have next to none.
        spread = np.where(is_inside, mass[level] / np.maximum(n_bins[level], 1), 1e-12)
        return float((real[is_seen] * np.log(real[is_seen] / spread[is_seen])).sum())

    return _cheapest(edges, cost)


def _cheapest(edges: Array, cost: Callable[[float, float], float]) -> Range:
    """The cheapest of ranges whose upper, then lower end moves to zero; the widest of equals."""
    low, high = float(edges[0]), float(edges[-1])
    if high <= low:
        return low, high
    high = min((high * share for share in _SHARES), key=lambda end: cost(low, end))
    low = min((low * share for share in _SHARES), key=lambda end: cost(end, high))
    return low, high


RANGES: dict[str, Callable[[Array, Array], Range]] = {
    "minmax": whole_range,
    "percentile": percentile_range,
    "entropy": entropy_range,
    "histogram": squared_error_range,
}
