"""Watches a module's layers while it runs, so that a failure names the layer it came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from nbautoml.train.layers import label

__all__ = ["Probe", "watched"]


@dataclass(kw_only=True)
class Probe:
    """Which layers are running (innermost last), and which one ended last.

    Attributes:
        root: the module that is watched.
        running: dotted name, layer and first input of the layers that have begun and not
            ended; after an exception the last one is where it was raised.
        last: the layer without layers inside that ended last, as messages call it.
    """

    root: nn.Module
    running: list[tuple[str, nn.Module, Any]] = field(default_factory=list)
    last: str = ""

    @property
    def innermost(self) -> tuple[str, nn.Module, Any] | None:
        """The innermost layer that had begun when forward raised."""
        return self.running[-1] if self.running else None


@contextmanager
def watched(module: nn.Module) -> Iterator[Probe]:
    """Watch the layers of a module; the hooks are gone afterwards.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1))
    >>> with watched(net) as probe:
    ...     try:
    ...         _ = net(torch.zeros(5, 2))
    ...     except RuntimeError:
    ...         print(probe.innermost[0])
    1
    """
    probe = Probe(root=module)
    handles = []
    for name, layer in module.named_modules():
        handles.append(layer.register_forward_pre_hook(_begin(probe, name), with_kwargs=True))
        handles.append(layer.register_forward_hook(_end(probe, name)))
    try:
        yield probe
    finally:
        for handle in handles:
            handle.remove()


def _begin(probe: Probe, name: str) -> Any:
    def begin(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not name:  # a new pass of the whole module
            probe.running.clear()
        given = args[0] if args else next(iter(kwargs.values()), None)
        probe.running.append((name, layer, given))

    return begin


def _end(probe: Probe, name: str) -> Any:
    is_leaf = next(probe.root.get_submodule(name).children(), None) is None

    def end(layer: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        # Layers that raised inside this one, in a `try` of the user's, have not ended.
        while probe.running and probe.running.pop()[1] is not layer:
            pass
        if is_leaf and layer is not probe.root and isinstance(output, torch.Tensor):
            probe.last = label(name, layer, probe.root)

    return end
