"""What a worker does with a task of many module trials: train those that can be as one.

::

    trials -> members -> groups of the same structure -> a stack each -> TrialEnded
                |             |   '-- layers of other widths: padded to those of a template
                |             '-- free slots: context.more() -> members
                '-- does not fit into a stack: handed back, for a task of its own

Groups take turns, epoch by epoch (`nbautoml.tune.turns`). Were one trained to its end before the next,
the trials of the others would wait unseen, more and more of them as its stack is filled, and no
stopper could compare them. With a sampler that learns all stacks of a worker together hold no more
trials than one may: it draws the others when it knows more.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.events import (
    LogLine,
    Task,
    TaskContext,
    TrialEnded,
    TrialRequeued,
    TrialRestarted,
    TrialSpec,
)
from nbautoml.spec.fit import FitSettings
from nbautoml.train.failures import cancelled, failed
from nbautoml.tune.checkpoints import Checkpoints
from nbautoml.tune.chooser import Chooser
from nbautoml.tune.keys import Wider, structure_of
from nbautoml.tune.planner import SlowerError
from nbautoml.tune.session import Session, session_for
from nbautoml.tune.turns import Turns
from nbautoml.tune.work import Reporter, built_with, ended_well, make_builder, train_one

if TYPE_CHECKING:
    from nbautoml.train.stacked import Ready, StackedFit

    Groups = dict[Hashable, list[Ready]]

__all__ = ["train_stacks"]

LEAST_WIDTH = 2  # of a stack that ran out of memory and is tried again; below, one by one


def train_stacks(task: Task, context: TaskContext) -> None:
    """Handler: trains the task's trials, and those that it takes for its free slots."""
    import torch

    torch.set_num_threads(context.n_threads)
    _Worker(task, context).train()


