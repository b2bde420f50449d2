"""`StackedFit`: many trials of one structure trained as one, slots filled again as trials end.

::

    add(member) ... -> step_epoch():  let members in, put rows in order
                                      every member's own batch order -> K x B rows a batch
                                      masks, forward, losses (K,), backward, one update
                                      validate all, tell each listener, let ended members go
                                      states of the others are kept, where they are due
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nbautoml.errors import DataError
from nbautoml.spec.fit import OPTIMIZERS
from nbautoml.spec.objective import Objective
from nbautoml.train.batches import TrainData
from nbautoml.train.judge import Judge
from nbautoml.train.loop import metric_names, threshold_of
from nbautoml.train.losses import Loss
from nbautoml.train.result import FitResult
from nbautoml.train.seeds import batch_order, isolated_rng
from nbautoml.train.stacked.groups import Group, strided_of
from nbautoml.train.stacked.members import Member, Ready, ready, whole
from nbautoml.train.stacked.metrics import StackedTally
from nbautoml.train.stacked.reasons import CannotStack
from nbautoml.train.stacked.shares import Shares
from nbautoml.train.stacked.slots import Epoch, Slot, Timer, by_trial
from nbautoml.train.stacked.states import entered, keep_if_due
from nbautoml.train.stacked.steps import Steps
from nbautoml.train.stacked.tape import tensors_of
from nbautoml.train.stacked.weights import Entering, Weights
from nbautoml.train.steplog import CHUNK_SECONDS, StepLog, stride_for

__all__ = ["Ended", "StackedFit"]

Ended = tuple[int, "FitResult | Exception"]
"""A trial's number, and its result or what ended it."""


