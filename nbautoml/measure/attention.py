"""Attention as one node of an ONNX file.

torch's exporter writes `nn.MultiheadAttention` as some thirty nodes that reshape and transpose, which in
a small transformer take longer than the products. Since opset 23 ONNX has an operator for all of it:

::

    x -> q, k, v (one product) -> Attention -> product        where torch writes
    x -> Transpose, Reshape, Unsqueeze, Gather x 3, ... MatMul, Softmax, MatMul, ... -> product

Source: the ONNX operator specification, Attention-23.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from nbautoml.measure.counting import call

__all__ = ["OPSET", "attention_as_one_node", "has_such_attention"]

OPSET = 23
"""The first version of ONNX's operators that has it."""


def has_such_attention(module: nn.Module, example: Any) -> bool:
    """Whether a forward pass has attention that `attention_as_one_node` would write, and no other with a mask.

    From `OPSET` on torch's exporter writes other attention by the same operator, and ONNX Runtime
    1.23 to 1.32 does not take masks there that are broadcast, such as those of padded keys.

    Args:
        module: in evaluation; of any kind.
        example: its inputs.
    """
    watch = _Watch()
    with attention_as_one_node(module) as forwards:
        if not forwards:
            return False
        try:
            with watch, torch.no_grad():
                call(module, example)
        except Exception:  # noqa: BLE001  whoever exports it will say what a pass fails with
            return False
    return not watch.has_mask and any(forward.is_used for forward in forwards)


@contextlib.contextmanager
def attention_as_one_node(module: nn.Module) -> Iterator[list[Any]]:
    """While it lasts, attentions inside are written as one node each where that says the same.

    Which holds for attention of a sequence to itself, or to another, batch first, without masks of
    keys, extra keys and returned weights; what a forward pass asks for decides, call by call.

    Args:
        module: its layers' forward is put back afterwards.

    Yields:
        What takes the place of each forward; ``is_used`` once it was written as one node.
    """
    found = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.MultiheadAttention) and _is_plain(layer)
    ]
    forwards = [_Forward(layer) for layer in found]
    was_fast = torch.backends.mha.get_fastpath_enabled()
    # The fast path of an encoder's layer is one call that goes round its attention.
    torch.backends.mha.set_fastpath_enabled(was_fast and not found)
    for layer, forward in zip(found, forwards, strict=True):
        layer.forward = forward  # type: ignore[method-assign]
    try:
        yield forwards
    finally:
        for layer in found:
            del layer.forward
        torch.backends.mha.set_fastpath_enabled(was_fast)


def _is_plain(layer: nn.MultiheadAttention) -> bool:
    return (
        type(layer) is nn.MultiheadAttention
        and "forward" not in vars(layer)
        and layer.batch_first
        and layer.bias_k is None
        and not layer.add_zero_attn
        and layer.in_proj_weight is not None
    )


class _Watch(TorchFunctionMode):
    """Sees attention with a mask that goes another way."""

    has_mask = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            said = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False))
            self.has_mask |= {**said, **(kwargs or {})}.get("attn_mask") is not None
        return func(*args, **(kwargs or {}))


class _Forward:
    """Takes the place of an attention's forward."""

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        self._layer = layer
        self.is_used = False

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        layer = self._layer
        is_masked = key_padding_mask is not None or (attn_mask is not None and attn_mask.ndim != 2)
        is_wrong = is_causal and attn_mask is None  # its own forward says so
        if need_weights or is_masked or is_wrong or query.ndim != 3 or layer.training:
            return type(layer).forward(
                layer, query, key, value, key_padding_mask, need_weights, attn_mask,
                average_attn_weights, is_causal,
            )  # fmt: skip
        self.is_used = True
        asked, keys, values = _projected(layer, query, key, value)
        found = torch.onnx.ops.attention(
            asked,
            keys,
            values,
            _mask(attn_mask, query.dtype),
            q_num_heads=layer.num_heads,
            kv_num_heads=layer.num_heads,
        )
        return layer.out_proj(found[0]), None


def _projected(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, ...]:
    """What is compared, with what, and what is taken of it: ``(rows, steps, width)`` each."""
    if query is key and key is value:
        together = linear(query, layer.in_proj_weight, layer.in_proj_bias)
        return tuple(together.chunk(3, dim=-1))
    weights = layer.in_proj_weight.chunk(3)
    biases = (None,) * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    return tuple(
        linear(rows, weight, bias)
        for rows, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )


def _mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask as numbers that are added: torch's is true where nothing is looked at."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))
