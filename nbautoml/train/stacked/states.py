"""A member's state out of a stack, and into one: the form in which a fit on its own has it too."""

from __future__ import annotations

from math import prod

from nbautoml.train.judge import Judge
from nbautoml.train.stacked.groups import Group
from nbautoml.train.stacked.members import Ready
from nbautoml.train.stacked.slots import Slot
from nbautoml.train.stacked.weights import Entering, Weights
from nbautoml.train.state import SLOTS, CannotKeep, FitState

__all__ = ["entered", "keep_if_due"]

_COUNTING = frozenset({"adam", "adamw", "rmsprop", "adagrad"})  # their steps, in `torch.optim`


def entered(entering: Ready, judge: Judge) -> tuple[Entering, int, float]:
    """What a member brings: its row, the epochs it has made, the seconds they took.

    Args:
        entering: it.
        judge: is told what it remembers.
    """
    state = entering.member.resumed
    if state is None:
        return Entering(entering.start), 0, 0.0
    judge.value, judge.best_epoch = state.judge["value"], state.judge["best_epoch"]
    judge.metrics = state.judge["metrics"]
    row = Entering(entering.start, state.first, state.second, state.best)
    return row, state.epoch, state.spent_s


def keep_if_due(slot: Slot, at: int, group: Group, weights: Weights) -> None:
    """Give a member's keeper its state, if it wants one now."""
    keeper = slot.member.keeper
    n_bytes = weights.flat.element_size() * sum(map(prod, slot.shapes.values()))
    if keeper is None or not keeper.is_due(slot.duration_s, n_bytes):
        return
    try:
        keeper.keep(_state(slot, at, group, weights))
    except CannotKeep as error:
        keeper.refuse(error)


def _state(slot: Slot, at: int, group: Group, weights: Weights) -> FitState:
    row, judge = weights.now(at, slot.shapes), slot.judge
    optimizer = slot.member.settings.optimizer
    has_first, has_second = (key is not None for key in SLOTS[optimizer])
    step = slot.epoch * group.setup.n_batches
    is_best = judge.best_epoch == slot.epoch
    module = group.setup.module
    return FitState(
        epoch=slot.epoch,
        step=step,
        spent_s=slot.duration_s,
        judge={
            "value": judge.value,
            "best_epoch": judge.best_epoch,
            "metrics": dict(judge.metrics),
        },
        module=row.now,
        first=row.first if has_first else {},
        second=row.second if has_second else {},
        steps=dict.fromkeys(row.first, float(step)) if optimizer in _COUNTING else {},
        best={} if is_best else weights.best_state(at, module, slot.shapes),
    )
