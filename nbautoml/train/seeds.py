"""Where every random number of a fit comes from, so that nothing else in the process matters.

One seed gives three streams::

    weights          seed                         before build()
    batch order      order_seed(seed, epoch)      a generator of its own, on the CPU
    dropout and co   step_seed(seed, step)        the global generators, before every step

Seeding each step anew costs about a microsecond and makes a step's numbers independent of
whatever drew random numbers between two steps (a callback, a second fit, a plot).
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random.mtrand import get_bit_generator

__all__ = [
    "batch_order",
    "default_generator",
    "isolated_rng",
    "numpy_state",
    "order_seed",
    "seed_all",
    "step_seed",
    "step_seeder",
]

_MT19937_BYTES = 625 * 4  # its numbers, and how many of them were drawn
_SPREAD = 1_000_003  # prime: streams of neighbouring seeds meet only after a million steps


def order_seed(seed: int, epoch: int) -> int:
    """Seed of the batch order of an epoch (epochs count from 1).

    >>> order_seed(7, 1)
    7000023
    """
    return (seed * _SPREAD + 2 * epoch) % 2**63


def step_seed(seed: int, step: int) -> int:
    """Seed of what is random inside a step (steps count from 1); odd where orders are even.

    >>> step_seed(7, 1)
    7000024
    """
    return (seed * _SPREAD + 2 * step + 1) % 2**63


def batch_order(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The order in which an epoch visits n rows: shape (n,), int64, on the CPU.

    Drawn on the CPU so that it is the same on every device.
    """
    generator = torch.Generator().manual_seed(order_seed(seed, epoch))
    return torch.randperm(n, generator=generator)


def seed_all(seed: int, device: torch.device) -> None:
    """Seed torch's, NumPy's and Python's global generators."""
    step_seeder(device)(seed % 2**63)
    np.random.seed(seed % 2**32)  # noqa: NPY002  users' modules draw from the global one
    random.seed(seed)


def step_seeder(device: torch.device) -> Callable[[int], None]:
    """A function that seeds torch's generators that a step on ``device`` draws from.

    `torch.manual_seed` looks after every backend that torch knows and takes 160 us on a CPU
    build, as long as a small model's whole step; the generators themselves take one.
    """
    on_cpu = torch.default_generator
    if device.type == "cuda":
        on_gpu = default_generator(device)

        def seed_both(seed: int) -> None:
            on_cpu.manual_seed(seed)
            on_gpu.manual_seed(seed)

        return seed_both
    if device.type == "mps":

        def seed_mps(seed: int) -> None:
            on_cpu.manual_seed(seed)
            torch.mps.manual_seed(seed)

        return seed_mps

    def seed_cpu(seed: int) -> None:
        on_cpu.manual_seed(seed)

    return seed_cpu


def default_generator(device: torch.device) -> torch.Generator:
    """The one that functions draw from on a CPU or GPU which are given none."""
    if device.type != "cuda":
        return torch.default_generator
    torch.cuda.init()  # type: ignore[no-untyped-call]
    index = device.index if device.index is not None else torch.cuda.current_device()
    generator: torch.Generator = torch.cuda.default_generators[index]
    return generator


def numpy_state() -> bytes:
    """What NumPy's global generator is at, to be compared: as it lies in memory.

    `numpy.random.get_state` makes a list of its 624 numbers: 45 us, and a stack asks four times for
    each trial that it lets in.

    >>> before = numpy_state()
    >>> before == numpy_state(), np.random.rand() < 1, before == numpy_state()
    (True, True, False)
    """
    generator = get_bit_generator()
    if isinstance(generator, np.random.MT19937):
        return ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES)
    return repr(generator.state).encode()


@contextmanager
def isolated_rng(device: torch.device) -> Iterator[None]:
    """Inside, the global generators may be seeded at will; afterwards they are as before."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
