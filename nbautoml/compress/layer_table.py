"""The layers of a model before and after, one beside the other, as plain JSON for a panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from nbautoml.measure import call, flop_counter, layer_times

__all__ = ["layers_table"]

VERSION = 1


def layers_table(
    before: nn.Module, after: nn.Module, bits: Mapping[str, int], example: Any
) -> dict[str, Any]:
    """What became of each layer that has weights.

    Args:
        before: the original.
        after: what was made of it.
        bits: by layer name, of the weights of ``after``, where not those of its tensors.
        example: inputs of one row, on which multiplications are counted and layers timed.

    Returns:
        ``{"version": 1, "layers": [{"name", "kind", "before": {...}, "after": {...}}, ...]}`` with
        "weights", "macs", "bits", "out" (channels or neurons) and "ms" (the median of eager calls on
        one thread, see `layer_times`); ``None`` for a layer that is only on one side. A layer's
        multiplications and time are its own, without those of listed layers inside it, so that
        they can be summed. Layers of one name and kind are one row; where a student of another class
        has taken the place, the other layers are on one side each. Where an entry of a list went (a
        layer of `nn.TransformerEncoder`), those behind it have moved up, and the last row is on one side.

    >>> wide, narrow = nn.Sequential(nn.Linear(4, 8)), nn.Sequential(nn.Linear(4, 2))
    >>> side = layers_table(wide, narrow, {"0": 8}, torch.zeros(1, 4))["layers"][0]["after"]
    >>> side["ms"] > 0, {name: value for name, value in side.items() if name != "ms"}
    (True, {'weights': 10, 'macs': 8, 'bits': 8, 'out': 2})
    """
    times = layer_times({"before": before, "after": after}, example)
    first = _described(before, {}, example, times["before"])
    second = _described(after, bits, example, times["after"])
    layers = [
        {
            "name": name,
            "kind": kind,
            "before": first.get((name, kind)),
            "after": second.get((name, kind)),
        }
        for name, kind in dict.fromkeys([*first, *second])
    ]
    return {"version": VERSION, "layers": layers}


def own_share(whole: Mapping[str, float]) -> dict[str, float]:
    """Of figures that hold those of the layers inside, what is each layer's own; never below 0.

    >>> own_share({"block": 5.0, "block.fc": 3.0, "blocks": 1.0})
    {'block': 2.0, 'block.fc': 3.0, 'blocks': 1.0}
    """
    own = dict(whole)
    for name, value in whole.items():
        around = name.rpartition(".")[0]
        while around and around not in whole:
            around = around.rpartition(".")[0]
        if around:
            own[around] = max(0, own[around] - value)
    return own


def _described(
    module: nn.Module, bits: Mapping[str, int], example: Any, times: Mapping[str, float]
) -> dict[tuple[str, str], dict[str, float]]:
    """Figures of each layer with weights, by its name and kind."""
    with torch.no_grad(), flop_counter() as counter:
        call(module.eval(), example)
    counts = {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    root = type(module).__name__
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if name and any(True for _ in layer.parameters(recurse=False))
    }
    macs = own_share({name: counts.get(f"{root}.{name}", 0) for name in layers})
    times = own_share({name: times[name] for name in layers if name in times})
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, layer in layers.items():
        weights = list(layer.parameters(recurse=False))
        described: dict[str, float] = {
            "weights": sum(weight.numel() for weight in weights),
            "macs": int(macs[name]),
            "bits": int(bits.get(name, 8 * weights[0].element_size())),
            "out": int(weights[0].shape[0]),
        }
        if name in times:
            described["ms"] = times[name]
        found[name, _kind(layer)] = described
    return found


def _kind(layer: nn.Module) -> str:
    """The class by the name that people know."""
    own = type(layer)
    # What is inside `nn.MultiheadAttention` has a name of torch's own.
    return "Linear" if own is NonDynamicallyQuantizableLinear else own.__name__
