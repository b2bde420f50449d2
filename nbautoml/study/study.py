"""The ask/tell loop: an Optuna study in memory, fed by the driver and rebuilt from the record.

::

    ask ──> (number, params) ──> report(epoch, value) ──> stop? ──> tell(state, value)
                                          ^                             |
    restore(rows of the record) ──────────┴───── the same trials, as told before
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.errors import RecipeError
from nbautoml.spec.objective import Objective
from nbautoml.spec.space import Choice, Dimension, Space
from nbautoml.study.bridge import FINISHED, dimension_from_question, widened
from nbautoml.study.entries import Entry, TrialLike, as_values, entries_from
from nbautoml.study.loop import Loop
from nbautoml.study.makers import Source
from nbautoml.study.rounds import check_can_be_in_rounds, round_size
from nbautoml.study.samplers import sampler_for
from nbautoml.study.situation import Situation
from nbautoml.study.stoppers import rungs_for, stopper_for

if TYPE_CHECKING:
    import optuna

__all__ = ["Study"]


class Study:
    """Which point to try next, and whether to go on with one that is being tried.

    One thread at a time. Nothing is written anywhere: the record is the driver's.

    Args:
        space: what varies; empty where an objective says it while it runs (`suggest`).
        objectives: what is judged.
        sampler: a name of `SAMPLERS`, or "auto".
        stopper: a name of `STOPPERS`, or "auto".
        seed: with the same seed and the same values told, the same points are asked.
        n_trials: how many trials there will be, where that is known.
        max_epochs: the most epochs a trial can have, where that is known.
        is_deterministic: trials come in rounds, and the order in which they report and end
            changes nothing: see `nbautoml.study.rounds`. Whoever tells must keep to them.

    Attributes:
        explanation: which sampler and stopper work here and why, for people.
        round_size: trials in a round; None where there are no rounds.

    Raises:
        RecipeError: an unknown name (with the nearest), or a sampler or stopper that cannot do
            what is asked; `MissingExtraError` when a package is missing.

    >>> from nbautoml.spec.space import Float
    >>> study = Study(Space({"x": Float(-1, 1)}), [Objective("loss", "minimize")], seed=1)
    >>> number, params = study.ask()
    >>> study.tell(number, "complete", params["x"] ** 2)
    True
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        *,
        sampler: str = "auto",
        stopper: str = "auto",
        seed: int = 0,
        n_trials: int | None = None,
        max_epochs: int | None = None,
        is_deterministic: bool = False,
    ) -> None:
        if not objectives:
            raise RecipeError("a study needs an objective")
        self.space = space
        self.objectives = tuple(objectives)
        self._situation = Situation(
            space=space,
            directions=tuple(objective.direction for objective in objectives),
            seed=seed,
            n_trials=n_trials,
            max_epochs=max_epochs,
        )
        self._sampler, why_sampler = sampler_for(sampler, self._situation)
        self._stopper, why_stopper = stopper_for(stopper, self._situation, self._sampler)
        self._source = Source(self._sampler.name, self._situation)
        if self._sampler.name == "grid" and self._source.grid is not None:
            why_sampler = f"sampler grid: {self._source.grid.describe()}"
        self.explanation = f"{why_sampler}; {why_stopper}"
        if is_deterministic:
            check_can_be_in_rounds(is_open=self._situation.is_open)
            self.round_size: int | None = round_size(self.sampler, self.stopper)
            self.explanation += f"; deterministic, in rounds of {self.round_size} trials"
        else:
            self.round_size = None
        self._loop = Loop(
            self._situation,
            self._sampler,
            self._stopper,
            self._source,
            is_in_rounds=is_deterministic,
        )
        self._rungs = rungs_for(self._stopper, self._situation, is_in_rounds=is_deterministic)
        self._reported: dict[int, int] = {}  # with several objectives: the last epoch
        self._entries: dict[int, Entry] = {}
        self._open: dict[int, optuna.Trial] = {}
        self._next = 0
        self._queue: deque[dict[str, Any]] = deque()
        self._dimensions: dict[str, Dimension] = dict(space)
        self._unplaced: list[Entry] = []  # restored, of names whose dimension nobody said yet

    @property
    def sampler(self) -> str:
        """The name of the sampler that works here."""
        return self._sampler.name

    @property
    def stopper(self) -> str:
        """The name of the stopper that works here."""
        return self._stopper.name

    # -- the loop ---------------------------------------------------------------------------

    def ask(self) -> tuple[int, dict[str, Any]]:
        """The next trial: its number and its active parameters (labels, as the record has them).

        Raises:
            RecipeError: every point was tried: see `is_exhausted`.
        """
        if self.is_exhausted:
            raise RecipeError(f"{self.sampler} has no point left: all were tried")
        if self.round_size is not None and not self._open:
            self._loop.begin_round()
            if self._rungs is not None:
                self._rungs.settle_before(self._next)
        number = self._next
        fixed = self._queue.popleft() if self._queue else None
        if fixed is None or not self.space.contains(fixed):
            self._source.aim(number)
        trial, params = self._loop.open(number, fixed)
        self._source.landed(params)
        self._open[number] = trial
        self._entries[number] = Entry(number, "running", params, started_at=time.time())
        self._next = number + 1
        return number, dict(params)

    def suggest(self, number: int, question: Mapping[str, Any]) -> Any:
        """A value for an objective that asks while it runs.

        Args:
            number: of an open trial.
            question: ``name``, ``kind`` ("int", "float", "categorical") and the range: see
                `dimension_from_question`.

        Raises:
            RecipeError: the trial is not running, the question cannot be read, or a name was
                asked about before with other options.
        """
        trial = self._open.get(number)
        if trial is None:
            raise RecipeError(f"trial {number} is not running")
        name = question.get("name")
        if not isinstance(name, str) or not name:
            raise RecipeError(f"a value was asked for without a name: {dict(question)!r}")
        dimension = dimension_from_question(question)
        self._learn(name, dimension)
        label = self._loop.suggest(trial, number, name, dimension)
        self._entries[number].params[name] = label
        return dimension.resolve(label) if isinstance(dimension, Choice) else label

    def report(self, number: int, step: int, value: float | Sequence[float]) -> bool:
        """Note a trial's value after an epoch (one an objective); True when it should stop now.

        Epochs count from 1. A step that is not later than the last one means that the trial goes
        on from an earlier one (its worker died). Where it says what it said before, nothing has
        changed; where not, what it reported from there on is forgotten. A trial that is not open
        (told already) is to stop.

        Raises:
            RecipeError: not one value an objective, or a negative epoch.
        """
        values = tuple(value) if isinstance(value, Sequence) else (value,)
        if len(values) != len(self.objectives):
            raise RecipeError(
                f"trial {number} reports {len(values)} values, but the run has "
                f"{len(self.objectives)} objectives"
            )
        if number not in self._open:
            return True
        entry, step = self._entries[number], int(step)
        if step < 0:
            raise RecipeError(f"trial {number} reports epoch {step}", hint="epochs count from 1")
        if len(values) > 1:
            return self._report_several(number, step, values)
        value = values[0]
        if self.round_size is not None:
            return self._report_in_round(entry, step, float(value))
        last = max(entry.curve, default=-1)
        if step <= last:
            if entry.curve.get(step) == float(value):
                # It went on after the earlier ones, or the last would not have come.
                return step == last and self._loop.should_stop(self._open[number])
            entry.curve = {at: old for at, old in entry.curve.items() if at < step}
            self._open[number] = self._loop.reopen(self._open[number], entry)
        entry.curve[step] = float(value)
        return self._loop.report(self._open[number], step, float(value))

    def _report_several(self, number: int, step: int, values: tuple[float, ...]) -> bool:
        if self._rungs is None:
            return False
        if self.round_size is not None:
            return self._report_several_in_round(self._entries[number], step, values)
        if step <= self._reported.get(number, -1):
            self._rungs.forget(number, step - 1)
        self._reported[number] = step
        return self._rungs.should_stop(number, step, values)

    def tell(
        self, number: int, state: str, value: Any = None, *, constraints: Sequence[float] = ()
    ) -> bool:
        """How a trial ended.

        Args:
            number: of an open trial.
            state: "complete", "stopped_early", "failed" or "cancelled".
            value: a number, or one an objective. A complete trial whose value is missing or
                not finite counts as failed.
            constraints: by how much the trial breaks each limit, 0 or below where it keeps it. The
                samplers tpe and nsga2 put any trial that keeps all before any that does not, and
                of those that do not the one with the smaller sum first.

        Returns:
            False when the trial was not open: a late word on one that has ended changes nothing.

        Raises:
            RecipeError: no such state.
        """
        if state not in FINISHED:
            raise RecipeError(
                f"trial {number} cannot end as {state!r}", hint=f"one of: {', '.join(FINISHED)}"
            )
        trial = self._open.pop(number, None)
        if trial is None:
            return False
        entry = self._entries[number]
        entry.values = as_values(value, len(self.objectives))
        entry.constraints = tuple(float(amount) for amount in constraints)
        entry.state = "failed" if state == "complete" and entry.values is None else state
        entry.ended_at = time.time()
        self._loop.close(trial, entry)
        return True

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Try this point next; what it leaves out is drawn.

        Raises:
            SpaceError: not a point of the space, or it leaves out what a given name depends on.
        """
        if not self._situation.is_open:
            self.space.check(params, partial=True)
        self._queue.append(self.space.labels(params))

    @property
    def n_enqueued(self) -> int:
        """How many points wait to be asked for."""
        return len(self._queue)

    @property
    def is_exhausted(self) -> bool:
        """Whether no point is left to ask for (grid and brute only; enqueued ones count)."""
        if self._queue:
            return False
        return self._source.is_exhausted or self._loop.is_done

    # -- from and to a record ---------------------------------------------------------------

    def restore(
        self,
        trials: Iterable[TrialLike | tuple[TrialLike, Mapping[int, float]]],
        *,
        constraints: Mapping[int, Sequence[float]] | None = None,
    ) -> None:
        """Take over what a record holds; call it before the first `ask`.

        Finished trials are as if told here. Waiting and running ones are open again, to be
        reported on and told under their numbers. New numbers follow the largest; the sampler
        goes on as it would have, had this process drawn the earlier trials.

        Args:
            trials: rows of the record (see `TrialLike`), each alone or as ``(row, curve)`` with
                the curve as ``{epoch: value}``.
            constraints: of trials that are over, by number: see `tell`.

        Raises:
            RecipeError: trials were asked for already, or a number occurs twice.
        """
        if self._entries:
            raise RecipeError("a study can be restored only before its first trial")
        entries = entries_from(trials, len(self.objectives))
        if not entries:
            return
        for entry in entries:
            entry.constraints = tuple((constraints or {}).get(entry.number, ()))
        self._entries = {entry.number: entry for entry in entries}
        self._next = entries[-1].number + 1
        for entry in entries:
            self._source.landed(entry.params)
        if self.round_size is not None:
            self._restore_rounds(entries, self.round_size)
            return
        self._unplaced = [entry for entry in entries if entry.is_finished]
        self._place()
        self._loop.age(len(entries))
        for entry in entries:
            if not entry.is_finished:
                self._open[entry.number] = self._loop.resume(entry)

    def recall(self, number: int, curve: Mapping[int, Sequence[float]]) -> None:
        """What a restored trial of several objectives reported, by epoch; by number, after `restore`."""
        if self._rungs is None:
            return
        if self.round_size is not None:
            self._rungs.settle_before(number // self.round_size * self.round_size)
            for step in sorted(curve):
                self._report_several_in_round(self._entries[number], step, tuple(curve[step]))
        else:
            for step in sorted(curve):
                self._rungs.should_stop(number, step, curve[step])
                self._reported[number] = step

    def to_optuna(self) -> optuna.Study:
        """A study of Optuna's own with all trials, to be looked at and kept."""
        from nbautoml.study.export import study_from_entries

        return study_from_entries(
            self._entries.values(), self.objectives, self._dimensions, name="nbautoml"
        )

    # -- inside -----------------------------------------------------------------------------

    def _report_in_round(self, entry: Entry, step: int, value: float) -> bool:
        """As `report`; a trial that was begun again hears what it heard before."""
        if step not in entry.curve:
            entry.curve[step] = value
            should_stop = self._loop.report(self._open[entry.number], step, value)
            if should_stop and entry.stopped_at is None:
                entry.stopped_at = step
        return entry.stopped_at is not None and step >= entry.stopped_at

    def _report_several_in_round(self, entry: Entry, step: int, values: tuple[float, ...]) -> bool:
        """As `_report_in_round`."""
        assert self._rungs is not None
        if step > self._reported.get(entry.number, -1):
            self._reported[entry.number] = step
            if self._rungs.should_stop(entry.number, step, values) and entry.stopped_at is None:
                entry.stopped_at = step
        return entry.stopped_at is not None and step >= entry.stopped_at

    def _restore_rounds(self, entries: Sequence[Entry], size: int) -> None:
        """Live through the rounds of a record; the last stays open as long as one of it does."""
        for first in range(0, entries[-1].number + 1, size):
            together = [e for e in entries if first <= e.number < first + size]
            self._loop.begin_round()
            for entry, trial in zip(together, self._loop.live_again(together), strict=True):
                self._open[entry.number] = trial
            if all(entry.is_finished for entry in together):
                for entry in together:
                    self._loop.close(self._open.pop(entry.number), entry)

    def _learn(self, name: str, dimension: Dimension) -> None:
        """What a name can be was said; restored trials that wait for it can be used."""
        known = self._dimensions.get(name)
        self._dimensions[name] = dimension if known is None else widened(known, dimension)
        if known is None and self._unplaced:
            self._place()

    def _place(self) -> None:
        """Hand the loop those restored trials of which every name is known."""
        ready = [e for e in self._unplaced if self._dimensions.keys() >= e.params.keys()]
        placed = {entry.number for entry in ready}
        self._unplaced = [entry for entry in self._unplaced if entry.number not in placed]
        self._loop.take_over(ready, self._dimensions)
