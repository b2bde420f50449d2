"""The driver of runs of kind "tune" and "train": asks the study, hands out trials, one or many a task.

A "train" run is a study of one trial with nothing to vary.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.errors import NbAutomlError
from nbautoml.events import (
    Command,
    Enqueue,
    Event,
    Handout,
    LogLine,
    Obeyed,
    PlanChosen,
    RunControl,
    Task,
    TrialEnded,
    TrialPlanned,
    TrialRequeued,
    TrialSpec,
    Verdict,
)
from nbautoml.spec import Choice, Int
from nbautoml.spec.fit import FitSettings
from nbautoml.store.rows import spent_seconds
from nbautoml.study import Study
from nbautoml.train.failures import OUT_OF_MEMORY
from nbautoml.tune.front import Front
from nbautoml.tune.kept import Kept
from nbautoml.tune.rounds import Rounds
from nbautoml.tune.stacking import STACK_HANDLER, Stacking

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import Reader, TrialRow

__all__ = ["TuneDriver", "lone_task", "trial_seed"]

SAME_ERROR_LIMIT = 3
# A large model may have no room where a smaller one has: so it takes more of them to give up.
OUT_OF_MEMORY_LIMIT = 20
HANDLERS: Mapping[str, str] = {
    "module": "nbautoml.tune.work:train_modules",
    "objective": "nbautoml.tune.objectives:run_objectives",
    "estimator": "nbautoml.tune.estimators:cross_validate",
}


def trial_seed(recipe: Recipe, number: int) -> int:
    """The seed that decides a trial's weights, batch order and dropout.

    A lone fit has the run's own seed, so that its plain-code twin reads naturally; trials of a
    study get seeds that differ between trials and between runs.
    """
    if recipe.kind == "train":
        return recipe.seed
    digest = hashlib.sha256(f"{recipe.seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def lone_task(recipe: Recipe, number: int, params: Mapping[str, Any]) -> Task:
    """The task of a trial that is trained on its own, by its own seed."""
    trial = TrialSpec(number=number, params=params, seed=trial_seed(recipe, number))
    handler = HANDLERS[recipe.target.role]
    return Task(handler=handler, trials=(trial,), payload={"best": None})


class TuneDriver:
    """Samples, hands out, judges. See `nbautoml.engine.driver.Driver` for what each call owes."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._n_trials = 1 if recipe.kind == "train" else recipe.budget.n_trials
        self._study = Study(
            recipe.space,
            recipe.objectives,
            sampler=recipe.sampler,
            stopper=recipe.stopper if recipe.kind == "tune" else "none",
            seed=recipe.seed,
            n_trials=self._n_trials,
            max_epochs=_max_epochs(recipe),
            is_deterministic=recipe.execution.deterministic,
        )
        self._rounds = Rounds(self._study.round_size)
        self._params: dict[int, dict[str, Any]] = {}
        self._kept = Kept()
        self._front = Front(recipe.objectives) if len(recipe.objectives) > 1 else None
        self._again: deque[int] = deque()
        self._alone: deque[int] = deque()  # handed back: they fit into no stack
        self._n_planned = self._n_good = self._n_ended = 0
        self._best: float | None = None
        self._last_error, self._n_same_error, self._n_out_of_memory = "", 0, 0
        self._deadline: float | None = None
        self._fatal = ""
        self._stacking = Stacking.of(
            recipe, self._study.sampler, self._n_trials, self._study.round_size
        )

    # -- from the record --------------------------------------------------------------------

    def restore(self, reader: Reader) -> Sequence[Event]:
        """Tell the study what an earlier owner recorded; waiting trials go first."""
        rows = reader.trials()
        if rows:
            curves = self._intermediate_values(reader)
            self._study.restore([(row, curves.get(row.number, {})) for row in rows])
            self._recall_several(reader, rows)
        for row in rows:
            self._n_planned += 1
            self._params[row.number] = dict(row.params)
            if row.state == "waiting":
                self._again.append(row.number)
            else:
                self._n_ended += 1
                self._note_value(row.state, row.value)
        for event in self._rounds.resume(rows):
            self._note_end(event)
        # They come first, in their order: those that were drawn are the first trials.
        for params in self._recipe.enqueued[len(rows) :]:
            self._study.enqueue(dict(params))
        if self._recipe.budget.wall_seconds is not None:
            left_s = self._recipe.budget.wall_seconds - spent_seconds(rows)
            self._deadline = time.monotonic() + max(0.0, left_s)
        finished = [row.number for row in rows if row.is_finished]
        gone = self._kept.restore(reader.artifacts(), finished)
        is_tune = self._recipe.kind == "tune"
        return [*gone, LogLine(text=self._study.explanation)] if is_tune else gone

    def _recall_several(self, reader: Reader, rows: Sequence[TrialRow]) -> None:
        """What trials of several objectives reported and ended with."""
        if self._front is None:
            return
        columns = [
            self._intermediate_values(reader, at) for at in range(len(self._recipe.objectives))
        ]
        for row in rows:
            own = [column.get(row.number, {}) for column in columns]
            common = set.intersection(*(set(curve) for curve in own))
            self._study.recall(row.number, {at: [c[at] for c in own] for at in common})
            if row.state == "complete":
                self._front.add(row.values)

    def _intermediate_values(self, reader: Reader, which: int = 0) -> dict[int, dict[int, float]]:
        """Trial -> epoch -> value of an objective, the first when none is said."""
        curves: dict[int, dict[int, float]] = {}
        points = reader.points(name=self._recipe.objectives[which].metric)
        for trial, epoch, value in zip(points.trials, points.epochs, points.values, strict=True):
            if epoch is not None:
                curves.setdefault(trial, {})[epoch] = value
        return curves

    # -- what comes next --------------------------------------------------------------------

    @property
    def choices(self) -> Mapping[str, Any]:
        """The sampler and the stopper that work here."""
        found: dict[str, Any] = {"sampler": self._study.sampler, "stopper": self._study.stopper}
        return found | ({"round": self._rounds.size} if self._rounds.size else {})

    def next_handout(self, *, n_free: int) -> Handout | None:
        """The next task; None when all trials are planned or the time is over."""
        self._stacking.note_workers(n_free)
        if self._alone and not self._is_time_over() and not self._fatal:
            return Handout(task=self._task([self._spec(self._alone.popleft())]), events=())
        left = math.inf if self._n_trials is None else self._n_trials - self._n_planned
        return self._handout(self._stacking.share(left + len(self._again), n_free))

    def more(self, n: int) -> Handout | None:
        """Trials for the free slots of a stack; in rounds who asks first must not matter."""
        return None if self._rounds.size else self._handout(n)

    def _handout(self, n: int) -> Handout | None:
        trials: list[TrialSpec] = []
        planned: list[Event] = []
        while len(trials) < n and not self._is_time_over() and not self._fatal:
            if self._again:
                trials.append(self._spec(self._again.popleft()))
                continue
            drawn = self._draw(self._rounds.n_to_draw)
            if not drawn:
                break
            planned += drawn
        if not trials:
            return None
        return Handout(task=self._task(trials, self._stacking), events=planned)

    def _task(self, trials: Sequence[TrialSpec], stacking: Stacking | None = None) -> Task:
        is_stack = stacking is not None and stacking.is_possible
        return Task(
            handler=STACK_HANDLER if is_stack else HANDLERS[self._recipe.target.role],
            trials=tuple(trials),
            payload={
                "best": self._best,
                "judged": self._study.stopper != "none" or self._deadline is not None,
                "front": self._front.values if self._front is not None else None,
                **(stacking.payload() if stacking else {}),
            },
            limit_s=self._recipe.budget.trial_seconds,
        )

    def _draw(self, n: int) -> list[TrialPlanned]:
        """Up to n new trials, which are handed out next."""
        drawn: list[TrialPlanned] = []
        while len(drawn) < n and not self._are_all_planned():
            number, params = self._study.ask()
            self._n_planned += 1
            self._params[number] = params
            self._again.append(number)
            self._rounds.drawn(number)
            drawn.append(TrialPlanned(trial=number, params=params))
        return drawn

    def _are_all_planned(self) -> bool:
        is_all = self._n_trials is not None and self._n_planned >= self._n_trials
        return is_all or self._study.is_exhausted

    def _spec(self, number: int) -> TrialSpec:
        seed = trial_seed(self._recipe, number)
        return TrialSpec(
            number=number,
            params=self._params[number],
            seed=seed,
            checkpoints=self._kept.of(number),
        )

    def requeue(self, trial: int) -> None:
        """Hand the trial out again, before new ones."""
        self._again.append(trial)

    def withdraw(self, trial: int) -> bool:
        """A trial that waits for its turn is taken out."""
        for waiting in (self._again, self._alone):
            if trial in waiting:
                waiting.remove(trial)
                return True
        return False

    # -- what happened ----------------------------------------------------------------------

    def on_report(self, trial: int, epoch: int, value: float) -> RunControl:
        """The stopper's word; everything stops early when the run's time is over."""
        if self._front is None:
            should_stop = self._study.report(trial, epoch, value)
        else:
            values = self._front.values_of(trial)
            should_stop = values is not None and self._study.report(trial, epoch, values)
        return RunControl.STOP_EARLY if should_stop or self._is_time_over() else RunControl.GO_ON

    def on_question(self, trial: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """A suggestion for an objective that asks while it runs."""
        try:
            value = self._study.suggest(trial, question)
        except NbAutomlError as error:
            return {"error": str(error)}
        self._params.setdefault(trial, {})[str(question["name"])] = value
        return {"value": value}

    def on_event(self, event: Event) -> Sequence[Event]:
        """Tell the study how a trial ended; end a run whose trials all fail the same way."""
        if isinstance(event, PlanChosen):
            self._stacking.learn(event)
            return [dataclasses.replace(event, details={**self.choices, **event.details})]
        if self._front is not None:
            self._front.take(event)
        gone = self._kept.take(event)
        if isinstance(event, TrialRequeued):
            self._alone.append(event.trial)
        if not isinstance(event, TrialEnded):
            return gone
        self._n_ended += 1
        self._note_value(event.state, event.values[0] if event.values else None)
        for end in self._rounds.ended(event):
            self._study.tell(end.trial, end.state, end.values or None)
            self._note_end(end)
        return gone

    def on_command(self, command: Command) -> Obeyed:
        """`Enqueue` is ours: the point becomes a trial at once, which the record then keeps."""
        if not isinstance(command, Enqueue):
            kind = type(command).__name__
            return Obeyed(refusal=f"a run of kind {self._recipe.kind!r} does not know {kind}")
        if self._rounds.size is not None:
            return Obeyed(
                refusal="when a point came would decide the table of a deterministic run; give "
                "points to a new one: --enqueue"
            )
        n_after = self._n_planned + self._study.n_enqueued + 1
        if self._n_trials is not None and n_after > self._n_trials:
            return Obeyed(refusal=f"all {self._n_trials} trials of the run are planned already")
        try:
            self._study.enqueue(dict(command.params))
        except NbAutomlError as error:
            return Obeyed(refusal=str(error))
        return Obeyed(events=self._draw(self._study.n_enqueued))  # those before it come first

    def verdict(self, n_running: int) -> Verdict | None:
        """Finished when every trial ended or the time is over; failed when none gave a value."""
        if self._fatal:
            return Verdict(state="failed", message=self._fatal)
        is_waiting = bool(self._again or self._alone)
        if n_running or (is_waiting and not self._is_time_over()):
            return None
        if self._are_all_planned() or self._is_time_over():
            if self._n_good:
                return Verdict(state="finished", message="")
            text = self._last_error or "no trial was started in the time given"
            if self._n_ended and not self._last_error:
                text = (
                    f"all {self._n_ended} were stopped early or cancelled before they had a value"
                )
            return Verdict(state="failed", message=f"no trial finished: {text}")
        return None

    def _note_end(self, event: TrialEnded) -> None:
        """Is it the same failure again and again?"""
        if event.state == "failed":
            self._note_failure(event)
        elif event.state == "complete":
            # A member of a stack that ended later than those that failed.
            self._n_same_error, self._n_out_of_memory, self._fatal = 0, 0, ""

    def _note_value(self, state: str, value: float | None) -> None:
        if state not in {"complete", "stopped_early"} or value is None or math.isnan(value):
            return
        self._n_good += 1
        if state != "complete":  # no other is the best of a run, whose weights are kept
            return
        is_max = self._recipe.objectives[0].direction == "maximize"
        if self._best is None or (value > self._best if is_max else value < self._best):
            self._best = value

    def _note_failure(self, event: TrialEnded) -> None:
        self._n_same_error = self._n_same_error + 1 if event.error == self._last_error else 1
        self._last_error = event.error
        if event.error.startswith(OUT_OF_MEMORY):
            self._n_out_of_memory += 1
            if self._n_out_of_memory >= OUT_OF_MEMORY_LIMIT:
                text = f"{self._n_out_of_memory} trials in a row ran {event.error}"
                self._fatal = f"{text}; narrow the space, or the batches"
            return
        self._n_out_of_memory = 0
        # As many as are still open may yet do better: the members of a stack end one by one.
        limit = max(
            SAME_ERROR_LIMIT, self._n_planned - self._n_ended - len(self._again) - len(self._alone)
        )
        if self._n_same_error >= limit and self._n_good == 0:
            self._fatal = f"the same error {self._n_same_error} times in a row: {event.error}"

    def _is_time_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _max_epochs(recipe: Recipe) -> int | None:
    """The most epochs that a trial can have; None for objectives, which do as they like."""
    if recipe.target.role != "module":
        return None
    epochs = recipe.space.get("epochs", recipe.fixed.get("epochs", FitSettings().epochs))
    if isinstance(epochs, Int):
        return epochs.high
    counts = epochs.options if isinstance(epochs, Choice) else [epochs]
    return max(int(str(count)) for count in counts)