class StackedFit:
    """Trains up to ``width`` trials as one.

    Each trial gets the numbers that `nbautoml.train.fit` would give it: weights, batch order
    and dropout follow from its own seed, whoever else is in the stack and since when.

    Args:
        data: what to train and validate on.
        objective: decides which epoch of a trial is its best.
        device: where the data lies.
        metrics: names to measure each epoch; None for the usual ones.
        width: most members at a time. On a CPU some 16 small models keep the caches' speed.
        loss: the user's own loss for one trial, if any.
        timer: is told of steps, until it is no more open: `start` before an epoch's batches, `tick`
            with the number of trials after each. What it raises ends the stack.
        has_exact_dropout: dropout drops what it would drop were the trial trained on its own. False:
            what follows from the trial's seed by a hash, drawn for all trials at once.
        has_graph: on a GPU steps are recorded and played again (`steps`).
        group: what the members have in common, where that was found out before.

    Raises:
        RecipeError, DataError: as `nbautoml.train.fit`.
    """

    def __init__(
        self,
        data: TrainData,
        *,
        objective: Objective,
        device: str,
        metrics: tuple[str, ...] | None = None,
        width: int,
        loss: Loss | None = None,
        has_exact_dropout: bool = True,
        has_graph: bool = True,
        timer: Timer | None = None,
        group: Group | None = None,
    ) -> None:
        if data.valid.n == 0:
            raise DataError("there are no validation rows", hint="give some, or a split above 0")
        self.width, self.has_exact_dropout, self.has_graph = width, has_exact_dropout, has_graph
        self._data, self._objective, self._loss = data, objective, loss
        self._timer = timer
        self._device = torch.device(device)
        self._names = metric_names(data.task, objective, metrics)
        self._group: Group | None = group
        self._weights: Weights | None = None
        self._slots: list[Slot] = []
        self._waiting: list[Slot] = []
        self._steps: Steps | None = None  # as long as the same trials are in

    @property
    def n_free(self) -> int:
        """How many members may still be added."""
        return self.width - len(self._slots) - len(self._waiting)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The trials in the stack."""
        return tuple(slot.member.number for slot in [*self._slots, *self._waiting])

    def add(self, member: Member) -> None:
        """Let a trial in; it starts with the next epoch.

        Raises:
            CannotStack: its module or settings don't fit, or no slot is free; the reason says which.
        """
        if self.n_free < 1:
            raise CannotStack(f"all {self.width} slots are taken")
        self.add_ready(ready(member, self._data, self._device, self._loss))

    def add_ready(self, entering: Ready) -> None:
        """`add` for a member that was built already, to find its group.

        Raises:
            CannotStack: as `add`.
        """
        group = self._group_for(entering)
        settings, setup = entering.member.settings, entering.setup
        stride = stride_for(setup.n_batches, setup.n_steps)
        judge = Judge(objective=self._objective, patience=settings.patience)
        start, epoch, spent_s = entered(entering, judge)
        self._waiting.append(
            Slot(
                member=dataclasses.replace(entering.member, resumed=None),
                start=start,
                epoch=epoch,
                duration_s=spent_s,
                notes=setup.notes,
                log=StepLog(stride, entering.member.listener.on_steps),
                judge=judge,
                rates=entering.tape.rates,
                shapes={name: tuple(value.shape) for name, value in entering.start.items()},
                noise=strided_of(entering.tape) if group.is_padded(entering) else None,
            )
        )

    def shape_by(self, template: Ready) -> None:
        """Say how wide the stack's layers are, before anybody is in: members are padded to that.

        Left out, the first member's layers decide. Its weights are not used.

        Raises:
            CannotStack: its module cannot be stacked.
        """
        template = whole(template)
        self._group = Group(template, self._data, self._loss)
        self._weights = Weights(self._group.layout, template.start)

    def _group_for(self, entering: Ready) -> Group:
        """The group that takes the member in; another one when the stack is empty and this one can't."""
        if self._group is not None:
            try:
                self._group.admit(entering)
                if self._weights is None:
                    self._weights = Weights(self._group.layout, entering.start)
                return self._group
            except CannotStack:
                if self._slots or self._waiting:
                    raise
        self.shape_by(entering)
        return self._inside()[0]

    def run(self) -> Iterator[Ended]:
        """Train until nobody is left; members may be added while this goes on."""
        while self._slots or self._waiting:
            yield from self.step_epoch()

    def step_epoch(self) -> list[Ended]:
        """One epoch of all members: the trials that ended with it.

        What it raises concerns all of them (no memory, a module that fails on some rows only):
        train them one by one, their seeds give the same numbers there.
        """
        self._let_in()
        if not self._slots or self._group is None:
            return []
        shares = Shares(self._slots)
        with isolated_rng(self._device), torch.enable_grad():
            self._train(shares)
        metrics = self._evaluate()
        shares.close()
        self._judge(metrics)
        ended = self._let_go()
        for at, slot in enumerate(self._slots):
            keep_if_due(slot, at, *self._inside())
        return ended

    def state_of(self, number: int) -> dict[str, Any]:
        """Weights of a trial's best epoch so far, as its module's ``state_dict``, while it is in.

        Raises:
            KeyError: it isn't, or has made no epoch yet.
        """
        for at, slot in enumerate(self._slots):
            if slot.member.number == number and slot.judge.best_epoch:
                group, weights = self._inside()
                return weights.best_state(at, group.setup.module, slot.shapes)
        raise KeyError(number)

    def _inside(self) -> tuple[Group, Weights]:
        """Of a stack that somebody is in."""
        assert self._group is not None
        assert self._weights is not None
        return self._group, self._weights

    def _let_in(self) -> None:
        if not self._waiting or self._weights is None:
            return
        together = [*self._slots, *self._waiting]
        # Rows of one optimiser lie together, so that each is one update.
        order = sorted(
            range(len(together)),
            key=lambda at: OPTIMIZERS.index(together[at].member.settings.optimizer),
        )
        new = [slot.start for slot in self._waiting]
        self._weights.choose(range(len(self._slots)), new, order)
        for slot in self._waiting:
            slot.start = Entering({})
        self._slots, self._waiting = [together[at] for at in order], []
        self._steps = None

    def _let_go(self) -> list[Ended]:
        ended: list[Ended] = []
        stay: list[int] = []
        for at, slot in enumerate(self._slots):
            if slot.failure is not None:
                ended.append((slot.member.number, slot.failure))
            elif slot.ended_by:
                ended.append((slot.member.number, self._result(at, slot)))
            else:
                stay.append(at)
        if ended and self._weights is not None:
            self._slots = [self._slots[at] for at in stay]
            self._weights.choose(stay, [], range(len(stay)))
            self._steps = None
        return ended

    def _train(self, shares: Shares) -> None:
        setup = self._inside()[0].setup
        epoch, steps = self._start_epoch()
        part, n = self._data.train, len(self._slots)
        size = setup.batch_sizes[0]
        order = self._order(size, should_drop=setup.should_drop_last)
        timer = self._timer if self._timer is not None and self._timer.is_open else None
        if timer is not None:
            timer.start()
        for at, (inputs, target) in enumerate(part.batches(n * size, order=order)):
            if not self._ask(epoch):
                break
            shares.check()
            stacked = [by_trial(item, n) for item in tensors_of(inputs)]
            epoch.losses.append(steps.take(stacked, by_trial(target, n), at))
            if timer is not None and timer.is_open:
                timer.tick(n)
        epoch.flush(self._slots)

    def _start_epoch(self) -> tuple[Epoch, Steps]:
        group, weights = self._inside()
        setup = group.setup
        if self._steps is None:
            self._steps = Steps(
                group, weights, self._slots,
                is_exact=self.has_exact_dropout, has_graph=self.has_graph,
            )  # fmt: skip
        self._steps.start_epoch()
        for slot in self._slots:
            slot.log.start_epoch(
                slot.epoch * setup.n_batches + 1, setup.n_batches, setup.batch_sizes
            )
            slot.epoch += 1
        deadline = time.perf_counter() + CHUNK_SECONDS
        return Epoch(losses=[], deadline=deadline), self._steps

    def _order(self, size: int, *, should_drop: bool) -> Tensor:
        """Rows so that every K x B of them are one batch of each member, in its own order."""
        n = self._data.train.n
        orders = torch.stack([batch_order(n, slot.member.seed, slot.epoch) for slot in self._slots])
        n_full = n - n % size
        full = orders[:, :n_full].reshape(len(orders), -1, size).transpose(0, 1).reshape(-1)
        return full if should_drop else torch.cat([full, orders[:, n_full:].reshape(-1)])

    def _ask(self, epoch: Epoch) -> bool:
        """Whether any trial goes on: each is asked."""
        begin = time.perf_counter()
        for slot in self._slots:
            if slot.failure is None:
                try:
                    slot.member.listener.on_batch()
                except Exception as error:  # noqa: BLE001  an order to end this trial, handed on
                    slot.failure = error
        now = time.perf_counter()
        self._slots[0].waited_s += now - begin
        if now > epoch.deadline:
            epoch.flush(self._slots)
        return any(slot.failure is None for slot in self._slots)

    def _evaluate(self) -> list[dict[str, float]]:
        group, weights = self._inside()
        data = self._data
        tally = StackedTally(
            self._names, data.task, max(len(data.classes), 1), threshold_of(self._loss)
        )
        rows = group.eval_rows(self.width)
        group.evaluate({**weights.kept, **weights.leaves}, len(self._slots), rows, tally)
        return tally.result()

    def _judge(self, found: list[dict[str, float]]) -> None:
        """Which epochs are the best so far, and which trials end."""
        group, weights = self._inside()
        n_batches, better = group.setup.n_batches, []
        reports: list[tuple[Slot, dict[str, float]]] = []
        for at, (slot, own) in enumerate(zip(self._slots, found, strict=True)):
            metrics = slot.checked(own, self._objective, slot.epoch * n_batches)
            if metrics is None:
                continue
            if slot.judge.is_better(slot.epoch, metrics):
                better.append(at)
            reports.append((slot, metrics))
        weights.keep_best(better)
        asked = time.perf_counter()
        for slot, metrics in reports:
            try:
                slot.member.listener.announce(slot.epoch, slot.epoch * n_batches, metrics)
            except Exception as error:  # noqa: BLE001  the listener's, handed on
                slot.failure = error
        self._slots[0].waited_s += time.perf_counter() - asked
        for slot, metrics in reports:
            if slot.failure is None:
                slot.report(slot.epoch * n_batches, metrics)

    def _result(self, at: int, slot: Slot) -> FitResult:
        group, weights = self._inside()
        judge, setup = slot.judge, group.setup
        state = weights.best_state(at, setup.module, slot.shapes) if judge.best_epoch else {}
        return FitResult(
            value=judge.value,
            best_epoch=judge.best_epoch,
            n_epochs=slot.epoch,
            n_steps=slot.epoch * setup.n_batches,
            metrics=judge.metrics,
            state_dict=state,
            stopped=slot.ended_by == "stopped",
            ended_by=slot.ended_by,
            duration_s=slot.duration_s,
            notes=(*slot.notes, *self._notes()),
        )

    def _notes(self) -> list[str]:
        way = f"stacked up to {self.width} wide" if self.width > 1 else "gradients without autograd"
        refusal = self._steps.refusal if self._steps is not None else ""
        text = f"steps were launched one by one, for recording one raised {refusal}"
        return [way, text] if refusal else [way]
