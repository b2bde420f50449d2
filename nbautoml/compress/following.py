"""Which channels hang together: a group is what must go from all its layers at once.

::

    conv1 --+--> conv2 --> (+) --> out        conv1's and conv2's outputs are added, so channel 3
            '--------------'                  of one can only go with channel 3 of the other, and
                                              with what `out` reads of it: one group, three slots

Torch-Pruning walks the graph of gradients to find them. What it takes for granted does not always
hold (a reshape to heads, a fixed size), so nothing found here is believed before `surgery` has
tried it.

Source: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning".
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from nbautoml.errors import CompressError
from nbautoml.measure.counting import call
from nbautoml.measure.exported import extra

__all__ = ["RECURRENT", "Group", "Slot", "follow", "is_depthwise"]

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
_ROOTS = (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding, *RECURRENT)  # noqa: SLF001  torch's only name for all of them


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a group's channels lie in one layer.

    Attributes:
        name: of the layer, or of a parameter that belongs to no layer that we know.
        side: "out", "in", or "both" where a layer has only one set of channels (norms, depthwise
            convolutions, attention, tables of vectors).
        places: positions on that side.
        channels: which of the group's channels lies at each of them; one may lie at several.
        axis: of a parameter.
    """

    name: str
    side: str
    places: tuple[int, ...]
    channels: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Channels that can only go from all their layers at once.

    Attributes:
        name: of the layer that makes them.
        n: how many channels.
        slots: where they lie.
        atoms: channels that can only go together: the same place in each head of an attention, or
            a whole head; the same place in each group of a grouped convolution; single channels
            elsewhere.
    """

    name: str
    n: int
    slots: tuple[Slot, ...]
    atoms: tuple[tuple[int, ...], ...]

    @property
    def makers(self) -> tuple[str, ...]:
        """Names of all layers whose outputs these channels are."""
        return tuple(slot.name for slot in self.slots if slot.side != "in")


def follow(
    module: nn.Module, example: Any, *, heads: str = "thinner"
) -> tuple[list[Group], dict[str, str]]:
    """The groups of a module, and layers that make none, with the reason.

    Args:
        module: left as it is.
        example: inputs of a few rows.
        heads: of an attention become "thinner", or "fewer".

    Raises:
        CompressError: it cannot be followed at all.
        MissingExtraError: torch-pruning is not installed.
    """
    pruning = extra("torch_pruning")
    traced = copy.deepcopy(module).cpu().eval()
    for weight in traced.parameters():
        weight.requires_grad_(weight.is_floating_point())
    try:
        with warnings.catch_warnings(), torch.enable_grad(), _as_one_step(traced):
            warnings.simplefilter("ignore")
            graph = pruning.DependencyGraph().build_dependency(
                traced,
                example_inputs=example,
                forward_fn=call,
                output_transform=_tensors_of,
                customized_pruners={kind: _RecurrentChannels() for kind in RECURRENT},
                verbose=False,
            )
            found = list(graph.get_all_groups(root_module_types=_ROOTS))
    except Exception as error:
        raise CompressError(
            f"the channels of {type(module).__name__} cannot be followed: "
            f"{type(error).__name__}: {str(error).strip()[:200]}",
            hint='prune single weights instead: granularity="weights"',
        ) from error
    names = {id(layer): name for name, layer in traced.named_modules()}
    names |= {id(weight): name for name, weight in traced.named_parameters()}
    groups: list[Group] = []
    refused: dict[str, str] = {}
    for item in found:
        read = _read(graph, item, names, heads)
        if isinstance(read, Group):
            groups.append(read)
        else:
            refused[read[0]] = read[1]
    return groups, refused


def _tensors_of(output: Any) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.grad_fn is not None]


class _RecurrentChannels:
    """What Torch-Pruning must know of a recurrent layer: how many values go in and come out."""

    pruning_dim = 1

    def prune_out_channels(self, layer: Any, idxs: Any) -> None:
        """Only its name is used: `surgery` does the work."""

    def prune_in_channels(self, layer: Any, idxs: Any) -> None:
        """Only its name is used."""

    def get_out_channels(self, layer: Any) -> int:
        """Values of its hidden state."""
        return int(layer.hidden_size)

    def get_in_channels(self, layer: Any) -> int:
        """Values that it reads."""
        return int(layer.input_size)

    def get_in_channel_groups(self, layer: Any) -> int:
        """No groups."""
        return 1

    get_out_channel_groups = get_in_channel_groups


class _Step(torch.autograd.Function):
    """Outputs that are known already, as one node of the graph behind the inputs."""

    @staticmethod
    def forward(_ctx: Any, n: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors[:n])

    @staticmethod
    def backward(_ctx: Any, *_grads: Any) -> Any:
        raise NotImplementedError("the traced copy is never trained")


@contextlib.contextmanager
def _as_one_step(module: nn.Module) -> Iterator[None]:
    """Recurrent and attention layers are one node of the graph: their gates are none of its business."""
    kinds = (*RECURRENT, nn.MultiheadAttention)
    changed = [layer for layer in module.modules() if isinstance(layer, kinds)]
    for layer in changed:
        layer.forward = _stand_in(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _stand_in(layer: nn.Module) -> Any:
    real, anchor = layer.forward, next(layer.parameters())

    def forward(*inputs: Any, **named: Any) -> Any:
        with torch.no_grad():
            leaves, shape = pytree.tree_flatten(real(*inputs, **named))
        is_number = [isinstance(t, torch.Tensor) and t.is_floating_point() for t in leaves]
        made = [leaf for leaf, yes in zip(leaves, is_number, strict=True) if yes]
        read = [
            t
            for t in pytree.tree_leaves((inputs, named))
            if isinstance(t, torch.Tensor) and t.is_floating_point()
        ]
        tied = iter(_Step.apply(len(made), *made, anchor, *read))  # type: ignore[no-untyped-call]
        leaves = [next(tied) if yes else leaf for leaf, yes in zip(leaves, is_number, strict=True)]
        return pytree.tree_unflatten(leaves, shape)

    return forward


def is_depthwise(layer: Any) -> bool:
    """Whether a convolution has one filter a channel."""
    return bool(layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels)


_CONV = nn.modules.conv._ConvNd  # noqa: SLF001
_BOTH = (
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001
    nn.modules.instancenorm._InstanceNorm,  # noqa: SLF001
    nn.LayerNorm,
    nn.GroupNorm,
    nn.PReLU,
    nn.Embedding,
    nn.MultiheadAttention,
)


def _read(graph: Any, group: Any, names: dict[int, str], heads: str) -> Group | tuple[str, str]:
    """A group of Torch-Pruning in our words, or the layer that makes it and why it cannot be used."""
    root = group[0].dep.target.module
    name = names[id(root)]
    slots: list[Slot] = []
    n = graph.get_out_channels(root)
    atoms = _Atoms(n, heads)
    for item in group.items:
        target = item.dep.target
        if id(target.module) not in names:
            continue  # a sum, a reshape: nothing to cut
        slot = _slot(graph, item, names[id(target.module)])
        layer = target.module
        reason = _refused(layer, slot, n) or atoms.tie(layer, slot)
        if reason:
            return name, f"{slot.name}: {reason}" if slot.name != name else reason
        if not (isinstance(layer, nn.PReLU) and layer.num_parameters == 1):
            slots.append(slot)
    tied = atoms.found()
    if len(tied) < 2:
        return name, "its channels can only go all at once (heads and groups tie them together)"
    return Group(name=name, n=n, slots=tuple(slots), atoms=tied)


def _slot(graph: Any, item: Any, name: str) -> Slot:
    target = item.dep.target
    layer = target.module
    is_both = isinstance(layer, (*_BOTH, nn.Parameter)) or (
        isinstance(layer, _CONV) and is_depthwise(layer)
    )
    side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
    roots = [-1 if root is None else int(root) for root in item.root_idxs]
    return Slot(
        name=name,
        side="both" if is_both else side,
        places=tuple(int(place) for place in item.idxs),
        channels=tuple(roots),
        axis=target.pruning_dim if isinstance(layer, nn.Parameter) else None,
    )


def _refused(layer: Any, slot: Slot, n: int) -> str:
    """Why a layer cannot lose channels; "" when it can."""
    if isinstance(layer, nn.Module) and parametrize.is_parametrized(layer):
        return "its weight is computed from others (a parametrization)"
    if any(not 0 <= channel < n for channel in slot.channels):
        return "which of its values belong to which channel is not known"
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) != 1:
        return "a LayerNorm over several axes"
    if isinstance(layer, nn.MultiheadAttention) and {layer.kdim, layer.vdim} != {layer.embed_dim}:
        return "an attention whose keys or values have a width of their own"
    if isinstance(layer, RECURRENT) and slot.side == "out":
        if layer.bidirectional:
            return "a recurrent layer that reads in both directions"
        if getattr(layer, "proj_size", 0):
            return "a recurrent layer with a projection"
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return "a table whose rows are held to a length"
    return ""


class _Atoms:
    """Channels that are tied to each other, joined as they are found."""

    def __init__(self, n: int, heads: str) -> None:
        self._parent = list(range(n))
        self._heads = heads

    def _top(self, channel: int) -> int:
        while self._parent[channel] != channel:
            channel = self._parent[channel]
        return channel

    def tie(self, layer: Any, slot: Slot) -> str:
        """Join what this layer ties together; says why when that cannot be done."""
        block = _block(layer, slot, self._heads)
        if block is None:
            return ""
        n_places, key_of = block
        if len(slot.places) != n_places:
            return "its groups hold channels of several layers"
        first: dict[int, int] = {}
        for place, channel in zip(slot.places, slot.channels, strict=True):
            top = self._top(channel)
            self._parent[top] = self._top(first.setdefault(key_of(place), channel))
        return ""

    def found(self) -> tuple[tuple[int, ...], ...]:
        """The atoms, by their first channel."""
        members: dict[int, list[int]] = {}
        for channel in range(len(self._parent)):
            members.setdefault(self._top(channel), []).append(channel)
        return tuple(sorted(tuple(atom) for atom in members.values()))


def _block(layer: Any, slot: Slot, heads: str) -> tuple[int, Any] | None:
    """How many places a layer with groups or heads has, and which of them go together."""
    if isinstance(layer, _CONV) and layer.groups > 1 and slot.side != "both":
        n = layer.out_channels if slot.side == "out" else layer.in_channels
        return n, lambda place: place % (n // layer.groups)
    if isinstance(layer, nn.GroupNorm) and layer.num_groups < layer.num_channels:
        each = layer.num_channels // layer.num_groups
        return layer.num_channels, lambda place: place % each
    if isinstance(layer, nn.MultiheadAttention):
        width = layer.head_dim
        is_whole = heads == "fewer" or width == 1
        return layer.embed_dim, lambda place: place // width if is_whole else place % width
    return None
