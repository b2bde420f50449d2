"""What is handed from one technique to the next."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

__all__ = ["Piece", "matches"]


@dataclass(kw_only=True)
class Piece:
    """A model on its way through the techniques.

    Attributes:
        module: in evaluation mode on the CPU; a technique may change it in place.
        original: what it was made from, the teacher; never changed.
        given: a student of any class that a distillation may put in the module's place; never changed.
        onnx: the file of a quantised model, which stands for the module from then on.
        bits: by layer name, how many bits its weights have where that is not those of its tensors.
        notes: what people should know: layers that were left alone and why, what it cost.
    """

    module: nn.Module
    original: nn.Module
    given: nn.Module | None = None
    onnx: bytes | None = field(default=None, repr=False)
    bits: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, module: nn.Module, *, given: nn.Module | None = None) -> Piece:
        """A fresh one: a copy of the module, with the module as its teacher."""
        return cls(module=copy.deepcopy(module).eval().cpu(), original=module.eval(), given=given)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a layer's name is one of these, or lies below one.

    >>> matches("encoder.0.conv", ["encoder"]), matches("encoder2", ["encoder"])
    (True, False)
    """
    return any(name == pattern or name.startswith(f"{pattern}.") for pattern in patterns)
