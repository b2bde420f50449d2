"""K trials of the same structure trained as one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbautoml.train.stacked.fit import Ended, StackedFit
    from nbautoml.train.stacked.groups import group_key, why_not
    from nbautoml.train.stacked.members import Member
    from nbautoml.train.stacked.reasons import CannotStack

__all__ = ["CannotStack", "Ended", "Member", "StackedFit", "group_key", "why_not"]

_HOMES = {
    "CannotStack": "reasons",
    "Ended": "fit",
    "Member": "members",
    "StackedFit": "fit",
    "group_key": "groups",
    "why_not": "groups",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
