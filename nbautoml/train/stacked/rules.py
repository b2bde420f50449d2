"""How a function of one trial is computed for a stack: values are ``(K, ...)``, weights too.

A rule takes the stacked arguments and gives the stacked result. A function without a rule goes
through `torch.vmap`, which knows nearly all of torch at some 50 us a call; what that doesn't know
(LSTM, GRU, fused attention) is called for one trial after the other.

=====================================  ======================================================
functions                              rule
=====================================  ======================================================
linear                                 one `baddbmm`; inputs that all trials share: one product
elementwise, one tensor                as it is
elementwise, several tensors           aligned: a bias (K, n) against (K, B, n) is (K, 1, n)
view, reshape, flatten                 with K in front
pooling, interpolation                 K and the batch as one batch
conv1d, conv2d                         CUDA: one grouped convolution; CPU: one a trial (below)
batch norm                             K times as many channels
layer norm, group norm                 K and the batch as one batch, then each trial's scale
embedding                              one table of K times the rows
dropout                                a product with what `Noise` drew
=====================================  ======================================================

On a CPU a grouped convolution is worse than one call a trial: 16 trials of a small CNN, batch
64, forward and backward, took 2.0 times as long.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor

from nbautoml.train.stacked.images import conv_each, conv_grouped, halves, split
from nbautoml.train.stacked.tape import Op, tensors_of

__all__ = [
    "PADDABLE",
    "RULES",
    "SHAPING",
    "Rule",
    "each",
    "everywhere",
    "linear",
    "put_back",
    "vmapped",
    "vmapped_or_each",
]

Rule = Callable[..., Any]


class _Linear(torch.autograd.Function):
    """``x W^T + b`` for each trial; gradients come out in the weights' own layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        grad_weight = torch.bmm(grad.transpose(1, 2), x) if ctx.needs_input_grad[1] else None
        grad_bias = grad.sum(1) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias


