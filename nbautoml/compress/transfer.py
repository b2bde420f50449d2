"""What a teacher shows beside its answers: what its layers say inside, or where they look.

::

    teacher   conv1 ---> conv2 ---> ... ---> answer
                |          |
              hints: ||bridge(student) - teacher||^2        values, through a learned bridge where
              attention: where are they large?              widths differ
                |          |
    student   conv1 ---> conv2 ---> ... ---> answer

Source: Romero et al. 2015, "FitNets" (hints); Zagoruyko and Komodakis 2017, "Paying More Attention
to Attention" (maps).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn

from nbautoml.compress.holding import prunable
from nbautoml.errors import CompressError
from nbautoml.measure.counting import call

__all__ = ["Transfer", "attention_map", "watched_layers"]

N_LISTED = 8  # layers in a message
N_WATCHED = 3  # layers, evenly spread from the first to the last but one

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)  # noqa: SLF001  torch's only name for all of them


def attention_map(activation: torch.Tensor, channel_axis: int) -> torch.Tensor:
    """Where a layer's values are large: squares summed over channels, scaled to length 1.

    Args:
        activation: (n, channels, height, width), or any other with positions.
        channel_axis: where its channels lie.

    Returns:
        Shape (n, positions).

    >>> attention_map(torch.tensor([[[3.0, 0.0], [0.0, 2.0]]]), 1).round(decimals=3).tolist()
    [[0.9139999747276306, 0.4059999883174896]]
    """
    return F.normalize(activation.pow(2).sum(channel_axis).flatten(1), dim=1)


@dataclass
class _Seen:
    """What layers said last, by name; one for a student and its copies."""

    by_student: dict[str, torch.Tensor] = field(default_factory=dict)
    by_teacher: dict[str, torch.Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: Any) -> _Seen:
        return self


def watched_layers(module: nn.Module, teacher: nn.Module, example: Any, kind: str) -> list[str]:
    """Layers that both have under the same name and that say something comparable.

    A student of another class may have such layers, too: names alone decide which are compared.

    Raises:
        CompressError: there are none.
    """
    with torch.no_grad():
        ours, theirs = _said(module, example), _said(teacher, example)
    answers = {[*said][-1] for said in (ours, theirs) if said}  # taught already
    names = [name for name in ours if name in theirs and name not in answers]
    if kind == "attention":
        names = [name for name in names if ours[name].ndim > 2]
    axes = {name: _channel_axis(module.get_submodule(name), ours[name]) for name in names}
    names = [
        name
        for name in names
        if _channel_axis(teacher.get_submodule(name), theirs[name]) == axes[name]
        and _is_alike(ours[name], theirs[name], axes[name])
    ]
    if not names:
        what = "with positions to look at (convolutions, sequences) " if kind == "attention" else ""
        raise CompressError(
            f"{type(module).__name__} has no inner layers {what}that its teacher has, too, so "
            f"transfer={kind!r} has nothing to compare{_apart(module, teacher, ours, theirs)}",
            hint="layers of one name and shape are compared, widths aside; with "
            'transfer="none" the teacher\'s answers alone are learned',
        )
    step = max(1, len(names) // N_WATCHED)
    return names[::step][:N_WATCHED]


def _apart(
    module: nn.Module,
    teacher: nn.Module,
    ours: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
) -> str:
    """Of two classes, what each has: layers are compared that bear the same name."""
    if type(module) is type(teacher):
        return ""
    listed = []
    for one, said in ((module, ours), (teacher, theirs)):
        layers = [f"{name} {tuple(output.shape)}" for name, output in said.items()]
        more = ", ..." if len(layers) > N_LISTED else ""
        listed.append(f"{type(one).__name__} has {', '.join(layers[:N_LISTED])}{more}")
    return f": {'; '.join(listed)}"


def _is_alike(ours: torch.Tensor, theirs: torch.Tensor, axis: int) -> bool:
    """Whether two outputs differ in their number of channels at most."""
    if ours.ndim != theirs.ndim:
        return False
    return ours.movedim(axis, -1).shape[:-1] == theirs.movedim(axis, -1).shape[:-1]


def _channel_axis(layer: nn.Module, output: torch.Tensor) -> int:
    first = layer[0] if isinstance(layer, nn.Sequential) else layer  # a layer that was factorised
    return 1 if isinstance(first, _CONVOLUTIONS) else output.ndim - 1


def _said(module: nn.Module, example: Any) -> dict[str, torch.Tensor]:
    """Outputs of the layers that hold weights, in the order in which they are first called."""
    said: dict[str, torch.Tensor] = {}
    names = {weight.name for weight in prunable(module) if weight.attribute == "weight"}
    split = {name.rpartition(".")[0] for name in names if _is_split(module, name)}
    handles = [
        module.get_submodule(name).register_forward_hook(_keeper(said, name))
        for name in names | split
    ]
    was_training = module.training
    module.eval()
    try:
        call(module, copy.deepcopy(example))
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    return said


def _is_split(module: nn.Module, name: str) -> bool:
    parent = module.get_submodule(name.rpartition(".")[0])
    return isinstance(parent, nn.Sequential) and len(parent) == 2


def _keeper(said: dict[str, torch.Tensor], name: str) -> Any:
    def keep(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim > 1:
            said.setdefault(name, output)

    return keep


class Transfer(nn.Module):
    """Compares inner layers of a student and its teacher; holds the bridges between widths."""

    def __init__(self, module: nn.Module, teacher: nn.Module, kind: str, example: Any) -> None:
        super().__init__()
        self.kind = kind
        self._seen = _Seen()
        names = watched_layers(module, teacher, example, kind)
        with torch.no_grad():
            ours, theirs = _said(module, example), _said(teacher, example)
        self._axes = {n: _channel_axis(module.get_submodule(n), ours[n]) for n in names}
        widths = {n: (ours[n].shape[axis], theirs[n].shape[axis]) for n, axis in self._axes.items()}
        self._keys = {name: name.replace(".", "/") for name in names}
        self.bridges = nn.ModuleDict(
            {
                self._keys[name]: nn.Linear(mine, wanted, bias=False)
                for name, (mine, wanted) in widths.items()
                if kind == "hints" and mine != wanted
            }
        )
        self._handles = [
            owner.get_submodule(name).register_forward_hook(_noting(said, name))
            for owner, said in (
                (module, self._seen.by_student),
                (teacher, self._seen.by_teacher),
            )
            for name in names
        ]

    def loss(self) -> torch.Tensor:
        """How far the last batch's inner values are from the teacher's, averaged over layers."""
        losses = [self._loss_of(name, axis) for name, axis in self._axes.items()]
        return torch.stack(losses).mean()

    def _loss_of(self, name: str, axis: int) -> torch.Tensor:
        mine, wanted = self._seen.by_student[name], self._seen.by_teacher[name]
        if self.kind == "attention":
            apart = attention_map(mine, axis) - attention_map(wanted, axis)
            return apart.pow(2).sum(1).mean()
        mine, wanted = mine.movedim(axis, -1), wanted.movedim(axis, -1)
        if self._keys[name] in self.bridges:
            mine = self.bridges[self._keys[name]](mine)
        # By the size of what is to be met, so that no layer outweighs the rest.
        return F.mse_loss(mine, wanted) / wanted.pow(2).mean().clamp(min=1e-12)

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()


def _noting(said: dict[str, torch.Tensor], name: str) -> Any:
    def note(_layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        said[name] = output

    return note
