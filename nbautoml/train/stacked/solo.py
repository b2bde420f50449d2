"""Trials one by one without autograd: stacks of one, on a CPU, for modules whose gradients are known.

::

    trial -> built and taped, unless another was built alike
          -> a step beside the module's own, once a structure          '-> CannotStack: by `fit`
          -> epochs, the tape's calls with the gradients of `direct`

A module's numbers are those that `nbautoml.train.fit` gives it, up to rounding. What is saved is autograd's
part of each step, gradients that are gathered for the optimiser, and relu on what pooling throws away. A
fit on one thread, batches of 64, ms of the processor (the least of five, by turns with the other ways, a
machine that was not always quiet; openings are in them, and take longest in so short fits):

======================================  ==========  =====  =========  =======
fit                                     tight loop  `fit`  this way   opening
======================================  ==========  =====  =========  =======
MLP 64-64-64-10, 10 epochs of 23 steps         102     86         71        6
two convolutions (8, 16), 2 of 52              872    575        536       29
======================================  ==========  =====  =========  =======

An epoch of the second takes 205 ms this way and 247 by `fit`. Three convolutions of 16, 16 and 32 gain 2 to
8 %, with batch norm nothing: the wider layers are, the more are their products all that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import torch

from nbautoml.spec.objective import Objective
from nbautoml.train.frames import one_line
from nbautoml.train.losses import Loss
from nbautoml.train.memory import is_out_of_memory
from nbautoml.train.stacked.direct import direct_of
from nbautoml.train.stacked.fit import StackedFit
from nbautoml.train.stacked.groups import Group
from nbautoml.train.stacked.members import Member, Models, Ready, whole
from nbautoml.train.stacked.reasons import BrokenStack, CannotStack
from nbautoml.train.stacked.reordered import pooled_first

if TYPE_CHECKING:
    from nbautoml.train.batches import TrainData
    from nbautoml.train.result import FitResult

__all__ = ["Solo"]

CPU = torch.device("cpu")
# To open a structure takes as long as some two steps; below this many there is nothing to win.
LEAST_STEPS = 40
# Beyond, a step is products of matrices and hardly anything else, and copies of weights count.
MOST_WEIGHTS = 1_000_000
# Structures that are kept, the newest; in most runs there is one.
MOST_GROUPS = 4


class Solo:
    """The trials of one worker on a CPU, one after the other.

    Args:
        data: what they train and validate on.
        objective: decides which epoch of a trial is its best.
        metrics: names to measure each epoch; None for the usual ones.
        loss: the user's own loss, if any.
    """

    def __init__(
        self,
        data: TrainData,
        *,
        objective: Objective,
        metrics: tuple[str, ...] | None,
        loss: Loss | None,
    ) -> None:
        self._data, self._objective, self._metrics, self._loss = data, objective, metrics, loss
        self._models = Models()
        self._groups: dict[Hashable, Group] = {}
        self._refused: set[str] = set()

    def fit(
        self, member: Member, built_with: str, *, on_built: Callable[[], object] = lambda: None
    ) -> FitResult:
        """Train a trial from its first epoch, or the one after its state's, to its last.

        Args:
            member: the trial.
            built_with: what its module is built with, as a text.
            on_built: called while the module is there, which goes before the first step.

        Raises:
            CannotStack: it has to be trained by `nbautoml.train.fit`; its listener was told nothing yet.
            TrialCancelled: the listener raised it.
            DivergedError: a loss became NaN or infinite.
            BrokenStack: a step raised what may be no fault of the trial's: `nbautoml.train.fit` will tell.
            Exception: what the listener raised; that there is no memory left.
        """
        settings = member.settings
        if built_with in self._refused:
            raise CannotStack("it was refused before")
        if settings.epochs * -(-self._data.train.n // settings.batch_size) < LEAST_STEPS:
            raise CannotStack("it is over after a few steps")
        try:
            stack = self._opened(member, built_with, on_built)
        except CannotStack:
            self._refused.add(built_with)
            raise
        try:
            (_, result), *_ = stack.run()
        except Exception as error:
            self._refused.add(built_with)
            if is_out_of_memory(error):
                raise
            raise BrokenStack(f"a step without autograd raised {one_line(error)}") from error
        if isinstance(result, Exception):
            raise result
        return result

    def _opened(
        self, member: Member, built_with: str, on_built: Callable[[], object]
    ) -> StackedFit:
        """The stack, with the trial in it."""
        entering = self._models.ready(built_with, member, self._data, CPU, self._loss)
        on_built()
        group = self._groups.get(entering.key)
        if group is None:
            group = self._group_of(entering)
            self._groups[entering.key] = group
            if len(self._groups) > MOST_GROUPS:
                del self._groups[next(iter(self._groups))]
        stack = StackedFit(
            self._data, objective=self._objective, metrics=self._metrics, device="cpu",
            width=1, loss=self._loss, group=group,
        )  # fmt: skip
        stack.add_ready(entering)
        return stack

    def _group_of(self, entering: Ready) -> Group:
        """A group of its structure; what needs no step is asked first.

        Raises:
            CannotStack: there is nothing to win, or its step differs from the module's own.
        """
        if sum(value.numel() for value in entering.start.values()) > MOST_WEIGHTS:
            raise CannotStack(f"it has more than {MOST_WEIGHTS:,} weights")
        tape, named = entering.tape, entering.setup.module.named_parameters()
        trained = [name for name, own in named if own.requires_grad and name in tape.weights]
        if direct_of(pooled_first(tape), trained, CPU) is None:
            raise CannotStack("its gradients are not known without autograd")
        return Group(whole(entering), self._data, self._loss, is_solo=True)
