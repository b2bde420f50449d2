"""Quantisation by ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from nbautoml.compress.exports import MOST_KEPT_BYTES, float_file
from nbautoml.compress.piece import Piece, matches
from nbautoml.compress.quantization.calibration import Rows, activation_ranges, calibration_rows
from nbautoml.compress.quantization.graph import RECURRENT, check_kept, load, saved, weights_of
from nbautoml.compress.quantization.integers import dynamic, prepared, static
from nbautoml.compress.quantization.kernels import has_int8_products
from nbautoml.compress.quantization.steps import (
    BITS,
    difference,
    outputs_of,
    spared_layers,
    train_if_aware,
)
from nbautoml.compress.quantization.weights import fewer_bits, half_weights
from nbautoml.compress.techniques import Quantization
from nbautoml.compress.training import Bench
from nbautoml.errors import CompressError, ModelError

__all__ = ["Runtime", "exported_float"]

Make = Callable[[Collection[str]], bytes]


class Runtime:
    """Files that `onnxruntime.quantization` and `weights` write."""

    def quantize(self, piece: Piece, config: Quantization, bench: Bench) -> Piece:
        """See `Backend`."""
        check_kept(config.keep, [name for name, _ in piece.module.named_modules()])
        rows = calibration_rows(bench, config.n_calibration)
        train_if_aware(piece, config, bench, lambda: exported_float(piece.module, rows))
        whole = exported_float(piece.module, rows)
        model = load(whole)
        held = weights_of(model)
        layers = list(
            dict.fromkeys(item.layer for item in held if not matches(item.layer, config.keep))
        )
        if not layers:
            raise CompressError(
                f"{type(piece.module).__name__} has no layer to quantise",
                hint="keep fewer layers" if config.keep else "",
            )
        make = _maker(model, whole, layers, config, rows)
        spared = spared_layers(
            lambda left: outputs_of(make(left), rows), layers, config, rows, whole
        )
        piece.onnx = make(spared)
        _describe(piece, load(piece.onnx), held, layers, spared, config)
        piece.note(difference(piece, rows, whole))
        return piece


def exported_float(module: nn.Module, rows: Rows) -> bytes:
    """A module as a prepared float file; an equal one that was exported before is not again.

    Raises:
        CompressError: it cannot be exported.
    """
    try:
        data = float_file(module, rows.inputs)
        return _prepared(data) if len(data) <= MOST_KEPT_BYTES else prepared(data)
    except ModelError as error:
        raise CompressError(
            f"it cannot be quantised, and stays as it is: {error.message}", hint=error.hint
        ) from error


@functools.lru_cache(maxsize=1)  # of one module after another, each in several forms
def _prepared(data: bytes) -> bytes:
    return prepared(data)


def _maker(
    model: Any, whole: bytes, layers: Collection[str], config: Quantization, rows: Rows
) -> Make:
    """A function that quantises all layers but those it is given."""
    by_channel = config.per == "channel"
    held = weights_of(model)

    def nodes_without(spared: Collection[str]) -> set[str]:
        return {item.node for item in held if item.layer not in layers or item.layer in spared}

    if config.to in {"fp16", "bf16"}:
        return lambda spared: saved(half_weights(model, config.to, spared=nodes_without(spared)))
    if config.mode == "weights":
        bits = BITS[config.to]
        return lambda spared: saved(
            fewer_bits(model, bits, spared=nodes_without(spared), is_per_channel=by_channel)
        )
    if config.mode == "dynamic":
        return lambda spared: saved(
            dynamic(model, spared=nodes_without(spared), is_per_channel=by_channel)
        )
    ranges = activation_ranges(whole, rows, config.calibration)

    def make(spared: Collection[str]) -> bytes:
        alone = nodes_without(spared)
        found = static(model, ranges, spared=alone, is_per_channel=by_channel)
        # Recurrent layers have an int8 kernel that looks at each batch, and none that is static.
        return saved(dynamic(found, spared=alone, is_per_channel=by_channel, op_types=("LSTM",)))

    return make


def _describe(
    piece: Piece,
    made: Any,
    held: list[Any],
    layers: list[str],
    spared: Collection[str],
    config: Quantization,
) -> None:
    """Bits by layer, and a note for each that was left alone."""
    still = {item.layer for item in weights_of(made)}
    left = [layer for layer in layers if layer in still and layer not in spared]
    piece.bits.update({layer: BITS[config.to] for layer in layers if layer not in still})
    if spared:
        piece.note(f"left in 32 bits for the metric's sake: {', '.join(spared)}")
    kinds = {item.layer: item.op_type for item in held}
    for layer in left:
        piece.note(f"{layer} ({kinds[layer]}) is left in 32 bits: no {config.mode} kernel for it")
    recurrent = [layer for layer in piece.bits if kinds.get(layer) in RECURRENT]
    if recurrent and config.to == "int8" and config.mode in {"static", "aware"}:
        piece.note(f"quantised by each batch, as recurrent layers are: {', '.join(recurrent)}")
    if config.to in {"fp16", "bf16"}:
        piece.note(f"weights are stored as {config.to}; the CPU computes in float32")
    if config.to == "int8" and config.mode != "weights" and not has_int8_products():
        piece.note(
            "this processor has no int8 products: weights keep to 7 bits, and it may be slow"
        )
