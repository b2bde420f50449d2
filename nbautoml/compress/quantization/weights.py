"""Weights alone in fewer bits: the file holds small numbers, and what computes sees floats.

::

    int8, int4   DequantizeLinear(small, scale) -> the node that took the weight
    fp16, bf16   Cast(half) -> the node that took the weight

ONNX Runtime computes a cast of a constant once, when it opens the file. A DequantizeLinear it leaves
where it is, or makes one kernel of it and the product (``MatMulNBits``) where it has that.
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
        bits: 8, or 4 (with a scale for every 32 weights of a matrix product, for every channel of
            a convolution).
        spared: nodes whose weights stay float.
        is_per_channel: for int8, whether each output channel has its own scale.
    """
    onnx = extra("onnx")
    changed = copy.deepcopy(model)
    if bits == 4:
        changed = onnx.version_converter.convert_version(changed, OPSET_INT4)
    for held in _one_a_weight(changed, spared):
        item = next(item for item in changed.graph.initializer if item.name == held.name)
        weight = onnx.numpy_helper.to_array(item)
        axis = _output_axis(changed, held, weight)
        _swap(changed, item, *_dequantized(onnx, held, weight, bits, axis, is_per_channel))
    return changed


def _dequantized(
    onnx: Any, held: Held, weight: Array, bits: int, axis: int, is_per_channel: bool
) -> tuple[list[Any], Any]:
    """The initializers and the node that give a weight back."""
    options: dict[str, Any] = {"axis": axis}
    others = tuple(at for at in range(weight.ndim) if at != axis)
    inner = 1 - axis
    if bits == 4 and weight.ndim == 2 and held.op_type != "Gather" and weight.shape[inner] > BLOCK:
        small, scale = _in_blocks(weight, inner)
        options = {"axis": inner, "block_size": BLOCK}
    elif bits == 8 and not is_per_channel:
        small, scale = rounded(weight, bits, tuple(range(weight.ndim)))
        scale, options = scale.reshape(()), {}
    else:
        small, scale = rounded(weight, bits, others)
        scale = scale.reshape(-1)
    kind = onnx.TensorProto.INT4 if bits == 4 else onnx.TensorProto.INT8
    names = f"{held.name}_int{bits}", f"{held.name}_scale"
    numbers = onnx.helper.make_tensor(names[0], kind, small.shape, _packed(small, bits), raw=True)
    scales = onnx.numpy_helper.from_array(scale.astype(np.float32), names[1])
    node = onnx.helper.make_node(
        "DequantizeLinear",
        list(names),
        [held.name],
        name=f"{held.node}_weight{held.place}",
        **options,
    )
    return [numbers, scales], node


def _packed(small: Array, bits: int) -> bytes:
    """The numbers as a file holds them: two to a byte in int4, the first in the lower half."""
    if bits == 8:
        return small.tobytes()
    flat = small.ravel().view(np.uint8) & 0x0F
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return bytes(flat[::2] | (flat[1::2] << 4))


def _in_blocks(weight: Array, axis: int) -> tuple[Array, Array]:
    """Int4 with a scale for every `BLOCK` weights along an axis."""
    turned = np.moveaxis(weight, axis, 1)
    n_blocks = -(-turned.shape[1] // BLOCK)
    padded = np.zeros((turned.shape[0], n_blocks * BLOCK), np.float32)
    padded[:, : turned.shape[1]] = turned
    small, scale = rounded(padded.reshape(len(turned), n_blocks, BLOCK), 4, (2,))
    small = small.reshape(len(turned), -1)[:, : turned.shape[1]]
    return np.ascontiguousarray(np.moveaxis(small, 1, axis)), np.ascontiguousarray(
        np.moveaxis(scale[:, :, 0], 1, axis)
    )


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
        _swap(changed, item, [half], node)
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


def _swap(model: Any, item: Any, made: list[Any], node: Any) -> None:
    """Put what was made in the place of an initializer."""
    model.graph.initializer.remove(item)
    model.graph.initializer.extend(made)
    model.graph.node.insert(0, node)
