"""A call on the tape as `gradients` and `image_gradients` look at it, and what their steps are given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.tape import Op, Ref, Tape

__all__ = ["Call", "Into", "Step", "Values", "add", "like"]

Values = list[Any]
Into = Mapping[str, Tensor]
Forward = Callable[[Values, Draws], None]
Backward = Callable[[Values, Values, Draws, Into], None]
Step = tuple[Forward, Backward | None]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call on the tape, and what its gradients hang on.

    Attributes:
        op: the call.
        tape: that it is on.
        names: of weights and buffers, by their values.
        own: names of the weights that it uses and that are trained.
        live: values that hang on trained weights.
        uses: how often each value is used.
        which_noise: how many dropout layers come before it.
        slot: a place among the values for what backward needs beside them.
        device: where it runs.
    """

    op: Op
    tape: Tape
    names: Mapping[int, str]
    own: Collection[str]
    live: Collection[int]
    uses: Mapping[int, int]
    which_noise: int
    slot: int
    device: torch.device

    @property
    def source(self) -> int:
        """The value that is its first argument; -1 where that is none."""
        args = self.op.args
        return args[0].index if args and isinstance(args[0], Ref) else -1

    @property
    def may_write(self) -> bool:
        """Whether what it writes into its first argument is read by nobody else."""
        return self.uses[self.source] == 1 and self.source in self.live

    def is_weight(self, value: Any) -> bool:
        """Whether an argument is a weight or buffer of the module."""
        return isinstance(value, Ref) and value.index in self.names

    def options(self, *names: str) -> dict[str, Any]:
        """What follows the first argument, by the names that the function has for it."""
        return {**dict(zip(names, self.op.args[1:], strict=False)), **self.op.kwargs}


def add(grads: Values, at: int, grad: Tensor) -> None:
    """One more gradient of a value."""
    grads[at] = grad if grads[at] is None else grads[at] + grad


def like(grad: Tensor, x: Tensor) -> Tensor:
    """A gradient in the order in which its value lies."""
    pairs = zip(grad.stride(), x.stride(), x.shape, strict=True)
    is_alike = all(own == other or n == 1 for own, other, n in pairs)
    return grad if is_alike else torch.empty_like(x).copy_(grad)
