"""Int8 by ONNX Runtime's quantiser: activations by calibration (static) or by each batch (dynamic)."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nbautoml.compress.quantization.graph import weights_of
from nbautoml.compress.quantization.kernels import has_int8_products
from nbautoml.compress.quantization.ranges import Range
from nbautoml.measure import quiet
from nbautoml.measure.exported import extra

__all__ = ["DYNAMIC", "STATIC", "dynamic", "prepared", "static"]

STATIC = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
DYNAMIC = ("Conv", "Gemm", "MatMul", "Gather", "LSTM")
# They hand eight bits on as they are; without them a chain would go through float in between.
_MOVERS = ("MaxPool", "Relu", "Clip", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
_JOINS = ("Add", "Concat", "GlobalAveragePool", "AveragePool")


def prepared(data: bytes) -> bytes:
    """A float file with norms folded, constants computed and all types inferred.

    What ONNX Runtime advises before its quantiser.
    """
    runtime = extra("onnxruntime")
    onnx = extra("onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    model = onnx.shape_inference.infer_shapes(model)
    _name_anew(model)
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def _name_anew(model: Any) -> None:
    """Name nodes that the optimiser made, since the quantiser goes by names, and give each a layer."""
    weights = {held.node: held.name for held in weights_of(model) if not held.layer}
    taken: set[str] = set()
    for at, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_new{at}"
        if node.name in weights:
            node.name = f"{weights[node.name]}/{node.op_type}_{at}"
        taken.add(node.name)


def static(
    model: Any, ranges: Mapping[str, Range], *, spared: Collection[str], is_per_channel: bool
) -> Any:
    """A model with QuantizeLinear and DequantizeLinear around what is quantised.

    Args:
        model: prepared, a ``ModelProto``; left as it is.
        ranges: of its activations.
        spared: nodes that stay in float.
        is_per_channel: whether each output channel has its own scale.
    """
    quantising = extra("onnxruntime.quantization")
    calibrate = extra("onnxruntime.quantization.calibrate")
    quantizer = extra("onnxruntime.quantization.qdq_quantizer")
    known = calibrate.TensorsData(
        calibrate.CalibrationMethod.MinMax,
        {name: _as_floats(found) for name, found in ranges.items()},
    )
    chosen = [name for name in _statically(model) if name not in spared]
    if not chosen:
        return copy.deepcopy(model)
    with quiet():
        work = quantizer.QDQQuantizer(
            copy.deepcopy(model),
            is_per_channel,
            not has_int8_products(),
            quantising.QuantType.QInt8,
            quantising.QuantType.QUInt8,
            known,
            chosen,
            [],
            [*STATIC, *_MOVERS, *_JOINS],
            {
                "MatMulConstBOnly": True,
                "TensorQuantOverrides": {
                    name: [{"quant_type": quantising.QuantType.QInt8}] for name in _tables(model)
                },
            },
        )
        work.quantize_model()
    return work.model.model


def _tables(model: Any) -> set[str]:
    """Weights that rows are looked up in and that a product takes, too: they have one scale.

    Rows come with the scale of their table, which must then be the same for all of them.
    """
    takers: dict[str, set[str]] = {}
    for held in weights_of(model):
        takers.setdefault(held.name, set()).add(held.op_type)
    return {name for name, kinds in takers.items() if "Gather" in kinds and len(kinds) > 1}


def _as_floats(found: Range) -> tuple[Any, Any]:
    numpy = extra("numpy")
    return numpy.float32(found[0]), numpy.float32(found[1])


def _statically(model: Any) -> list[str]:
    """Nodes to quantise: those with weights, and what lies between two of them."""
    fixed = {item.name for item in model.graph.initializer}
    weighted = {held.node for held in weights_of(model) if held.op_type in STATIC}
    chosen, quantised = [], set()
    for node in model.graph.node:
        inputs = [name for name in node.input if name and name not in fixed]
        is_moved = node.op_type in _MOVERS and bool(inputs) and inputs[0] in quantised
        is_joined = (
            node.op_type in _JOINS
            and len(inputs) == len(node.input)
            and all(name in quantised for name in inputs)
        )
        if node.name in weighted or is_moved or is_joined:
            chosen.append(node.name)
            quantised.update(node.output)
    return chosen


def dynamic(
    model: Any,
    *,
    spared: Collection[str],
    is_per_channel: bool,
    op_types: Collection[str] = DYNAMIC,
) -> Any:
    """A model whose weights are int8 and whose activations are made so batch by batch.

    Args:
        model: prepared, a ``ModelProto``; left as it is.
        spared: nodes that stay in float.
        is_per_channel: whether each output channel has its own scale.
        op_types: which nodes.
    """
    quantising = extra("onnxruntime.quantization")
    quantizer = extra("onnxruntime.quantization.onnx_quantizer")
    utils = extra("onnxruntime.quantization.quant_utils")
    chosen = [
        held.node
        for held in weights_of(model)
        if held.op_type in op_types and held.node not in spared
    ]
    if not chosen:
        return copy.deepcopy(model)
    changed = copy.deepcopy(model)
    _gemms_apart(changed, chosen)
    with quiet():
        work = quantizer.ONNXQuantizer(
            changed,
            is_per_channel,
            not has_int8_products(),
            utils.QuantizationMode.IntegerOps,
            False,
            quantising.QuantType.QInt8,
            quantising.QuantType.QUInt8,
            None,
            chosen,
            [],
            list(op_types),
            {"MatMulConstBOnly": True},
        )
        work.quantize_model()
    return work.model.model


def _gemms_apart(model: Any, nodes: Collection[str]) -> None:
    """Write ``Gemm`` as a product and a sum, in place: the integer product is of ``MatMul`` alone."""
    helper, numpy_helper = extra("onnx").helper, extra("onnx").numpy_helper
    weights = {item.name: item for item in model.graph.initializer}
    written: list[Any] = []
    for node in model.graph.node:
        settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        is_plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
        if node.op_type != "Gemm" or node.name not in nodes or not is_plain:
            written.append(node)
            continue
        name = node.input[1]
        if settings.get("transB", 0):
            turned = numpy_helper.to_array(weights[name]).T.copy()
            name = f"{name}_turned"
            if name not in weights:
                weights[name] = numpy_helper.from_array(turned, name)
                model.graph.initializer.append(weights[name])
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}_product" if has_bias else node.output[0]
        written.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if has_bias:
            summed = helper.make_node("Add", [product, node.input[2]], [node.output[0]])
            summed.name = f"{node.name}_bias"
            written.append(summed)
    del model.graph.node[:]
    model.graph.node.extend(written)
    _forget_unused(model)


def _forget_unused(model: Any) -> None:
    """Take away initializers that no node takes, in place."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
