"""How long a call takes: warmed up, on a fixed number of threads, the rivals in turns.

Machines change their pace (other programs, heat), so that two things measured one after the other
compare two moments. Here they take turns, call by call, and their ratio holds on a busy machine.
Nor may one of several always follow the same other: whoever comes after a large network finds the
caches full of it (a network of 23 neurons a layer took 9 % longer after one of 256 than after its twin).
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nbautoml.measure.counting import call
from nbautoml.measure.exported import Exported
from nbautoml.measure.measurement import Measurement

__all__ = ["as_callable", "fixed_threads", "latency", "take_turns", "wait_for"]

WARM_UP_S = 0.05
MIN_CALLS, MAX_CALLS = 20, 2000


def take_turns(
    calls: Mapping[str, Callable[[], Any]], *, seconds: float = 0.3
) -> dict[str, list[float]]:
    """Times in seconds of each of several calls, which take turns: each comes once a round.

    Two go on by turns. Of more than two each round has an order of its own, the same in every
    measurement.

    Args:
        calls: what is timed, by name.
        seconds: about how long each is timed, after a warm-up; at least 20 calls, at most 2000.
    """
    for function in calls.values():
        until = time.perf_counter() + WARM_UP_S
        for _ in range(3):
            function()
        while time.perf_counter() < until:
            function()
    times: dict[str, list[float]] = {name: [] for name in calls}
    clock = time.perf_counter
    until = clock() + seconds * len(calls)
    order, shuffle = list(calls.items()), random.Random(0).shuffle  # noqa: S311  no secret
    n = 0
    while n < MIN_CALLS or (n < MAX_CALLS and clock() < until):
        if len(order) > 2:
            shuffle(order)
        for name, function in order:
            begin = clock()
            function()
            times[name].append(clock() - begin)
        n += 1
    return times


def latency(times: list[float], *, what: str, n_threads: int) -> tuple[Measurement, Measurement]:
    """The median and the 95th percentile of times as measurements."""
    told = f"{what}, warmed up, {n_threads} thread{'s' if n_threads > 1 else ''}"
    return (
        Measurement.of_times(times, share=0.5, method=f"median; {told}"),
        Measurement.of_times(times, share=0.95, method=f"95th percentile; {told}"),
    )


def as_callable(model: nn.Module | Exported, example: Any) -> Callable[[], Any]:
    """One pass over an example as a call without arguments."""
    if isinstance(model, Exported):
        feeds, session = model.feeds(example), model.session
        return lambda: session.run(None, feeds)

    def eager() -> Any:
        with torch.inference_mode():
            return wait_for(call(model, example))

    return eager


def wait_for(output: Any) -> Any:
    """The output, once it is there: on a GPU a call returns before its kernels have run."""
    first = output[0] if isinstance(output, (tuple, list)) else output
    if isinstance(first, torch.Tensor) and first.is_cuda:
        torch.cuda.synchronize()
    return output


@contextlib.contextmanager
def fixed_threads(n_threads: int) -> Iterator[None]:
    """Let torch compute on this many threads, and put back what was."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
