"""The weights of a stack as one matrix: a row a trial, so that rows come and go.

::

              fc.weight        fc.bias   out.weight ...
    trial 7  [................|........|..............]
    trial 9  [................|........|..............]

A layer's stacked weight is a view of its columns, ``(K, *shape)``; the optimiser updates the whole
matrix at once; a trial's state is its row. Buffers and weights that are not trained lie beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nbautoml.train.stacked.padding import Shapes, corner, padded
from nbautoml.train.stacked.reasons import CannotStack

__all__ = ["Entering", "Layout", "Start", "Weights", "start_of"]


@dataclass(frozen=True)
class Layout:
    """Where each trained weight lies.

    Attributes:
        columns: first and last column by name.
        shapes: of each, without the trials.
        n: columns in all.
    """

    columns: Mapping[str, tuple[int, int]]
    shapes: Mapping[str, tuple[int, ...]]
    n: int

    @classmethod
    def of(cls, module: nn.Module, trained: Sequence[str]) -> Layout:
        """The layout of a module's weights of these names."""
        columns, shapes, at = {}, {}, 0
        parameters = dict(module.named_parameters())
        for name in trained:
            weight = parameters[name]
            columns[name], shapes[name] = (at, at + weight.numel()), tuple(weight.shape)
            at += weight.numel()
        return cls(columns, shapes, at)


Start = dict[str, Tensor]
"""A module's parameters and buffers by name, copied."""


def start_of(module: nn.Module) -> Start:
    """The state in which a module enters a stack.

    Raises:
        CannotStack: its weights cannot lie in one matrix.
    """
    kinds = {weight.dtype for weight in module.parameters()}
    if len(kinds) > 1 or not all(kind.is_floating_point for kind in kinds):
        raise CannotStack("its weights are of several types, or complex")
    named = [*module.named_parameters(), *module.named_buffers()]
    if any(tensor.layout is not torch.strided for _, tensor in named):
        raise CannotStack("some of its weights are sparse")
    return {
        name: torch.empty_like(tensor, memory_format=torch.contiguous_format).copy_(tensor.detach())
        for name, tensor in named
    }


@dataclass(frozen=True)
class Entering:
    """What a trial brings into a stack, by names of parameters and buffers.

    Attributes:
        now: all of them.
        first: the optimiser's state, where it was trained before; zero where left out.
        second: likewise.
        best: of its best epoch; as now where left out.
    """

    now: Start
    first: Start = field(default_factory=dict)
    second: Start = field(default_factory=dict)
    best: Start = field(default_factory=dict)


