"""Quantisation by torchao, on the graph that ``torch.export`` makes of a module (PT2E).

::

    module --torch.export--> graph --prepare_pt2e--> with observers --rows--> convert_pt2e --> ONNX file

torchao decides where the rounding is and finds its scales; the graph that it makes is written as an
ONNX file, which holds the weights as int8. Called as a module it would compute with floats between
roundings, and compiled by inductor it has to be compiled anew in every process.

Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/index.html
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from nbautoml.compress.piece import Piece, matches
from nbautoml.compress.quantization.calibration import CHUNK, Rows, calibration_rows
from nbautoml.compress.quantization.graph import check_kept, load, saved
from nbautoml.compress.quantization.kernels import has_int8_products
from nbautoml.compress.quantization.norms import write_norms_out
from nbautoml.compress.quantization.runtime import exported_float
from nbautoml.compress.quantization.steps import (
    difference,
    spared_layers,
    train_if_aware,
)
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.techniques import Quantization
from nbautoml.compress.training import Bench
from nbautoml.errors import CompressError
from nbautoml.measure import call, export_onnx, extra, parts_of, quiet, with_rows

__all__ = ["Pt2e"]

EPS = 2**-12  # the smallest scale, as torchao's own recipe for these processors has it
_PACKAGE = "torchao.quantization.pt2e"


class Pt2e:
    """Files made of what `torchao.quantization.pt2e` converts."""

    def quantize(self, piece: Piece, config: Quantization, bench: Bench) -> Piece:
        """See `Backend`."""
        QUANTIZERS["torchao"].need()
        check_kept(config.keep, [name for name, _ in piece.module.named_modules()])
        rows = calibration_rows(bench, config.n_calibration)
        train_if_aware(piece, config, bench, lambda: exported_float(piece.module, rows))
        whole = exported_float(piece.module, rows)
        graph = _converted(piece.module, rows, config, ())
        layers = sorted(_rounded_layers(graph))
        if not layers:
            raise CompressError(
                f"{type(piece.module).__name__} has no layer that torchao quantises",
                hint="keep fewer layers" if config.keep else 'say backend="onnxruntime"',
            )

        def answers(left: Collection[str]) -> torch.Tensor:
            return _answers(_converted(piece.module, rows, config, left), rows)

        spared = spared_layers(answers, layers, config, rows, whole)
        if spared:
            graph = _converted(piece.module, rows, config, spared)
        piece.onnx = saved(load(export_onnx(graph, with_rows(rows.inputs, 2))))
        piece.bits.update({layer: 8 for layer in layers if layer not in spared})
        _describe(piece, spared, config)
        piece.note(difference(piece, rows, whole))
        return piece


def _converted(
    module: nn.Module, rows: Rows, config: Quantization, spared: Collection[str]
) -> nn.Module:
    """The graph of a module with roundings in it, and with its weights as int8.

    Raises:
        CompressError: torchao or the export cannot do it; says why.
    """
    steps = extra(f"{_PACKAGE}.quantize_pt2e")
    x86 = extra(f"{_PACKAGE}.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer().set_global(_rule(x86, config))
    for name in (*config.keep, *spared):
        quantizer.set_module_name_qconfig(name, None)
    try:
        with quiet(), torch.no_grad():
            ready = steps.prepare_pt2e(_graph(module, rows), quantizer)
            _answers(ready, rows)
            made: nn.Module = steps.convert_pt2e(ready)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise CompressError(
            f"torchao cannot quantise {type(module).__name__}, and it stays as it is: "
            f"{type(error).__name__}: {lines[0] if lines else ''}"[:300],
            hint='backend="onnxruntime" quantises the file instead of the graph',
        ) from error
    extra(_PACKAGE).allow_exported_model_train_eval(made)
    return made


def _graph(module: nn.Module, rows: Rows) -> nn.Module:
    """A copy of the module as a graph that takes any number of rows."""
    example = with_rows(rows.inputs, 2)
    shape = {0: torch.export.Dim.DYNAMIC}
    if isinstance(example, dict):
        shapes: Any = dict.fromkeys(example, shape)
        given: tuple[Any, ...] = ()
        named: dict[str, Any] | None = example
    else:
        given, named = parts_of(example), None
        shapes = tuple(shape for _ in given)
    source = copy.deepcopy(module).eval()
    graph = torch.export.export(source, given, named, dynamic_shapes=shapes).module()
    write_norms_out(graph)
    return graph


def _answers(graph: nn.Module, rows: Rows) -> torch.Tensor:
    """The first output of a graph for all rows."""
    with torch.no_grad():
        found = [call(graph, _chunk(rows.inputs, begin)) for begin in range(0, rows.n, CHUNK)]
    return torch.cat([part if isinstance(part, torch.Tensor) else part[0] for part in found])


def _chunk(inputs: Any, begin: int) -> Any:
    if isinstance(inputs, dict):
        return {name: part[begin : begin + CHUNK] for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(part[begin : begin + CHUNK] for part in inputs)
    return inputs[begin : begin + CHUNK]


def _rule(x86: Any, config: Quantization) -> Any:
    """The recipe of torchao for these processors, with the calibration and the scales that were asked for."""
    observers = extra(f"{_PACKAGE}.observer")
    rule = x86.get_default_x86_inductor_quantization_config(reduce_range=not has_int8_products())
    if config.calibration == "minmax":
        seen = dataclasses.replace(
            rule.input_activation,
            observer_or_fake_quant_ctr=observers.MinMaxObserver.with_args(eps=EPS),
        )
        rule = dataclasses.replace(rule, input_activation=seen, output_activation=seen)
    if config.per == "tensor":
        weight = dataclasses.replace(
            rule.weight,
            qscheme=torch.per_tensor_symmetric,
            ch_axis=None,
            observer_or_fake_quant_ctr=observers.MinMaxObserver.with_args(eps=EPS),
        )
        rule = dataclasses.replace(rule, weight=weight)
    return rule


def _rounded_layers(graph: Any) -> set[str]:
    """Names of the layers whose weights are int8 in a converted graph."""
    found = set()
    for node in graph.graph.nodes:
        takes = [other for other in node.all_input_nodes if "dequantize" in other.name]
        is_weight = any(other.all_input_nodes[0].op == "get_attr" for other in takes)
        scopes = node.meta.get("nn_module_stack") or {}
        if is_weight and scopes and "quantize" not in node.name:
            found.add(list(scopes.values())[-1][0].removeprefix("L['self']."))
    return found


def _describe(piece: Piece, spared: Collection[str], config: Quantization) -> None:
    """Notes on what stayed in float, and why."""
    if spared:
        piece.note(f"left in 32 bits for the metric's sake: {', '.join(spared)}")
    for name, layer in piece.module.named_modules():
        is_weighty = any(weight.ndim > 1 for weight in layer.parameters(recurse=False))
        if (
            not name
            or not is_weighty
            or name in piece.bits
            or matches(name, (*config.keep, *spared))
        ):
            continue
        piece.note(
            f"{name} ({type(layer).__name__}) is left in 32 bits: torchao has no rule for it"
        )
    if not has_int8_products():
        piece.note("this processor has no int8 products: activations keep to 7 bits")