def linear(_: Op, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``(K, B, ..., in)`` times ``(K, out, in)``."""
    shape = x.shape
    flat = x if x.ndim == 3 else x.reshape(shape[0], -1, shape[-1])
    if weight.ndim == 2:  # no rows: F.linear(x, vector)
        out = (flat * weight.unsqueeze(1)).sum(-1, keepdim=True)
        out = out if bias is None else out + bias.reshape(-1, 1, 1)
        return out.reshape(shape[:-1])
    if torch.is_autocast_enabled(x.device.type):  # which `_Linear.backward` knows nothing of
        out = torch.bmm(flat, weight.transpose(1, 2))
        out = out if bias is None else out + bias.unsqueeze(1).to(out.dtype)
    else:
        out = _Linear.apply(flat, weight, bias)  # type: ignore[no-untyped-call]
    return out if x.ndim == 3 else out.reshape(*shape[:-1], weight.shape[1])


def _direct(op: Op, *args: Any, **kwargs: Any) -> Any:
    return op.function(*args, **kwargs)


def _attention(op: Op, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
    mask = args[0] if args else kwargs.get("attn_mask")
    if mask is not None or query.ndim < 4:
        return each(op, query, key, value, *args, **kwargs)
    # All dimensions before the last two are alike.
    return op.function(query, key, value, *args, **kwargs)


def _aligned(op: Op, *args: Any, **kwargs: Any) -> Any:
    highest = max(item.ndim for item in args if isinstance(item, Tensor))
    return op.function(
        *(
            item.view(len(item), *(1,) * (highest - item.ndim), *item.shape[1:])
            if isinstance(item, Tensor) and item.ndim < highest
            else item
            for item in args
        ),
        **kwargs,
    )


def _shaped(op: Op, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.reshape(len(x), *op.shapes[0])


def _batchwise(op: Op, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    # Without a batch dimension of its own (an image alone), K is the batch; else K and B are one.
    n_kept = len(op.shapes[0])
    merged = op.function(x.flatten(0, 1), *args, **kwargs) if n_kept > 2 else None
    if merged is None:
        return vmapped(op, x, *args, **kwargs)
    return merged.unflatten(0, (len(x), -1))


def _max_pool2d(op: Op, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    halved = halves(op, x, *args, **kwargs)
    return _batchwise(op, x, *args, **kwargs) if halved is None else halved


def _conv(
    op: Op, x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    n_spatial = weight.ndim - 3
    if x.ndim != n_spatial + 3:
        return vmapped(op, x, weight, bias, *args, **kwargs)  # type: ignore[no-any-return]
    way = conv_each if x.device.type == "cpu" else conv_grouped
    return way(op, x, weight, bias, *args, **kwargs)


def _batch_norm(
    _: Op, x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    wide = x.transpose(0, 1).flatten(1, 2)
    flat = [None if item is None else item.reshape(-1) for item in (mean, var, weight, bias)]
    out = F.batch_norm(wide, flat[0], flat[1], flat[2], flat[3], training, momentum, eps)
    if training:
        put_back(mean, flat[0])
        put_back(var, flat[1])
    return split(out, len(x))


def put_back(kept: Tensor | None, new: Tensor | None) -> None:
    """Running statistics, where they were written into a copy."""
    if kept is not None and new is not None and kept.data_ptr() != new.data_ptr():
        kept.copy_(new.view_as(kept))


def _layer_norm(
    _: Op, x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    return _scaled(F.layer_norm(x, tuple(shape), eps=eps), weight, bias)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight.view(len(x), *(1,) * (x.ndim - weight.ndim), *weight.shape[1:])
    if bias is not None:
        x = x + bias.view(len(x), *(1,) * (x.ndim - bias.ndim), *bias.shape[1:])
    return x


def _group_norm(
    _: Op, x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    out = F.group_norm(x.flatten(0, 1), groups, eps=eps).view_as(x)
    ones = (1,) * (x.ndim - 3)
    weight = None if weight is None else weight.view(*weight.shape, *ones)
    return _scaled(out, weight, None if bias is None else bias.view(*bias.shape, *ones))


def _embedding(op: Op, index: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    names = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
    options = {**dict(zip(names, args, strict=False)), **kwargs}
    padding = options.get("padding_idx")
    if options.get("max_norm") is not None or options.get("scale_grad_by_freq"):
        return vmapped(op, index, weight, *args, **kwargs)  # type: ignore[no-any-return]
    n = weight.shape[1]
    # One row too far would be another trial's: a GPU is sent to a row that nobody has, where its kernel
    # complains, for to look here would mean to wait for it.
    is_inside = (index >= 0) & (index < n)
    if index.device.type == "cpu" and not is_inside.all():
        raise IndexError(f"an embedding of {n} rows was asked for row {int(index.max())}")
    first = torch.arange(0, len(weight) * n, n, device=index.device)
    rows = index + first.view(-1, *(1,) * (index.ndim - 1))
    if index.device.type != "cpu":
        rows = rows.masked_fill_(is_inside.logical_not_(), len(weight) * n)
    out = F.embedding(rows, weight.flatten(0, 1))
    if padding is not None:  # its row gets no gradient
        is_padding = (index == padding % n).unsqueeze(-1)
        out = torch.where(is_padding, out.detach(), out)
    return out


def vmapped_or_each() -> Rule:
    """A rule that finds out in its first call whether `torch.vmap` has one for the function."""
    chosen: list[Rule] = []

    def rule(op: Op, *args: Any, **kwargs: Any) -> Any:
        if not chosen:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # torch warns where it would loop itself
                    result = vmapped(op, *args, **kwargs)
            except (RuntimeError, UserWarning):
                chosen.append(each)
            else:
                chosen.append(vmapped)
                return result
        return chosen[0](op, *args, **kwargs)

    return rule


def vmapped(op: Op, *args: Any, **kwargs: Any) -> Any:
    """Any function at all, through `torch.vmap`."""
    call, stacked = _opened(op, args, kwargs)
    return torch.vmap(lambda *rows: call(rows), randomness="error")(*stacked)


def each(op: Op, *args: Any, trial: Callable[[int], Any] | None = None, **kwargs: Any) -> Any:
    """One trial after the other, for what is large anyway (recurrent layers) or random inside.

    Args:
        op: which function.
        args: stacked.
        trial: gives a context for each trial, in which its random numbers are drawn.
        kwargs: stacked.
    """
    call, stacked = _opened(op, args, kwargs)
    made = []
    for at in range(len(stacked[0])):
        with nullcontext() if trial is None else trial(at):
            made.append(list(tensors_of(call([item[at] for item in stacked]))))
    columns = [torch.stack(column) for column in zip(*made, strict=True)]
    return columns[0] if len(columns) == 1 else columns


def _opened(
    op: Op, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[[Sequence[Tensor]], Any], list[Tensor]]:
    """The call as a function of its tensors alone, and those."""
    # No function here calls itself through its own scope: such a circle would keep a step's tensors,
    # and all that they were computed from, until garbage is collected.
    stacked: list[Tensor] = []
    held = [_picked(item, stacked) for item in args]
    named = {key: _picked(item, stacked) for key, item in kwargs.items()}

    def call(rows: Sequence[Tensor]) -> Any:
        given = [_put(item, rows) for item in held]
        found = op.function(*given, **{key: _put(item, rows) for key, item in named.items()})
        return rows[0] if found is None else found  # x[i] = y

    return call, stacked


def _picked(value: Any, stacked: list[Tensor]) -> Any:
    """A value with slots in the place of tensors, which are added to the list."""
    if isinstance(value, Tensor):
        stacked.append(value)
        return _Slot(len(stacked) - 1)
    if isinstance(value, list | tuple):
        return type(value)(_picked(item, stacked) for item in value)
    return value


def _put(value: Any, rows: Sequence[Tensor]) -> Any:
    """The value with tensors in its slots."""
    if isinstance(value, _Slot):
        return rows[value.at]
    if isinstance(value, list | tuple):
        return type(value)(_put(item, rows) for item in value)
    return value


class _Slot:
    def __init__(self, at: int) -> None:
        self.at = at


def everywhere(names: str) -> list[Callable[..., Any]]:
    """The functions of these names: torch has most of them in several places."""
    homes = (torch, F, torch.Tensor, torch._C._nn)  # noqa: SLF001  where F.linear and others live
    found = [getattr(home, name, None) for name in names.split() for home in homes]
    return [item for item in found if item is not None]


_UNARY = """relu relu_ relu6 gelu silu mish tanh sigmoid elu selu celu leaky_relu hardtanh
hardswish hardsigmoid softplus softsign tanhshrink logsigmoid exp log log1p sqrt rsqrt abs neg
square sin cos erf clamp clamp_min clamp_max reciprocal sign float double detach contiguous clone
tanh_ sigmoid_ __neg__ __abs__ to expm1"""
_SEVERAL = """add sub mul div add_ sub_ mul_ div_ pow maximum minimum where lerp __add__ __radd__
__sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __pow__ __iadd__ __isub__ __imul__
__itruediv__ __lt__ __le__ __gt__ __ge__ __eq__ __ne__ eq ne lt le gt ge rsub true_divide"""
_SHAPES = "view reshape flatten unflatten squeeze unsqueeze view_as reshape_as"
_POOLS = """max_pool1d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d interpolate pixel_shuffle"""


def _table() -> dict[Callable[..., Any], Rule]:
    table: dict[Callable[..., Any], Rule] = {}
    for names, rule in (
        (_UNARY, _direct), (_SEVERAL, _aligned), (_SHAPES, _shaped), (_POOLS, _batchwise),
        ("linear", linear), ("conv1d conv2d", _conv), ("max_pool2d", _max_pool2d),
        ("batch_norm", _batch_norm),
        ("layer_norm", _layer_norm), ("group_norm", _group_norm), ("embedding", _embedding),
        ("scaled_dot_product_attention", _attention),
    ):  # fmt: skip
        table.update(dict.fromkeys(everywhere(names), rule))
    return table


RULES: Mapping[Callable[..., Any], Rule] = _table()
"""By the function that a tape names."""


_UNIT_BY_UNIT = (_direct, _aligned, _batchwise, _max_pool2d, linear, _conv, _batch_norm, _embedding)
PADDABLE = frozenset(function for function, rule in RULES.items() if rule in _UNIT_BY_UNIT)
"""Functions to which units that are padded with zeros make no difference: see `padding`."""
SHAPING = frozenset(function for function, rule in RULES.items() if rule is _shaped)
"""Functions that move nothing, which are told sizes."""
