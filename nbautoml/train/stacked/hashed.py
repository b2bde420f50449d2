"""Dropout's masks for all trials in a few operations: a hash of (seed, step, layer, position).

A generator draws one trial after the other; a hash has no order, so one call serves a whole stack,
on any device with the same bits. Multiply and shift-xor rounds as in Wellons' ``lowbias32``, in
signed 32-bit numbers, with a second key between the rounds. torch shifts signed numbers
arithmetically, which keeps the top bit from mixing downwards once; the last step is therefore a
product, and its top bits are what is compared.

Source: C. Wellons, Prospecting for hash functions (2018); Steele et al., SplitMix (2014), for the keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["HashedMask", "stream_keys"]

_GOLDEN, _FIRST, _SECOND = -1640531527, 2146121005, -2073254261
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def stream_keys(seeds: Sequence[int], layer: int) -> npt.NDArray[np.int32]:
    """Two 32-bit keys a stream: shape ``(2, K)``, as different for neighbouring seeds as for others.

    >>> stream_keys([1, 1, 2], 0)[0].tolist() == stream_keys([1, 2], 0)[0][[0, 0, 1]].tolist()
    True
    """
    mixed = np.array([seed % 2**64 for seed in seeds], dtype=np.uint64)
    mixed = mixed + np.uint64((layer + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in zip((30, 27), _MIX, strict=True):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    mixed ^= mixed >> np.uint64(31)
    halves = np.stack([mixed & np.uint64(0xFFFFFFFF), mixed >> np.uint64(32)])
    return halves.astype(np.uint32).view(np.int32)


class HashedMask:
    """The mask of one dropout layer.

    Args:
        n: elements of one trial's mask.
        rates: of each trial.
        layer: which dropout layer of the module this is.
        device: where masks lie.
    """

    def __init__(self, n: int, rates: Sequence[float], layer: int, device: torch.device) -> None:
        self._layer, self._device = layer, device
        self._start = torch.arange(n, dtype=torch.int32, device=device) * _GOLDEN
        limits = [max(round((1 - rate) * 2**32) - 1, 0) - 2**31 for rate in rates]
        self._limit = torch.tensor(limits, dtype=torch.int32, device=device).unsqueeze(1)
        self._bits = torch.empty((len(rates), n), dtype=torch.int32, device=device)
        self._spare = torch.empty_like(self._bits)

    def draw(self, seeds: Sequence[int], out: Tensor) -> None:
        """Write ones (kept) and zeros.

        Args:
            seeds: of this step, one a trial.
            out: ``(K, n)``. At rate 1 one in four billion is kept, and then scaled by 0.
        """
        keys = torch.from_numpy(stream_keys(seeds, self._layer)).to(self._device).unsqueeze(2)
        bits, spare = self._bits, self._spare
        torch.add(self._start, keys[0], out=bits)
        torch.bitwise_right_shift(bits, 15, out=spare)
        bits.bitwise_xor_(spare).mul_(_FIRST).add_(keys[1])
        torch.bitwise_right_shift(bits, 13, out=spare)
        bits.bitwise_xor_(spare).mul_(_SECOND)
        torch.bitwise_right_shift(bits, 16, out=spare)
        bits.bitwise_xor_(spare).mul_(_FIRST)
        torch.le(bits, self._limit, out=out)
