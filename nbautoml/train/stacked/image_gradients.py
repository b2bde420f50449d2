"""Forward and backward passes of images without autograd: convolutions, pooling, batch norm. See `gradients`.

Images lie with their channels last, as torch's convolutions on a CPU are fastest; a gradient that comes from a
linear layer does not, and is brought into that order first (max pooling of 64 x 16 x 14 x 14: 90 us instead
of 400 to 740).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nbautoml.train.stacked.calls import Call, Into, Step, Values, add, like
from nbautoml.train.stacked.images import (
    channels_last,
    conv_each,
    pooling_of,
    split,
    spread,
    together,
)
from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.rules import put_back

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "convolution", "max_pool2d"]

_aten = torch.ops.aten


def convolution(call: Call) -> Step | None:
    """``conv1d`` and ``conv2d`` of a batch, one call a trial; on a GPU all trials' are one, by autograd."""
    op, names, own, shapes = call.op, call.names, call.own, call.tape.shapes
    asked = call.options("weight", "bias", "stride", "padding", "dilation", "groups")
    weight: Any = asked.get("weight")
    bias: Any = asked.get("bias")
    if call.device.type != "cpu" or isinstance(asked.get("padding"), str):
        return None
    if not call.is_weight(weight) or not (bias is None or call.is_weight(bias)):
        return None
    x_at, weight_at, out_at = call.source, weight.index, op.outputs[0]
    if len(shapes[x_at]) != len(shapes[weight_at]):  # an image alone
        return None
    bias_at = None if bias is None else bias.index
    n = len(shapes[weight_at]) - 2
    stride, padding, dilation = (
        spread(asked.get(name, usual), n)
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    groups = asked.get("groups", 1)
    weight_name, bias_name = names[weight_at], "" if bias_at is None else names[bias_at]
    # The bias's gradient is a sum of its own: oneDNN takes 125 us more for it, where the sum takes 44.
    wanted = [x_at in call.live, weight_name in own, False]

    def forward(values: Values, _: Draws) -> None:
        bias = None if bias_at is None else values[bias_at]
        values[out_at] = conv_each(
            op, values[x_at], values[weight_at], bias, stride, padding, dilation, groups
        )

    def backward(values: Values, grads: Values, _: Draws, into: Into) -> None:
        grad = like(grads[out_at], values[out_at])
        if bias_name in own:
            torch.sum(grad, (1, *range(3, grad.ndim)), out=into[bias_name])
        found = []
        trials = zip(values[x_at].unbind(), grad.unbind(), values[weight_at].unbind(), strict=True)
        for at, (x, own_grad, kernel) in enumerate(trials if any(wanted) else ()):
            from_x, from_weight, _ = _aten.convolution_backward(
                own_grad, x, channels_last(kernel), None, stride, padding, dilation,
                False, [0] * n, groups, wanted,
            )  # fmt: skip
            found.append(from_x)
            if wanted[1]:
                into[weight_name][at].copy_(from_weight)
        if wanted[0]:
            add(grads, x_at, together(found))

    return forward, backward


def max_pool2d(call: Call) -> Step | None:
    """Max pooling of a batch of images: the places of the largest are kept for their gradient."""
    *how, has_places = pooling_of(*call.op.args[1:], **call.op.kwargs)
    if has_places or len(call.op.shapes[0]) != 4:
        return None
    source, target, slot = call.source, call.op.outputs[0], call.slot

    def forward(values: Values, _: Draws) -> None:
        x = values[source]
        out, values[slot] = _aten.max_pool2d_with_indices(x.flatten(0, 1), *how)
        values[target] = _by_trial(out, x)

    def backward(values: Values, grads: Values, _: Draws, __: Into) -> None:
        x = values[source].flatten(0, 1)
        grad = _ordered(grads[target].flatten(0, 1), x)
        found = _aten.max_pool2d_with_indices_backward(grad, x, *how, values[slot])
        add(grads, source, _by_trial(found, values[source]))

    return forward, backward


def avg_pool2d(call: Call) -> Step | None:
    """Average pooling of a batch of images."""
    asked = call.options(
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
    )
    if len(call.op.shapes[0]) != 4:
        return None
    kernel = spread(asked["kernel_size"], 2)
    how = (
        kernel, spread(asked.get("stride") or kernel, 2), spread(asked.get("padding", 0), 2),
        bool(asked.get("ceil_mode", False)), bool(asked.get("count_include_pad", True)),
        asked.get("divisor_override"),
    )  # fmt: skip
    return _pooled(
        call,
        lambda x: _aten.avg_pool2d(x, *how),
        lambda grad, x: _aten.avg_pool2d_backward(grad, x, *how),
    )


def adaptive_avg_pool2d(call: Call) -> Step | None:
    """Average pooling of a batch of images to a size."""
    if len(call.op.shapes[0]) != 4:
        return None
    shape = call.op.shapes[0][2:]
    return _pooled(
        call,
        lambda x: _aten.adaptive_avg_pool2d(x, shape),
        _aten._adaptive_avg_pool2d_backward,  # noqa: SLF001  its name in torch
    )


def _pooled(
    call: Call, pool: Callable[[Tensor], Tensor], back: Callable[[Tensor, Tensor], Tensor]
) -> Step:
    source, target = call.source, call.op.outputs[0]

    def forward(values: Values, _: Draws) -> None:
        x = values[source]
        values[target] = _by_trial(pool(x.flatten(0, 1)), x)

    def backward(values: Values, grads: Values, _: Draws, __: Into) -> None:
        x = values[source].flatten(0, 1)
        found = back(_ordered(grads[target].flatten(0, 1), x), x)
        add(grads, source, _by_trial(found, values[source]))

    return forward, backward


def batch_norm(call: Call) -> Step | None:
    """Batch norm on a CPU: a trial's channels beside the others', running statistics in their buffers."""
    names, own, out_at = call.names, call.own, call.op.outputs[0]
    order = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    asked = call.options(*order)
    given = [asked.get(name) for name in order[:4]]
    if call.device.type != "cpu" or not all(v is None or call.is_weight(v) for v in given):
        return None
    places = [None if value is None else value.index for value in given]
    is_training, momentum, eps = (
        asked.get(name, usual) for name, usual in (("training", False), ("momentum", 0.1), ("eps", 1e-5))
    )  # fmt: skip
    asked_for = ["" if at is None else names[at] for at in places[2:]]
    source, slot = call.source, call.slot
    wanted = [source in call.live, asked_for[0] in own, asked_for[1] in own]

    def forward(values: Values, _: Draws) -> None:
        x = values[source]
        flat = [None if at is None else values[at].reshape(-1) for at in places]
        wide = x.transpose(0, 1).flatten(1, 2)
        out, *found = _aten.native_batch_norm(
            wide, flat[2], flat[3], flat[0], flat[1], is_training, momentum, eps
        )
        if is_training:
            for at, new in zip(places[:2], flat[:2], strict=True):
                put_back(None if at is None else values[at], new)
        values[slot] = (wide, flat, found)
        values[out_at] = split(out, len(x))

    def backward(values: Values, grads: Values, _: Draws, into: Into) -> None:
        wide, flat, found = values[slot]
        grad = like(grads[out_at].transpose(0, 1).flatten(1, 2), wide)
        from_x, *from_weights = _aten.native_batch_norm_backward(
            grad, wide, flat[2], flat[0], flat[1], *found, is_training, eps, wanted
        )
        for name, own_grad in zip(asked_for, from_weights, strict=True):
            if name in own:
                into[name].copy_(own_grad.view_as(into[name]))
        if wanted[0]:
            add(grads, source, split(from_x, len(values[source])))

    return forward, backward


def _by_trial(images: Tensor, x: Tensor) -> Tensor:
    """``(K * B, ...)`` to ``(K, B, ...)``, as many as in x."""
    return images.view(*x.shape[:2], *images.shape[1:])


def _ordered(grad: Tensor, images: Tensor) -> Tensor:
    """A gradient of pooled images with its channels where theirs are."""
    is_last = images.is_contiguous(memory_format=torch.channels_last)
    return grad.contiguous(memory_format=torch.channels_last) if is_last else grad.contiguous()