class _Worker:
    """One task from its first trial to its last."""

    def __init__(self, task: Task, context: TaskContext) -> None:
        from nbautoml.train.stacked import Models

        self._task, self._context = task, context
        self._session: Session = session_for(context)
        self._chooser = Chooser(task, self._session, context)
        self._best = task.payload.get("best")
        self._reporters: dict[int, Reporter] = {}
        self._specs: dict[int, TrialSpec] = {}
        self._checkpoints: dict[int, Checkpoints] = {}
        self._groups: Groups = {}  # by structure: members that wait for its stack
        self._begun: dict[Hashable, Iterator[int]] = {}  # the epochs of groups
        self._stacks: dict[Hashable, StackedFit] = {}  # in which those train
        self._models = Models()
        self._turns = Turns()
        self._held: set[int] = set()  # trials that have not ended, and were not handed back
        self._has_more = True
        self._refusal = ""  # why a trial fits into no stack, of the first that does not

    def train(self) -> None:
        """All trials of the task."""
        groups, alone = self._sorted(self._task.trials)
        lone = self._lone(groups) if all(len(own) == 1 for own in groups.values()) else []
        if not groups:
            self._chooser.note_no_groups("" if lone else self._refusal)
        alone += lone + self._choose(groups)
        if not groups:
            self._has_more = False
        self._hand_back(alone if groups else alone[1:])
        self._groups = groups
        while self._groups:
            self._take_turn(self._turns.next(list(self._groups), self._promise()))
            if not self._has_more:  # no other of their structure will come
                self._hand_back(self._lone(self._groups))
        if alone and len(alone) == len(self._task.trials):
            self._train_alone(alone[0])

    def _take_turn(self, key: Hashable) -> None:
        """One epoch of a group; then there may be room for further trials, of whatever structure."""
        begin = time.monotonic()
        n_free = next(self._begun.setdefault(key, self._train_group(key)), None)
        self._turns.charge(key, time.monotonic() - begin)
        if n_free is None:
            del self._begun[key], self._groups[key]
            self._stacks.pop(key, None)
            self._turns.forget(key)
            return
        if not self._task.payload.get("is_blind", False):
            width = self._chooser.width(structure_of(key))
            n_free = min(n_free, width - len(self._held))
        if self._has_more and n_free > 0:
            self._take_more(n_free)

    def _promise(self) -> dict[Hashable, float]:
        """What the best trial of each group stands at, larger is better; of one objective only."""
        first, *others = self._session.recipe.objectives
        sign = 1.0 if first.direction == "maximize" else -1.0
        found: dict[Hashable, float] = {}
        for key, stack in self._stacks.items() if not others else ():
            values = [sign * self._reporters[number].value for number in stack.numbers]
            if known := [value for value in values if not math.isnan(value)]:
                found[key] = max(known)
        return found

    # -- which trials can be trained as one ---------------------------------------------------

    def _sorted(self, trials: Iterable[TrialSpec]) -> tuple[Groups, list[TrialSpec]]:
        """Trials by the structure of their modules, and those that are trained on their own."""
        from nbautoml.train.stacked import CannotStack

        groups: Groups = {}
        alone: list[TrialSpec] = []
        for trial in trials:
            self._specs[trial.number] = trial
            self._held.add(trial.number)
            try:
                member = self._ready(trial, self._session.split(trial.params)[1])
                groups.setdefault(member.loose_key, []).append(member)
            except CannotStack as error:
                self._tell_once(error.message)
                alone += [trial]
            except Exception:  # noqa: BLE001  on its own it fails again, where it is told properly
                alone += [trial]
        return groups, alone

    def _lone(self, groups: Groups) -> list[TrialSpec]:
        """Take out the trials whose structure no other has, and that have not begun."""
        keys = [key for key, own in groups.items() if len(own) == 1 and key not in self._begun]
        return [self._specs[groups.pop(key)[0].member.number] for key in keys]

    def _ready(
        self, trial: TrialSpec, arguments: dict[str, Any], *, like: Ready | None = None
    ) -> Ready:
        """A trial as a member of a stack, with its module built, from its newest checkpoint.

        With ``like`` it is a wider template of that member: it has no checkpoint, and that member's
        precision, for its own would follow from how large it is.

        Raises:
            CannotStack: it has to be trained on its own.
        """
        import torch

        from nbautoml.train.stacked import Member

        settings, _ = self._session.split(trial.params)
        if like is not None:
            settings = {**settings, "amp": like.setup.precision.dtype is not None}
        begin = time.monotonic()
        reporter = Reporter(trial, self._task, self._session, self._context, has_clock=False)
        self._reporters[trial.number] = reporter
        checkpoints = self._checkpoints.setdefault(trial.number, Checkpoints(trial, self._context))
        state = None if like is not None else next(checkpoints.starts())
        reporter.note_spent(state.spent_s if state else 0.0)
        member = Member(
            number=trial.number,
            build=reporter.watch(make_builder(self._session.target, arguments)),
            settings=FitSettings(**settings),
            seed=trial.seed,
            listener=reporter,
            keeper=checkpoints,
            resumed=state,
            limit_s=self._task.limit_s,
        )
        device = torch.device(self._context.device)
        data, loss = self._session.opened_data, self._session.loss
        found = self._models.ready(built_with(settings, arguments), member, data, device, loss)
        reporter.count()
        built_s = time.monotonic() - begin
        found.member = dataclasses.replace(found.member, built_s=built_s)
        return found

    def _template(self, members: Sequence[Ready]) -> Ready:
        """The widest of some members: built with the largest of each whole number that they take.

        Where that is no such module, the member with the most weights, and others won't fit.
        """
        from nbautoml.train.stacked import CannotStack

        largest = max(members, key=_n_weights)
        if len({member.key for member in members}) == 1:
            return largest
        spec = self._specs[largest.member.number]
        arguments = [self._session.split(self._specs[m.member.number].params)[1] for m in members]
        widest = {
            name: max(own[name] for own in arguments) if type(value) is int else value
            for name, value in self._session.split(spec.params)[1].items()
        }
        reporter = self._reporters[spec.number]
        try:
            found = self._ready(spec, widest, like=largest)
        except (CannotStack, TypeError):  # `max` of what is no number in another trial
            return largest
        finally:
            self._reporters[spec.number] = reporter
        return found if found.loose_key == largest.loose_key else largest

    def _choose(self, groups: Groups) -> list[TrialSpec]:
        """Take out those that are known to be faster one by one."""
        slow: list[TrialSpec] = []
        for key, members in sorted(groups.items(), key=lambda pair: -len(pair[1])):
            if self._chooser.trains_alone(key, members):
                slow += [self._specs[one.member.number] for one in groups.pop(key)]
        return slow

    # -- training -----------------------------------------------------------------------------

    def _hand_back(self, trials: Iterable[TrialSpec], reason: str = "") -> None:
        """To be trained in tasks of their own, by whoever is free."""
        for trial in trials:
            text = reason or "it is trained on its own"
            self._held.discard(trial.number)
            self._context.emit(TrialRequeued(trial=trial.number, reason=text))

    def _train_alone(self, trial: TrialSpec) -> None:
        task = Task(
            handler=self._task.handler,
            trials=(trial,),
            payload=self._payload(),
            limit_s=self._task.limit_s,
        )
        ended = train_one(trial, task, self._session, self._context)
        self._note_best(ended)
        self._context.emit(ended)

    def _train_group(self, key: Hashable) -> Iterator[int]:
        """Train a group, its stack filled from those that wait; after each epoch: how many it lacks."""
        members = self._groups[key]
        while members:
            members[:] = yield from self._train_stack(key, members)

    def _train_stack(
        self, key: Hashable, members: list[Ready]
    ) -> Generator[int, None, list[Ready]]:
        """One stack to its end, epoch by epoch; those for a narrower one when it ran out of memory."""
        import torch

        from nbautoml.train import free_memory, is_out_of_memory, one_line, release_frames
        from nbautoml.train.stacked import StackedFit

        structure = structure_of(key)
        if self._chooser.trains_alone(structure, members):
            self._hand_back(self._specs[member.member.number] for member in members)
            return []
        template = self._template(members)
        try:
            timer = self._chooser.contest(structure, members, template)
        except SlowerError:
            self._hand_back(self._specs[member.member.number] for member in members)
            return []
        stack = StackedFit(
            self._session.opened_data,
            objective=self._session.recipe.objectives[0],
            metrics=self._session.metric_names,
            device=self._context.device,
            width=self._chooser.width(structure),
            loss=self._session.loss,
            timer=timer,
        )
        self._stacks[key] = stack
        try:
            stack.shape_by(template)
            while members or stack.numbers:
                while members and stack.n_free:
                    self._let_in(stack, key, members.pop(0))
                for number, result in stack.step_epoch():
                    self._end(number, result)
                yield stack.n_free - len(members)
            if timer is not None and timer.is_open and timer.has_seen_any:
                self._chooser.note_undecided(stack.width)
            return []
        except SlowerError as error:
            return self._split(structure, stack.numbers, error) + members
        except Exception as error:  # noqa: BLE001  it concerns all of them
            numbers, device = stack.numbers, torch.device(self._context.device)
            if not is_out_of_memory(error) or len(numbers) < 2 * LEAST_WIDTH:
                self._give_up(stack, members, error)
                return []
            reason = one_line(error)
            release_frames(error)
        # The stack and what the error held are gone from here on.
        del stack, self._stacks[key]
        free_memory(device)
        width = self._session.widths[structure] = len(numbers) // 2
        text = f"a stack of {len(numbers)} ran out of memory ({reason}): {width} at a time instead"
        return self._again(structure, numbers, text) + members

    def _split(self, key: Hashable, numbers: Sequence[int], error: SlowerError) -> list[Ready]:
        """A stack whose first steps were slower than another way's: that way, from the start."""
        if error.width > 1:
            return self._again(key, numbers, f"a stack of {len(numbers)}: {error}")
        self._hand_back((self._specs[number] for number in numbers), "one by one it is faster")
        return []

    def _again(self, key: Hashable, numbers: Sequence[int], text: str) -> list[Ready]:
        """Members once more, from their checkpoints, for a narrower stack."""
        for number in numbers:
            epoch, step = self._checkpoints[number].start
            restarted = TrialRestarted(trial=number, reason=text, epoch=epoch, step=step)
            self._context.emit(restarted)
        groups, alone = self._sorted(self._specs[number] for number in numbers)
        self._hand_back(alone)
        found = groups.pop(key, [])
        self._let_wait(groups)
        return found

    def _let_wait(self, groups: Groups) -> None:
        for key, members in groups.items():
            self._groups.setdefault(key, []).extend(members)

    def _let_in(self, stack: StackedFit, key: Hashable, member: Ready) -> None:
        from nbautoml.train.stacked import CannotStack, TooWide

        try:
            stack.add_ready(member)
        except TooWide:
            self._let_wait({Wider(key): [member]})
        except CannotStack as error:
            if not stack.numbers:  # nor would it fit into a stack of its own
                raise
            self._tell_once(error.message)
            self._hand_back([self._specs[member.member.number]])

    def _take_more(self, n: int) -> None:
        trials = self._context.more(n)
        self._has_more = len(trials) == n
        groups, alone = self._sorted(trials)
        self._hand_back(alone)
        self._let_wait(groups)

    def _end(self, number: int, result: Any) -> None:
        from nbautoml.train import TrialCancelled

        self._held.discard(number)
        if isinstance(result, TrialCancelled):
            ended = cancelled(number)
        elif isinstance(result, BaseException):
            ended = failed(number, result, self._session.capsule_dir)
        else:
            task = Task(handler=self._task.handler, trials=(), payload=self._payload())
            reporter = self._reporters[number]
            ended = ended_well(result, reporter, task, self._session, self._context)
            self._note_best(ended)
        self._context.emit(ended)

    def _give_up(self, stack: StackedFit, members: list[Ready], error: Exception) -> None:
        """The stack failed as a whole: its trials start again, one by one."""
        reason = f"the stack failed ({type(error).__name__}: {error})"[:500]
        self._context.emit(LogLine(text=f"{reason}; its trials start again alone", level="warning"))
        left = [*stack.numbers, *(member.member.number for member in members)]
        self._hand_back([self._specs[number] for number in left], reason)

    def _payload(self) -> dict[str, Any]:
        """What is best so far, which decides whose weights are kept."""
        return {"best": self._best, "front": self._task.payload.get("front")}

    def _note_best(self, ended: TrialEnded) -> None:
        if ended.state != "complete" or not ended.values:  # no other is the best of a run
            return
        value, is_max = ended.values[0], self._session.recipe.objectives[0].direction == "maximize"
        if self._best is None or (value > self._best if is_max else value < self._best):
            self._best = value

    def _tell_once(self, reason: str) -> None:
        """Why trials are trained one by one, once a task."""
        if not self._refusal:
            self._refusal = reason
            self._context.emit(LogLine(text=f"one by one: {reason}", level="info"))


def _n_weights(member: Ready) -> int:
    return sum(tensor.numel() for tensor in member.start.values())
