"""Weights alone in fewer bits: the file holds small numbers, and what computes sees floats.

::

    int8, int4   Cast(small) * scale -> the node that took the weight
    fp16, bf16   Cast(half) -> the node that took the weight

ONNX Runtime computes what has constants alone once, when it opens the file: calls are as fast as with
floats, and memory holds floats. A DequantizeLinear, the usual way to write this, it computes again in
every call: on an AMD EPYC 1.2 to 1.8 times as long for two layers of 256 to 3072 in int8, and twice to
twenty times in int4.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from nbautoml.compress.quantization.graph import RECURRENT, Held, weights_of
from nbautoml.measure.exported import extra

__all__ = ["OPSET_INT4", "fewer_bits", "half_weights", "rounded"]

OPSET_INT4 = 21
BLOCK = 32  # weights that share a scale in int4
Array = npt.NDArray[Any]


def rounded(weight: Array, bits: int, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """A weight as whole numbers and scales, symmetric around zero.

    Args:
        weight: floats.
        bits: 8 or 4.
        axes: over which one scale is shared.

    >>> small, scale = rounded(np.array([[1.0, -0.5], [0.2, 0.1]]), 8, (1,))
    >>> small.tolist(), [round(127 * float(s), 2) for s in scale.ravel()]
    ([[127, -64], [127, 64]], [1.0, 0.2])
    """
    top = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=axes, keepdims=True)
    scale = np.where(largest > 0, largest / top, 1.0).astype(np.float32)
    small = np.clip(np.round(weight / scale), -top, top).astype(np.int8)
    return small, scale


def fewer_bits(model: Any, bits: int, *, spared: Collection[str], is_per_channel: bool) -> Any:
    """A model whose weights are int8 or int4; what is computed with them stays float.

    Args:
        model: float; left as it is.
        bits: 8, or 4 (with a scale for every 32 weights of a matrix product at most, for every
            channel of a convolution).
        spared: nodes whose weights stay float.
        is_per_channel: for int8, whether each output channel has its own scale.
    """
    onnx = extra("onnx")
    changed = copy.deepcopy(model)
    version = next(item.version for item in model.opset_import if not item.domain)
    if bits == 4 and version < OPSET_INT4:
        changed = onnx.version_converter.convert_version(changed, OPSET_INT4)
    for held in _one_a_weight(changed, spared):
        item = next(item for item in changed.graph.initializer if item.name == held.name)
        weight = onnx.numpy_helper.to_array(item)
        axis = _output_axis(changed, held, weight)
        _swap(changed, item, *_restored(onnx, held, weight, bits, axis, is_per_channel))
    return changed


def _restored(
    onnx: Any, held: Held, weight: Array, bits: int, axis: int, is_per_channel: bool
) -> tuple[list[Any], list[Any]]:
    """The initializers and the nodes that give a weight back."""
    inner = 1 - axis
    n_blocks = 1
    if bits == 4 and weight.ndim == 2 and held.op_type != "Gather":
        n_blocks = -(-weight.shape[inner] // BLOCK)
    if n_blocks > 1:
        small, scale = _in_blocks(weight, inner, n_blocks)
    else:
        others = tuple(at for at in range(weight.ndim) if at != axis)
        is_whole = bits == 8 and not is_per_channel
        small, scale = rounded(weight, bits, tuple(range(weight.ndim)) if is_whole else others)
    kind = onnx.TensorProto.INT4 if bits == 4 else onnx.TensorProto.INT8
    names = f"{held.name}_int{bits}", f"{held.name}_scale"
    made = [
        onnx.helper.make_tensor(names[0], kind, small.shape, _packed(small, bits), raw=True),
        onnx.numpy_helper.from_array(scale.astype(np.float32), names[1]),
    ]
    steps = [("Cast", [names[0]], {"to": 1}), ("Mul", ["", names[1]], {})]
    if n_blocks > 1:
        flat = [-1 if at == inner else size for at, size in enumerate(weight.shape)]
        steps.append(("Reshape", ["", _number(onnx, made, f"{held.name}_shape", flat)], {}))
        if small.shape[inner] * small.shape[inner + 1] > weight.shape[inner]:
            ends = [
                _number(onnx, made, f"{held.name}_{name}", [value])
                for name, value in (("from", 0), ("to", weight.shape[inner]), ("axis", inner))
            ]
            steps.append(("Slice", ["", *ends], {}))
    return made, _chain(onnx, steps, held)


def _number(onnx: Any, made: list[Any], name: str, values: list[int]) -> str:
    made.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
    return name


def _chain(onnx: Any, steps: list[tuple[str, list[str], dict[str, Any]]], held: Held) -> list[Any]:
    """Nodes each of which takes what the one before made; the last makes the weight."""
    nodes = []
    for at, (kind, inputs, settings) in enumerate(steps):
        target = held.name if at == len(steps) - 1 else f"{held.name}_{at}"
        taken = inputs if at == 0 else [f"{held.name}_{at - 1}", *inputs[1:]]
        name = f"{held.node}_weight{held.place}_{at}"
        nodes.append(onnx.helper.make_node(kind, taken, [target], name=name, **settings))
    return nodes


def _packed(small: Array, bits: int) -> bytes:
    """The numbers as a file holds them: two to a byte in int4, the first in the lower half."""
    if bits == 8:
        return small.tobytes()
    flat = small.ravel().view(np.uint8) & 0x0F
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return bytes(flat[::2] | (flat[1::2] << 4))


def _in_blocks(weight: Array, axis: int, n_blocks: int) -> tuple[Array, Array]:
    """Int4 with a scale for each block along an axis, which becomes two: blocks, and places in one.

    Blocks are as equal as they can be, so that little has to be filled up with zeros.
    """
    size = -(-weight.shape[axis] // n_blocks)
    wide = [(0, 0), (0, 0)]
    wide[axis] = (0, n_blocks * size - weight.shape[axis])
    shape = list(weight.shape)
    shape[axis : axis + 1] = [n_blocks, size]
    return rounded(np.pad(weight, wide).reshape(shape), 4, (axis + 1,))


def half_weights(model: Any, to: str, *, spared: Collection[str]) -> Any:
    """A model whose weights are fp16 or bf16; what is computed with them stays float32.

    Args:
        model: float; left as it is.
        to: "fp16" or "bf16".
        spared: nodes whose weights stay float32.
    """
    onnx = extra("onnx")
    changed = copy.deepcopy(model)
    for held in _one_a_weight(changed, spared):
        item = next(item for item in changed.graph.initializer if item.name == held.name)
        weight = onnx.numpy_helper.to_array(item)
        name = f"{held.name}_{to}"
        if to == "fp16":
            limit = np.finfo(np.float16).max
            half = onnx.numpy_helper.from_array(
                np.clip(weight, -limit, limit).astype(np.float16), name
            )
        else:
            half = onnx.helper.make_tensor(
                name, onnx.TensorProto.BFLOAT16, weight.shape, _bf16(weight), raw=True
            )
        node = onnx.helper.make_node(
            "Cast", [name], [held.name], name=f"{held.node}_weight{held.place}", to=1
        )
        _swap(changed, item, [half], [node])
    return changed


def _bf16(weight: Array) -> bytes:
    """Floats cut to their upper 16 bits, rounded to the nearest, to even in the middle."""
    whole = np.ascontiguousarray(weight, np.float32).view(np.uint32)
    return bytes(((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype("<u2").tobytes())


def _one_a_weight(model: Any, spared: Collection[str]) -> list[Held]:
    """Each weight once; one that a spared node uses, too, stays as it is."""
    found = weights_of(model)
    left = {held.name for held in found if held.node in spared}
    return list({held.name: held for held in found if held.name not in left}.values())


def _output_axis(model: Any, held: Held, weight: Array) -> int:
    """The axis of a weight along which the outputs of its layer lie."""
    if held.op_type in {*RECURRENT, "ConvTranspose"}:
        return 1
    if held.op_type == "MatMul":
        return weight.ndim - 1 if held.place == 1 else weight.ndim - 2
    if held.op_type == "Gemm":
        node = next(node for node in model.graph.node if node.name == held.node)
        is_turned = any(item.name == "transB" and item.i for item in node.attribute)
        return 0 if is_turned else 1
    return 0  # of a convolution, and of the rows of a table


def _swap(model: Any, item: Any, made: list[Any], nodes: list[Any]) -> None:
    """Put what was made in the place of an initializer."""
    model.graph.initializer.remove(item)
    model.graph.initializer.extend(made)
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
