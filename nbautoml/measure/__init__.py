"""Measuring a module: weights, multiplications, bytes, milliseconds, joules, each as a `Measurement`.

Importing this package imports no torch; the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbautoml.measure.measurement import Measurement, quantile

if TYPE_CHECKING:
    from nbautoml.measure.coding import decode_weights, encode_weights, stored_size, weights_in
    from nbautoml.measure.counting import (
        call,
        count_macs,
        count_nonzero,
        count_weights,
        evaluating,
        flop_counter,
        peak_memory,
        weight_bytes,
    )
    from nbautoml.measure.energy import Meter, NvidiaMeter, RaplMeter, energies, meter_for
    from nbautoml.measure.exported import (
        Exported,
        export_onnx,
        extra,
        held_file,
        largest_difference,
        open_onnx,
        parts_of,
        quiet,
    )
    from nbautoml.measure.figures import Figures, measure, with_rows
    from nbautoml.measure.files import measure_onnx, paired_ratio
    from nbautoml.measure.layer_timing import layer_times
    from nbautoml.measure.timing import as_callable, fixed_threads, latency, take_turns

_HOMES = {
    "decode_weights": "coding",
    "encode_weights": "coding",
    "stored_size": "coding",
    "weights_in": "coding",
    "call": "counting",
    "count_macs": "counting",
    "count_nonzero": "counting",
    "count_weights": "counting",
    "evaluating": "counting",
    "flop_counter": "counting",
    "peak_memory": "counting",
    "weight_bytes": "counting",
    "Meter": "energy",
    "NvidiaMeter": "energy",
    "RaplMeter": "energy",
    "energies": "energy",
    "meter_for": "energy",
    "Exported": "exported",
    "export_onnx": "exported",
    "extra": "exported",
    "held_file": "exported",
    "largest_difference": "exported",
    "open_onnx": "exported",
    "parts_of": "exported",
    "quiet": "exported",
    "Figures": "figures",
    "with_rows": "figures",
    "measure": "figures",
    "measure_onnx": "files",
    "paired_ratio": "files",
    "layer_times": "layer_timing",
    "as_callable": "timing",
    "fixed_threads": "timing",
    "latency": "timing",
    "take_turns": "timing",
}

__all__ = [
    "Exported",
    "Figures",
    "Measurement",
    "Meter",
    "NvidiaMeter",
    "RaplMeter",
    "as_callable",
    "call",
    "count_macs",
    "count_nonzero",
    "count_weights",
    "decode_weights",
    "encode_weights",
    "energies",
    "evaluating",
    "export_onnx",
    "extra",
    "fixed_threads",
    "flop_counter",
    "held_file",
    "largest_difference",
    "latency",
    "layer_times",
    "measure",
    "measure_onnx",
    "meter_for",
    "open_onnx",
    "paired_ratio",
    "parts_of",
    "peak_memory",
    "quantile",
    "quiet",
    "stored_size",
    "take_turns",
    "weight_bytes",
    "weights_in",
    "with_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
