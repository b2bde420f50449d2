"""The masks that torch's fused dropout draws on a GPU, for all trials of a stack at once.

There, ``F.dropout`` is one kernel that draws from Philox, a generator without a state: a number is a
function of seed, offset and thread. So what sixty-four trials would each have drawn in a launch of
their own, is computed here in one go, bit for bit, and can be recorded in a CUDA graph::

    element e of a tensor of n, read in vectors of v     thread  (e / v) mod threads
                                                         counter offset / 4 + round, lane e mod 4
    kept where  philox(seed, thread, counter)[lane] * 2^-32 + 2^-33  <  1 - rate

The layout is that of ``fused_dropout_kernel_vec`` in PyTorch (aten/src/ATen/native/cuda/Dropout.cu; with
2.11 on an H200 the same for every shape that was tried). A later torch may have another, so a
mask is compared with a drawn one before any is used (`agrees`).

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011), Philox4x32-10.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor

from nbautoml.train.seeds import default_generator
from nbautoml.train.stacked.tape import Op

__all__ = ["FUSED", "AtOnce", "Launch", "PhiloxMask", "agrees", "extent", "philox", "scales"]

FUSED = frozenset({F.dropout, torch.dropout})
"""What CUDA draws in a kernel of its own, from its default generator."""
# Elements of a layer's masks, of all trials, up to which they are computed at once; larger ones
# keep a GPU busy one by one, too, and take less memory.
MOST_AT_ONCE = 2**24
BLOCK, UNROLL, VECTOR_BYTES, ROUNDS = 256, 4, 16, 10
_MULTIPLIERS, _KEYS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Launch:
    """How the kernel is launched: of the GPU, its multiprocessors and the threads that each holds."""

    n_multiprocessors: int
    n_threads_each: int

    @classmethod
    def on(cls, device: torch.device) -> Launch:
        """That of a GPU."""
        found = torch.cuda.get_device_properties(device)
        return cls(found.multi_processor_count, found.max_threads_per_multi_processor)

    def n_threads(self, n: int) -> int:
        """Threads for n elements."""
        most = self.n_multiprocessors * (self.n_threads_each // BLOCK)
        return BLOCK * min(most, -(-n // BLOCK))

    def used(self, n: int) -> int:
        """By how much the generator's offset grows."""
        return ((n - 1) // (self.n_threads(n) * UNROLL) + 1) * UNROLL


def philox(counter: Tensor, thread: Tensor, seed: Tensor) -> Tensor:
    """Philox4x32-10: four 32-bit numbers in int64, in a new last dimension.

    Args:
        counter: below 2^32.
        thread: the subsequence, below 2^32; broadcasts with ``counter`` and ``seed``.
        seed: 64 bits.

    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [f"{int(number):08x}" for number in philox(zero, zero, zero)[0]]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    # Products of 64 bits wrap, and a shift copies the sign: what is masked afterwards is right.
    keys = [seed & _LOW, (seed >> 32) & _LOW]
    zero = torch.zeros_like(seed)
    a, b, c, d = torch.broadcast_tensors(counter, zero, thread, zero)  # type: ignore[no-untyped-call]
    for _ in range(ROUNDS):
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a = (second >> 32).bitwise_and_(_LOW).bitwise_xor_(b).bitwise_xor_(keys[0])
        c = (first >> 32).bitwise_and_(_LOW).bitwise_xor_(d).bitwise_xor_(keys[1])
        b, d = second.bitwise_and_(_LOW), first.bitwise_and_(_LOW)
        keys = [(key + step) & _LOW for key, step in zip(keys, _KEYS, strict=True)]
    return torch.stack([a, b, c, d], -1)


class PhiloxMask:
    """The mask of one dropout layer, for trials with tensors of the same size.

    Args:
        n: elements of one trial's tensor, all of its memory.
        item_bytes: of an element: the kernel reads vectors of up to 16 bytes.
        rates: of each trial.
        offsets: of each trial's generator when it comes to this layer.
        launch: see there.
        device: where masks lie.
    """

    def __init__(
        self, n: int, item_bytes: int, rates: Sequence[float], offsets: Sequence[int],
        launch: Launch, device: torch.device,
    ) -> None:  # fmt: skip
        counter, thread, self._index = _places(n, item_bytes, launch, device)
        start = torch.tensor([offset // 4 for offset in offsets], device=device)
        self._counter, self._thread = counter + start.unsqueeze(1), thread
        # Where torch draws nothing, all is kept.
        keep = [1.0 - rate if 0 < rate < 1 else 2.0 for rate in rates]
        self._keep = torch.tensor(keep, dtype=torch.float32, device=device).unsqueeze(1)

    def drawn(self, seeds: Tensor) -> Tensor:
        """What is kept: ``(K, n)``, bool; of seeds ``(K,)``."""
        numbers = philox(self._counter, self._thread, seeds.unsqueeze(1))
        lanes = numbers.flatten(1).index_select(1, self._index)
        return lanes.float().mul_(2.0**-32).add_(2.0**-33) < self._keep


def _places(
    n: int, item_bytes: int, launch: Launch, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Counters and threads of the calls, each ``(1, calls)``, and of each element its lane among all."""
    at, n_threads = torch.arange(n), launch.n_threads(n)
    width = VECTOR_BYTES // item_bytes
    while n % width:
        width //= 2
    if width == 1:
        thread, turn = at % n_threads, at // n_threads
        call, lane = turn // UNROLL, turn % UNROLL
    else:
        thread, turn = (at // width) % n_threads, (at // width) // n_threads
        own = turn * width + at % width
        call, lane = own // 4, own % 4
    both, place = torch.unique(call * n_threads + thread, return_inverse=True)
    found = ((both // n_threads).unsqueeze(0), (both % n_threads).unsqueeze(0), place * 4 + lane)
    counter, thread, index = (item.to(device) for item in found)
    return counter, thread, index


class AtOnce:
    """The dropout of one forward pass, for all trials; `of` says whether that can be had.

    Args:
        masks: of each layer; None where no trial drops any.
        factors: by which what is kept is multiplied in each layer, ``(K, 1, ...)``.
        shapes: of each layer: shape and strides.
        n: trials.
        device: where masks lie.
    """

    def __init__(
        self, masks: Sequence[PhiloxMask | None], factors: Sequence[Tensor],
        shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], n: int, device: torch.device,
    ) -> None:  # fmt: skip
        self._layers = list(zip(masks, factors, shapes, strict=True))
        self._now = torch.zeros(n, dtype=torch.int64, device=device)
        self._base, self._first_step = self._now, 0

    @classmethod
    def of(
        cls, dropping: Sequence[Op], rates: Sequence[Sequence[float]], device: torch.device
    ) -> AtOnce | None:
        """None where it isn't known what would be drawn, or where it is too much at once.

        Args:
            dropping: the calls that drop, in their order.
            rates: of each trial: its rate in each of them.
            device: where.
        """
        shapes = [op.noise for op in dropping if op.noise is not None]
        sizes = [extent(*strided) for strided in shapes]
        if device.type != "cuda" or len(rates) * max(sizes, default=1) > MOST_AT_ONCE:
            return None
        is_dense = all(n == math.prod(shape) for n, (shape, _) in zip(sizes, shapes, strict=True))
        if not is_dense or not all(op.function in FUSED for op in dropping):
            return None
        dtypes = [op.noise_dtype for op in dropping]
        if not all(agrees(n, dtype, device) for n, dtype in zip(sizes, dtypes, strict=True)):
            return None
        return cls.by(Launch.on(device), shapes, dtypes, rates, device)

    @classmethod
    def by(
        cls, launch: Launch, shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
        dtypes: Sequence[torch.dtype], rates: Sequence[Sequence[float]], device: torch.device,
    ) -> AtOnce:  # fmt: skip
        """As a GPU with such a launch would draw for inputs of these shapes and types."""
        masks: list[PhiloxMask | None] = []
        offsets, factors = [0] * len(rates), []
        for at, (strided, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
            n, drops = extent(*strided), [own[at] for own in rates]
            mask = PhiloxMask(n, dtype.itemsize, drops, offsets, launch, device)
            masks.append(mask if any(drops) else None)
            factors.append(scales(drops, len(strided[0]), device))
            # torch draws nothing where the rate is 0 or 1
            grown = [launch.used(n) if 0 < rate < 1 else 0 for rate in drops]
            offsets = [sum(pair) for pair in zip(offsets, grown, strict=True)]
        return cls(masks, factors, shapes, len(rates), device)

    def seed(self, seeds: Sequence[int], step: int) -> None:
        """Say the seeds of a step; those of later steps are counted on, on the device.

        Args:
            seeds: of each trial.
            step: of the first of them: all count together.
        """
        if self._first_step == 0:
            self._base = torch.tensor(seeds, device=self._now.device)
            self._first_step = step
        # What `nbautoml.train.seeds.step_seed` gives for the same trials some steps later.
        torch.add(self._base, 2 * (step - self._first_step), out=self._now)
        self._now.bitwise_and_(2**63 - 1)

    def factors(self) -> list[Tensor | None]:
        """By which each layer's input is multiplied."""
        found: list[Tensor | None] = []
        for mask, factor, (shape, strides) in self._layers:
            if mask is None:
                found.append(None)
                continue
            kept = mask.drawn(self._now)
            found.append(kept.as_strided((len(kept), *shape), (kept.shape[1], *strides)) * factor)
        return found


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last in memory."""
    return sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1


def scales(rates: Sequence[float], n_dims: int, device: torch.device) -> Tensor:
    """What is kept is multiplied by this: ``(K, 1, ...)``."""
    found = [0.0 if rate >= 1 else 1 / (1 - rate) for rate in rates]
    return torch.tensor(found, device=device).view(-1, *(1,) * n_dims)


@functools.cache
def agrees(n: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this torch draws on this GPU what is computed here, tried out with one tensor."""
    generator = default_generator(device)
    before = generator.get_state()
    launch, seed, rate = Launch.on(device), 2**40 + 7, 0.4
    try:
        generator.manual_seed(seed)
        ones = torch.ones(n, dtype=dtype, device=device)
        drawn = [torch.native_dropout(ones, rate, True)[1] for _ in range(2)]
    finally:
        generator.set_state(before)
    seeds = torch.tensor([seed], device=device)
    return all(
        torch.equal(own, PhiloxMask(n, ones.element_size(), [rate], [at], launch, device).drawn(seeds)[0])
        for own, at in zip(drawn, (0, launch.used(n)), strict=True)
    )  # fmt: skip
