"""How long each layer of a module takes, by hooks around its calls.

::

    call of the module:  |--- conv1 ---|  relu  |--- conv2 ---|  ...     each pair of hooks reads the clock
                          '- one time -'         '- one time -'          median over the calls

Hooks cost a microsecond or two, which the smallest layers show. What a file does in ONNX Runtime,
where layers melt into one another, these times do not tell.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from nbautoml.measure.counting import call, evaluating
from nbautoml.measure.timing import fixed_threads

__all__ = ["layer_times"]

SECONDS = 0.1  # of all modules together, about
N_WARM, MIN_CALLS, MAX_CALLS = 3, 11, 201


def layer_times(modules: Mapping[str, nn.Module], example: Any) -> dict[str, dict[str, float]]:
    """Milliseconds of each layer that is called: medians of eager calls on one thread.

    Several modules take turns, call by call, so that a busy machine slows all of them.

    Args:
        modules: on the CPU, by a name of their own; left as they are.
        example: inputs, as `call` takes them.

    Returns:
        By module, by the layer's name, where layers inside layers count for both. A layer that is
        called several times in a pass has the sum; one that is not called is left out.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    >>> found = layer_times({"net": net}, torch.zeros(2, 4))
    >>> sorted(found["net"]), found["net"]["0"] > 0
    (['0', '1'], True)
    """
    watches = {name: _Watch(module) for name, module in modules.items()}
    try:
        with fixed_threads(1):
            until, n = 0.0, 0
            while n < MIN_CALLS + N_WARM or (n < MAX_CALLS and time.perf_counter() < until):
                if n == N_WARM:
                    until = time.perf_counter() + SECONDS
                for watch in watches.values():
                    watch.look(example, is_counted=n >= N_WARM)
                n += 1
    finally:
        for watch in watches.values():
            watch.end()
    return {name: watch.medians() for name, watch in watches.items()}


class _Watch:
    """The hooks of one module, and what they saw."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._begun: dict[str, list[float]] = {}
        self._passed: dict[str, float] = {}  # in the pass that goes on
        self._times: dict[str, list[float]] = {}
        self._hooks: list[RemovableHandle] = []
        for name, layer in module.named_modules():
            if name:
                self._hooks.append(layer.register_forward_pre_hook(self._beginning(name)))
                self._hooks.append(layer.register_forward_hook(self._ending(name)))

    def look(self, example: Any, *, is_counted: bool) -> None:
        self._passed = {}
        with evaluating(self._module), torch.inference_mode():
            call(self._module, example)
        if is_counted:
            for name, seconds in self._passed.items():
                self._times.setdefault(name, []).append(1000 * seconds)

    def medians(self) -> dict[str, float]:
        return {name: median(times) for name, times in self._times.items()}

    def end(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _beginning(self, name: str) -> Any:
        def before(_layer: nn.Module, _inputs: Any) -> None:
            self._begun.setdefault(name, []).append(time.perf_counter())

        return before

    def _ending(self, name: str) -> Any:
        def after(_layer: nn.Module, _inputs: Any, _output: Any) -> None:
            passed = time.perf_counter() - self._begun[name].pop()
            self._passed[name] = self._passed.get(name, 0.0) + passed

        return after
