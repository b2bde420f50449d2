"""A function's forward and backward pass without autograd: what `nbautoml.train.stacked.direct` is made of.

Each maker looks at a call on the tape and gives two functions, or None where that call is not known::

    forward(values, draws)               puts the call's result into the values
    backward(values, grads, draws, into) from its result's gradient: its arguments' into ``grads``, its
                                         weights' to where the optimiser reads them

They call the kernels that autograd would call, on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nbautoml.train.stacked.calls import Call, Into, Step, Values, add, like
from nbautoml.train.stacked.image_gradients import (
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
    convolution,
    max_pool2d,
)
from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.program import compiled
from nbautoml.train.stacked.rules import RULES, SHAPING, everywhere
from nbautoml.train.stacked.tape import Op, Ref, name_of, refs_in

__all__ = ["step_of", "unmoved"]

_aten = torch.ops.aten
_ACTIVATIONS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda grad, _, out: _aten.threshold_backward(grad, out, 0),
    "tanh": lambda grad, _, out: _aten.tanh_backward(grad, out),
    "sigmoid": lambda grad, _, out: _aten.sigmoid_backward(grad, out),
    "silu": lambda grad, x, _: _aten.silu_backward(grad, x),
}
"""By the activation's name: from the gradient of its result, its argument and its result."""


def step_of(call: Call) -> Step | None:
    """How a call is computed both ways; None where that is not known."""
    op, source = call.op, call.source
    if source < 0 or source in call.names or (op.kwargs.get("inplace") and not call.may_write):
        return None
    if op.noise is not None:
        return _dropout(call)
    if op.function not in RULES:
        return None
    short = name_of(op.function).rpartition(".")[2]
    if op.function in _MAKERS:
        return _MAKERS[op.function](call)
    others = list(refs_in((op.args[1:], op.kwargs)))
    if op.function in SHAPING and not others:
        return _shaped(call)
    is_plain = len(op.args) == 1 and op.kwargs.keys() <= {"inplace"}
    return _unary(call, short) if short in _ACTIVATIONS and is_plain else None


def unmoved(op: Op) -> Step | None:
    """A call that hangs on no trained weight: it has no backward pass."""
    has_values = any(True for _ in refs_in((op.args, op.kwargs)))
    return (compiled(op), None) if has_values and not op.is_random else None


# -- elementwise ----------------------------------------------------------------------------


def _dropout(call: Call) -> Step:
    source, target, which, kept_at = (
        call.source, call.op.outputs[0], call.which_noise, call.slot,
    )  # fmt: skip

    def forward(values: Values, draws: Draws) -> None:
        factor, x = draws.factor(which), values[source]
        values[target], values[kept_at] = x if factor is None else x * factor, factor

    def backward(values: Values, grads: Values, _: Draws, __: Into) -> None:
        factor, grad = values[kept_at], grads[target]
        add(grads, source, grad if factor is None else grad * factor)

    return forward, backward


def _shaped(call: Call) -> Step:
    source, target, shape = call.source, call.op.outputs[0], call.op.shapes[0]

    def forward(values: Values, _: Draws) -> None:
        values[target] = values[source].reshape(len(values[source]), *shape)

    def backward(values: Values, grads: Values, _: Draws, __: Into) -> None:
        x = values[source]
        add(grads, source, like(grads[target].reshape(x.shape), x))

    return forward, backward


def _unary(call: Call, short: str) -> Step:
    source, target, slope = call.source, call.op.outputs[0], _ACTIVATIONS[short]
    function = getattr(torch, short, call.op.function)

    def forward(values: Values, _: Draws) -> None:
        values[target] = function(values[source])

    def backward(values: Values, grads: Values, _: Draws, __: Into) -> None:
        add(grads, source, slope(grads[target], values[source], values[target]))

    return forward, backward


# -- with weights ---------------------------------------------------------------------------


def _linear(call: Call) -> Step | None:
    """``x W^T + b``, with W and b weights of the module."""
    op, names, own, shapes = call.op, call.names, call.own, call.tape.shapes
    if len(op.args) < 2 or op.kwargs.keys() - {"bias"}:
        return None
    x, weight, bias = (*op.args, *op.kwargs.values(), None)[:3]
    if not call.is_weight(weight) or not (bias is None or call.is_weight(bias)):
        return None
    x_at, weight_at, bias_at = x.index, weight.index, None if bias is None else bias.index
    if len(shapes[weight_at]) != 2 or len(shapes[x_at]) < 2:
        return None
    weight_name, bias_name = names[weight_at], names[bias_at] if bias_at is not None else ""
    out_at, is_flat, needs_x = op.outputs[0], len(shapes[x_at]) == 2, x_at in call.live

    def rows(x: Tensor) -> Tensor:
        return x if is_flat else x.reshape(len(x), -1, x.shape[-1])

    def forward(values: Values, _: Draws) -> None:
        x, weight = values[x_at], values[weight_at].transpose(1, 2)
        if bias_at is None:
            out = torch.bmm(rows(x), weight)
        else:
            out = torch.baddbmm(values[bias_at].unsqueeze(1), rows(x), weight)
        values[out_at] = out if is_flat else out.view(*x.shape[:-1], -1)

    def backward(values: Values, grads: Values, _: Draws, into: Into) -> None:
        x, grad = values[x_at], rows(grads[out_at])
        if weight_name in own:
            torch.bmm(grad.transpose(1, 2), rows(x), out=into[weight_name])
        if bias_name in own:
            _sum_rows(grad, into[bias_name])
        if needs_x:
            add(grads, x_at, torch.bmm(grad, values[weight_at]).view(x.shape))

    return forward, backward


def _sum_rows(grad: Tensor, into: Tensor) -> None:
    """Added up in the order in which autograd does it, whatever rows lie in between (after batch norm)."""
    if grad.is_contiguous() or grad.stride(2) != 1:
        torch.sum(grad, 1, out=into)
    else:
        into.copy_(grad.sum(1))


def _sum(call: Call) -> Step | None:
    """``x + y`` of two values of the same shape."""
    op, shapes = call.op, call.tape.shapes
    if len(op.args) != 2 or op.kwargs or not isinstance(op.args[1], Ref):
        return None
    first, second, target = call.source, op.args[1].index, op.outputs[0]
    is_written = name_of(op.function).endswith(("add_", "__iadd__")) and not call.may_write
    if is_written or second in call.names or shapes[first] != shapes[second]:
        return None

    def forward(values: Values, _: Draws) -> None:
        values[target] = values[first] + values[second]

    def backward(_: Values, grads: Values, __: Draws, ___: Into) -> None:
        add(grads, first, grads[target])
        add(grads, second, grads[target])

    return forward, backward


_MAKERS: Mapping[Callable[..., Any], Callable[[Call], Step | None]] = {
    function: maker
    for names, maker in (
        ("linear", _linear), ("conv1d conv2d", convolution), ("max_pool2d", max_pool2d),
        ("avg_pool2d", avg_pool2d), ("adaptive_avg_pool2d", adaptive_avg_pool2d),
        ("batch_norm", batch_norm), ("add add_ __add__ __iadd__", _sum),
    )
    for function in everywhere(names)
}  # fmt: skip
