"""Batch norms of an exported graph as sums and products, where torchao must not fold them."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["write_norms_out"]

_FOLDING = frozenset(
    {
        torch.ops.aten.conv1d.default,
        torch.ops.aten.conv2d.default,
        torch.ops.aten.conv3d.default,
    }
)


def write_norms_out(graph_module: Any) -> int:
    """Write norms as ``shift + x * scale``, but for those that a convolution before them takes in; in place.

    torchao folds a norm into the convolution before it even where something else reads that
    convolution, too, which then sees the norm's values. And with one norm left it looks for the
    patterns of training, for a minute.

    Args:
        graph_module: what ``torch.export`` made of a module in evaluation.

    Returns:
        How many were written out.
    """
    graph, n_written = graph_module.graph, 0
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.batch_norm.default:
            continue
        before = node.args[0]
        if before.target in _FOLDING and len(before.users) == 1:
            continue
        scale, shift = _affine(graph_module, node)
        shape = (-1, *[1] * (node.meta["val"].ndim - 2))
        with graph.inserting_before(node):
            taken = [before]
            for kind, tensor in (("scale", scale), ("shift", shift)):
                name = f"_norm_{kind}_{n_written}"
                graph_module.register_buffer(name, tensor.reshape(shape))
                taken.append(graph.get_attr(name))
            before, scale_node, shift_node = taken
            made = graph.call_function(
                torch.ops.aten.addcmul.default, (shift_node, before, scale_node)
            )
        made.meta.update(node.meta)
        node.replace_all_uses_with(made)
        graph.erase_node(node)
        n_written += 1
    if n_written:
        graph.eliminate_dead_code()
        graph_module.recompile()
    return n_written


def _affine(graph_module: Any, node: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What a norm multiplies by and adds, one number a channel."""
    weight, bias, mean, variance = (_held(graph_module, argument) for argument in node.args[1:5])
    assert mean is not None  # a norm without running figures is one of the batch, and exported so
    assert variance is not None
    scale = (variance + float(node.args[7])).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale.detach(), (shift if bias is None else shift + bias).detach()


def _held(graph_module: Any, argument: Any) -> torch.Tensor | None:
    if argument is None:
        return None
    found: Any = graph_module
    for name in argument.target.split("."):
        found = getattr(found, name)
    tensor: torch.Tensor = found
    return tensor
