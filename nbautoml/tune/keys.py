"""Keys of the groups that a worker trains as stacks."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Wider", "structure_of"]


@dataclass(frozen=True)
class Wider:
    """The key of members that are wider than the stack of their structure: a second one is theirs."""

    than: Hashable


def structure_of(key: Hashable) -> Hashable:
    """What the members of a group have in common, however many stacks of it there are.

    >>> structure_of(Wider(Wider("mlp")))
    'mlp'
    """
    return structure_of(key.than) if isinstance(key, Wider) else key