class Weights:
    """The matrix, the optimisers' state, and what lies beside.

    Args:
        layout: of the columns.
        like: says type and device.

    Attributes:
        flat: ``(K, P)``.
        first: optimiser state, ``(K, P)``.
        second: likewise.
        kept: buffers and untrained weights by name, each ``(K, ...)``.
        leaves: the trained weights by name, views of ``flat``.
        inside: ``(K, P)``, 0 where a padded trial has no weight of its own, else 1; None where no
            trial is padded. (To multiply by it is 5 times as fast as to fill where a mask is true.)

    The rows of each trial's best epoch lie beside, in matrices of the same shapes.
    """

    def __init__(self, layout: Layout, like: Start) -> None:
        example = next(iter(like.values()))
        weight = like[next(iter(layout.columns))] if layout.columns else example
        self.layout = layout
        self.flat = weight.new_empty((0, layout.n))
        self.first = self.flat
        self.second = self.flat
        self.kept = {
            name: tensor.new_empty((0, *tensor.shape))
            for name, tensor in like.items()
            if name not in layout.columns
        }
        self.leaves: dict[str, Tensor] = {}
        self.inside: Tensor | None = None
        self._is_outside = torch.empty_like(self.flat, dtype=torch.bool)
        self._best: dict[str, Tensor] = {"": self.flat, **self.kept}

    def choose(self, rows: Sequence[int], new: Sequence[Entering], order: Sequence[int]) -> None:
        """Keep some rows, add new ones, then put all in an order.

        Args:
            rows: that stay.
            new: that come in.
            order: positions among the rows that stay followed by the new ones.
        """
        device = self.flat.device
        stay = torch.tensor(list(rows), dtype=torch.int64, device=device)
        place = torch.tensor(list(order), dtype=torch.int64, device=device)
        now = self._added([one.now for one in new])
        states = [[one.first for one in new], [one.second for one in new]]
        first, second = (self._matrix(state) for state in states)
        is_outside = self._outsides([one.now for one in new])
        has_own_best = any(one.best for one in new)
        best = self._added([{**one.now, **one.best} for one in new]) if has_own_best else now

        def joined(old: Tensor, added: Tensor) -> Tensor:
            return torch.cat([old.index_select(0, stay), added]).index_select(0, place)

        self.flat = joined(self.flat, now[""])
        self.first, self.second = joined(self.first, first), joined(self.second, second)
        self.kept = {name: joined(old, now[name]) for name, old in self.kept.items()}
        self._is_outside = joined(self._is_outside, is_outside)
        is_padded = bool(self._is_outside.any())
        self.inside = self._is_outside.logical_not().to(self.flat.dtype) if is_padded else None
        self._best = {name: joined(old, best[name]) for name, old in self._best.items()}
        self.leaves = {name: leaf.requires_grad_() for name, leaf in self.parts(self.flat).items()}

    def parts(self, flat: Tensor) -> dict[str, Tensor]:
        """A matrix of the stack's shape, by the weights' names: views of it, each ``(K, ...)``."""
        return {
            name: flat[:, begin:end].view(len(flat), *self.layout.shapes[name])
            for name, (begin, end) in self.layout.columns.items()
        }

    def _added(self, new: Sequence[Start]) -> dict[str, Tensor]:
        """Rows of the matrix, under "", and of what lies beside."""
        home = self._home(new)
        beside = {
            name: torch.stack(
                [padded(start[name].to(home, old.dtype), tuple(old.shape[1:])) for start in new]
            ).to(old.device)
            if new
            else old[:0]
            for name, old in self.kept.items()
        }
        return {"": self._matrix(new), **beside}

    def _matrix(self, new: Sequence[Start]) -> Tensor:
        """Rows of these weights; those that are left out are zero."""
        rows = self.flat.new_zeros((len(new), self.layout.n), device=self._home(new))
        for row, start in zip(rows, new, strict=True):
            for name, (begin, end) in self.layout.columns.items():
                if name in start:
                    own = start[name]
                    row[begin:end].view(self.layout.shapes[name])[corner(tuple(own.shape))] = own
        return rows.to(self.flat.device)

    def _home(self, new: Sequence[Start]) -> torch.device:
        """Where rows are put together: what was built on the host goes to a GPU as one."""
        homes = {tensor.device for start in new for tensor in start.values()}
        return next((home for home in homes if home.type == "cpu"), self.flat.device)

    def _outsides(self, new: Sequence[Start]) -> Tensor:
        """Where padded trials have no weights of their own."""
        rows = torch.zeros((len(new), self.layout.n), dtype=torch.bool, device=self.flat.device)
        for row, start in zip(rows, new, strict=True):
            for name, (begin, end) in self.layout.columns.items():
                own, shape = tuple(start[name].shape), self.layout.shapes[name]
                if own != shape:
                    row[begin:end] = True
                    row[begin:end].view(shape)[corner(own)] = False
        return rows

    def keep_best(self, rows: Sequence[int]) -> None:
        """Copy these rows as they are now: one copy for all, however many trials improved."""
        place = torch.tensor(list(rows), dtype=torch.int64, device=self.flat.device)
        with torch.no_grad():
            for name, now in (("", self.flat), *self.kept.items()):
                self._best[name].index_copy_(0, place, now.index_select(0, place))

    def best_state(self, at: int, module: nn.Module, shapes: Shapes) -> dict[str, Any]:
        """A row as `keep_best` last copied it, as a ``state_dict`` on the CPU.

        Args:
            at: the row.
            module: one of the stack; says names, and which weights are the same under two names.
            shapes: of the trial's own weights and buffers; smaller than the stack's where it is padded.
        """
        own = self._own(self._best, at, shapes)
        named = [*module.named_parameters(), *module.named_buffers()]
        canonical = {id(tensor): name for name, tensor in named}
        return {
            name: own[canonical[id(tensor)]] if isinstance(tensor, Tensor) else tensor
            for name, tensor in module.state_dict(keep_vars=True).items()
        }

    def now(self, at: int, shapes: Shapes) -> Entering:
        """A row as it is, copied to the CPU; ``best`` is left out."""
        own = self._own({"": self.flat, **self.kept}, at, shapes)
        states = [self._own({"": state}, at, shapes) for state in (self.first, self.second)]
        return Entering(own, *states)

    def _own(self, source: Mapping[str, Tensor], at: int, shapes: Shapes) -> Start:
        """A trial's row by names, in its own shapes."""
        own = {name: value[at].to("cpu", copy=True) for name, value in source.items()}
        flat = own.pop("")
        for name, (begin, end) in self.layout.columns.items():
            own[name] = flat[begin:end].view(self.layout.shapes[name])
        return {name: value[corner(shapes[name])].clone() for name, value in own.items()}
