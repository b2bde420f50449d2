"""Taking channels out of layers, and trying first whether that is what the module means by them.

A group is believed when a module without some of its channels answers exactly what the module
answers with those channels set to zero::

    module -- blank --> zeros in the channels' places --> answers --+
       '----- cut ----> fewer channels ------------------> answers --+-- the same?
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nbautoml.compress.following import RECURRENT, Group
from nbautoml.measure.counting import call

__all__ = ["Removal", "axis_of", "cut", "removal_of", "why_not"]

Removal = Mapping[tuple[str, str], tuple[set[int], int | None]]
"""By layer and side: positions that go, and the axis of a parameter."""

_CONV = nn.modules.conv._ConvNd  # noqa: SLF001  torch's only name for all of them
_BATCH = (
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001
    nn.modules.instancenorm._InstanceNorm,  # noqa: SLF001
)
_ACROSS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # norms that look at several channels at once
TOLERANCE = 1e-3  # of the largest answer; rounding is a thousand times less


def removal_of(groups: Mapping[str, Group], channels: Mapping[str, Iterable[int]]) -> Removal:
    """All positions that go when some channels of some groups do.

    Positions are those of the module as it is: what several groups take from one layer (which
    reads them side by side) is taken at once, so no group shifts another's.
    """
    removal: dict[tuple[str, str], tuple[set[int], int | None]] = {}
    for name, gone in channels.items():
        dropped = set(gone)
        for slot in groups[name].slots:
            places, _ = removal.setdefault((slot.name, slot.side), (set(), slot.axis))
            places |= {
                place
                for place, channel in zip(slot.places, slot.channels, strict=True)
                if channel in dropped
            }
    return removal


def cut(module: nn.Module, removal: Removal) -> nn.Module:
    """Take positions out of a module's layers, in place; its layers know their new sizes.

    Weights that were one tensor before are one afterwards, too.

    Raises:
        ValueError: weights that are shared would get different shapes.
    """
    shared = _shared(module)
    for (name, side), (places, axis) in removal.items():
        if not places:
            continue
        if axis is not None:
            _cut_parameter(module, name, places, axis)
        else:
            _cut_layer(module.get_submodule(name), side, places)
    for owners in shared:
        _share_again(owners)
    return module


def _cut_layer(layer: Any, side: str, places: set[int]) -> None:
    if isinstance(layer, nn.Linear):
        _cut_linear(layer, side, places)
    elif isinstance(layer, _CONV):
        _cut_convolution(layer, side, places)
    elif isinstance(layer, RECURRENT):
        _cut_recurrent(layer, side, places)
    elif isinstance(layer, nn.MultiheadAttention):
        _cut_attention(layer, places)
    elif isinstance(layer, nn.Embedding):
        _take(layer, "weight", places, 1)
        layer.embedding_dim = layer.weight.shape[1]
    else:
        _cut_norm(layer, places)


def _take(layer: nn.Module, name: str, places: set[int], axis: int) -> None:
    """Leave positions out of one tensor of a layer, if it has it."""
    old = getattr(layer, name, None)
    if old is None:
        return
    kept = torch.tensor([at for at in range(old.shape[axis]) if at not in places])
    new = old.detach().index_select(axis, kept.to(old.device)).clone()
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad))
    else:
        setattr(layer, name, new)


def _cut_linear(layer: nn.Linear, side: str, places: set[int]) -> None:
    axis, local = axis_of(layer, side, places)
    _take(layer, "weight", local, axis)
    if side == "out":
        _take(layer, "bias", places, 0)
    layer.out_features, layer.in_features = layer.weight.shape


def _cut_convolution(layer: Any, side: str, places: set[int]) -> None:
    axis, local = axis_of(layer, side, places)
    _take(layer, "weight", local, axis)
    if side != "in":
        _take(layer, "bias", places, 0)
        layer.out_channels -= len(places)
    if side == "both":
        layer.groups = layer.out_channels
    if side != "out":
        layer.in_channels -= len(places)


def axis_of(layer: Any, side: str, places: set[int]) -> tuple[int, set[int]]:
    """Where in the weight of a linear layer or a convolution positions lie.

    One of a grouped convolution's axes holds all groups' channels, the other those of one group;
    every group loses the same (see `Group.atoms`).
    """
    if side == "both" or isinstance(layer, nn.Linear):
        return int(side == "in"), places
    axis = int((side == "in") != layer.transposed)
    if axis == 0:
        return 0, places
    each = (layer.in_channels if side == "in" else layer.out_channels) // layer.groups
    return 1, {place % each for place in places}


def _cut_recurrent(layer: Any, side: str, places: set[int]) -> None:
    for name, _ in list(layer.named_parameters()):
        is_input, is_first = name.startswith("weight_ih"), name.startswith("weight_ih_l0")
        if side == "in":
            if is_first:
                _take(layer, name, places, 1)
            continue
        n_gates = getattr(layer, name).shape[0] // layer.hidden_size
        rows = {place + gate * layer.hidden_size for gate in range(n_gates) for place in places}
        _take(layer, name, rows, 0)
        if name.startswith("weight_hh") or (is_input and not is_first):
            _take(layer, name, places, 1)
    if side == "in":
        layer.input_size -= len(places)
    else:
        layer.hidden_size -= len(places)
    layer._init_flat_weights()  # noqa: SLF001  it keeps its weights in a list of its own


def _cut_attention(layer: Any, places: set[int]) -> None:
    n, before = layer.embed_dim, layer.head_dim
    widths = Counter(place // before for place in range(n) if place not in places)
    if len(set(widths.values())) > 1:
        raise ValueError(f"heads of one attention would be {sorted(widths.values())} wide")
    thrice = {place + part * n for part in range(3) for place in places}
    _take(layer, "in_proj_weight", thrice, 0)
    _take(layer, "in_proj_weight", places, 1)
    _take(layer, "in_proj_bias", thrice, 0)
    _take(layer, "bias_k", places, 2)
    _take(layer, "bias_v", places, 2)
    _take(layer.out_proj, "weight", places, 0)
    _take(layer.out_proj, "weight", places, 1)
    _take(layer.out_proj, "bias", places, 0)
    left = n - len(places)
    layer.embed_dim = layer.kdim = layer.vdim = left
    layer.out_proj.in_features = layer.out_proj.out_features = left
    layer.num_heads, layer.head_dim = len(widths), left // len(widths)
    # Attention divides products by the root of a head's width: a narrower one asks the louder.
    louder = math.sqrt(layer.head_dim / before)
    with torch.no_grad():
        layer.in_proj_weight[:left] *= louder
        if layer.in_proj_bias is not None:
            layer.in_proj_bias[:left] *= louder


def _cut_norm(layer: Any, places: set[int]) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        _take(layer, name, places, 0)
    for name in ("num_features", "num_channels", "num_parameters"):
        if hasattr(layer, name):
            setattr(layer, name, getattr(layer, name) - len(places))
    if isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = (layer.normalized_shape[0] - len(places),)


def _cut_parameter(module: nn.Module, name: str, places: set[int], axis: int) -> None:
    owner, _, own = name.rpartition(".")
    holder: Any = module.get_submodule(owner)
    _take(holder, own, places, axis)
    if isinstance(holder, nn.RMSNorm):
        holder.normalized_shape = tuple(getattr(holder, own).shape)


_Owner = tuple[nn.Module, str]


def _shared(module: nn.Module) -> list[list[_Owner]]:
    """Weights that several layers hold as one."""
    owners: dict[int, list[_Owner]] = {}
    for layer in module.modules():
        for name, weight in layer.named_parameters(recurse=False):
            owners.setdefault(id(weight), []).append((layer, name))
    return [found for found in owners.values() if len(found) > 1]


def _share_again(owners: list[_Owner]) -> None:
    first = getattr(*owners[0])
    for layer, name in owners[1:]:
        other = getattr(layer, name)
        if other.shape != first.shape or not torch.equal(other, first):
            raise ValueError("layers that share a weight would no longer do so")
        setattr(layer, name, first)
        if isinstance(layer, RECURRENT):
            layer._init_flat_weights()  # noqa: SLF001


def _blank(module: nn.Module, removal: Removal) -> None:
    """Set to zero what `cut` would take away."""
    with torch.no_grad():
        for (name, side), (places, axis) in removal.items():
            at = sorted(places)
            if not at:
                continue
            if axis is not None:
                module.get_parameter(name).index_fill_(axis, torch.tensor(at), 0.0)
            else:
                _blank_layer(module.get_submodule(name), side, at)


def _blank_layer(layer: Any, side: str, at: list[int]) -> None:
    places = torch.tensor(at)
    if isinstance(layer, nn.MultiheadAttention):
        for part in range(3):
            layer.in_proj_weight.index_fill_(0, places + part * layer.embed_dim, 0.0)
            if layer.in_proj_bias is not None:
                layer.in_proj_bias.index_fill_(0, places + part * layer.embed_dim, 0.0)
        layer.in_proj_weight.index_fill_(1, places, 0.0)
        layer.out_proj.weight.index_fill_(0, places, 0.0).index_fill_(1, places, 0.0)
        if layer.out_proj.bias is not None:
            layer.out_proj.bias.index_fill_(0, places, 0.0)
    elif isinstance(layer, RECURRENT):
        for name, weight in layer.named_parameters():
            if side == "in":
                if name.startswith("weight_ih_l0"):
                    weight.index_fill_(1, places, 0.0)
                continue
            for gate in range(weight.shape[0] // layer.hidden_size):
                weight.index_fill_(0, places + gate * layer.hidden_size, 0.0)
    elif isinstance(layer, nn.Embedding):
        layer.weight.index_fill_(1, places, 0.0)
    else:
        _blank_plain(layer, side, places)


def _blank_plain(layer: Any, side: str, places: torch.Tensor) -> None:
    axis, local = 0, places
    if isinstance(layer, (nn.Linear, _CONV)):
        axis, found = axis_of(layer, side, set(places.tolist()))
        local = torch.tensor(sorted(found))
    if layer.weight is not None:
        layer.weight.index_fill_(axis, local, 0.0)
    if side != "in" and getattr(layer, "bias", None) is not None:
        layer.bias.index_fill_(0, places, 0.0)


def why_not(module: nn.Module, group: Group, example: Any) -> str | None:
    """Why a group of channels cannot be cut from a module; "" when it can, None for its outputs.

    Every second atom is taken away for the trial.

    Args:
        module: left as it is, in evaluation on the CPU.
        group: whose channels.
        example: inputs of a few rows.
    """
    gone = [channel for atom in group.atoms[1::2] for channel in atom]
    removal = removal_of({group.name: group}, {group.name: gone})
    blanked, smaller = copy.deepcopy(module), copy.deepcopy(module)
    _blank(blanked, removal)
    for tried in (blanked, smaller):
        _level(tried)
    try:
        with torch.no_grad():
            before = _answers(blanked, example)
            cut(smaller, removal)
            after = _answers(smaller, example)
    except Exception as error:  # noqa: BLE001  the user's forward may raise anything at all
        return f"forward does not take fewer ({_first_line(error)})"
    return _compare(before, after)


def _level(module: nn.Module) -> None:
    """Norms across channels scale and shift only: how many channels there are changes all of them."""

    def scaled(layer: Any, inputs: tuple[torch.Tensor, ...], _output: Any) -> torch.Tensor:
        (x,) = inputs
        shape = [1] * x.ndim
        shape[1 if isinstance(layer, nn.GroupNorm) else -1] = -1
        if getattr(layer, "weight", None) is not None:
            x = x * layer.weight.reshape(shape)
        if getattr(layer, "bias", None) is not None:
            x = x + layer.bias.reshape(shape)
        return x

    for layer in module.modules():
        if isinstance(layer, _ACROSS):
            layer.register_forward_hook(scaled)


def _answers(module: nn.Module, example: Any) -> list[torch.Tensor]:
    output = call(module, copy.deepcopy(example))
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def _compare(before: list[torch.Tensor], after: list[torch.Tensor]) -> str | None:
    for old, new in zip(before, after, strict=True):
        if old.shape != new.shape:
            if old.ndim == new.ndim and len(old) == len(new):
                return None
            return "forward mixes rows when there are fewer (a reshape to a fixed size)"
        scale = max(float(old.abs().max()), 1e-12)
        if float((old - new).abs().max()) > TOLERANCE * scale:
            return "forward does not treat them one by one (a reshape to heads, a mean over them)"
    return ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]
