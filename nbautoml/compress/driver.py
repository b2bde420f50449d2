"""The driver of runs of kind "compress": the original first, then what may be smaller.

::

    original ──> presets ──> by turns: near the front, all passes; beside models of the front; what
    (alone)      few passes            the sampler suggests, few passes; each good one in other forms

Cheap steps come first: most points show after a pass or two that they lead nowhere; where passes take
less than exporting and measuring, there are more of them at once. See `course`.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbautoml.compress.choosing import summary, verdicts
from nbautoml.compress.course import Course, Done
from nbautoml.compress.families import shaping_of
from nbautoml.compress.limits import LATENCY, MEMORY, SPREAD, Limits, figures_of
from nbautoml.compress.presets import presets
from nbautoml.compress.space import COMPRESSED, ORIGINAL, is_trained, original_point
from nbautoml.compress.table import words_of
from nbautoml.errors import NbAutomlError
from nbautoml.events import (
    Command,
    Enqueue,
    Event,
    Handout,
    LogLine,
    PlanChosen,
    RunControl,
    Task,
    TrialEnded,
    TrialPlanned,
    TrialSpec,
    Verdict,
)
from nbautoml.store.rows import spent_seconds
from nbautoml.study import Study

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import Reader

__all__ = ["CompressDriver"]

HANDLER = "nbautoml.compress.work:compress_models"
SAME_ERROR_LIMIT = 5


@dataclass(frozen=True)
class _Failed:
    """A trial that failed, as `verdicts` reads it."""

    number: int
    params: dict[str, Any]
    error: str
    state: str = "failed"
    values: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


class CompressDriver:
    """Samples, hands out, judges. See `nbautoml.engine.driver.Driver` for what each call owes."""

    def __init__(self, recipe: Recipe, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recipe = recipe
        self._settings = recipe.settings
        self._limits = Limits.from_settings(recipe.settings)
        self._n_trials = recipe.budget.n_trials
        self._n_epochs = int(self._settings["epochs"])
        self._n_held_out = int(self._settings.get("n_held_out", 0))
        self._is_search = "epochs" in recipe.space
        self._is_staged = self._is_search and bool(self._settings["is_staged"])
        self._study = Study(
            recipe.space,
            recipe.objectives,
            sampler=recipe.sampler,
            stopper="none",
            seed=recipe.seed,
            n_trials=self._n_trials,
        )
        self._params: dict[int, dict[str, Any]] = {}
        self._done: dict[int, Done] = {}
        self._failures: list[_Failed] = []
        self._again: deque[int] = deque()
        self._course = Course(
            recipe.space,
            recipe.objectives,
            self._limits,
            self._n_epochs,
            is_counted=self._n_trials is not None,
        )
        self._leads: dict[str, int] = {}  # the first trial of each training
        self._begun: dict[int, float] = {}
        self._n_planned = self._n_ended = self._n_same_error = 0
        self._last_error = self._fatal = ""
        self._deadline: float | None = None
        self._first: deque[dict[str, Any]] = deque()

    # -- from the record --------------------------------------------------------------------

    def restore(self, reader: Reader) -> Sequence[Event]:
        """Tell the study what an earlier owner recorded; waiting trials go first."""
        rows = reader.trials()
        done = [
            Done(row.number, row.params, row.values, row.metrics)
            for row in rows
            if row.state == "complete"
        ]
        self._done = {row.number: row for row in done}
        told = {row.number: self._constraints(row) for row in done}
        self._study.restore([(row, {}) for row in rows], constraints=told)
        for row in rows:
            self._n_planned += 1
            self._note_planned(row.number, row.params)
            if row.state == "waiting":
                self._again.append(row.number)
                continue
            self._n_ended += 1
            if row.state == "failed":
                self._keep_failure(row.number, row.params, row.error)
            if row.state == "complete":
                took_s = (row.ended_at or 0) - (row.started_at or 0)
                self._course.learned(self._done[row.number], took_s)
        self._first = deque(self._first_points()[len(rows) :])
        if self._recipe.budget.wall_seconds is not None:
            left_s = self._recipe.budget.wall_seconds - spent_seconds(rows)
            self._deadline = self._clock() + max(0.0, left_s)
        return [LogLine(text=self._study.explanation)] if self._is_search else []

    def _first_points(self) -> list[dict[str, Any]]:
        space = self._recipe.space
        if not self._is_search:
            return [{"version": ORIGINAL}, {"version": COMPRESSED}]
        ready = presets(space, self._n_epochs) if self._is_staged else []
        # How many passes a known setting gets at first is seen when it is its turn; all, where a
        # student was given: it may know nothing yet, and a few would say nothing of it.
        open_ones = [
            point
            if not point["epochs"] or point.get("student") == "given"
            else {name: value for name, value in point.items() if name != "epochs"}
            for point in ready
        ]
        return [original_point(space), *open_ones]

    # -- what comes next --------------------------------------------------------------------

    @property
    def choices(self) -> Mapping[str, Any]:
        """The sampler that works here."""
        return {"sampler": self._study.sampler, "stopper": "none"}

    def next_handout(self, *, n_free: int) -> Handout | None:
        """The next task; the original is measured before anything else, and alone."""
        if self._is_time_over() or self._fatal:
            return None
        if self._again:
            return Handout(task=self._task(self._again.popleft()), events=())
        is_first = self._n_planned == 0
        if not is_first and 0 not in self._done:
            return None
        if self._n_trials is not None and self._n_planned >= self._n_trials:
            return None
        number, params = self._drawn()
        self._n_planned += 1
        self._note_planned(number, params)
        events: list[Event] = [TrialPlanned(trial=number, params=params)]
        lead = self._leads[shaping_of(params)]
        if lead != number and is_trained(params):
            told = f"what trial {lead} was trained to be, in another form"
            events.append(LogLine(text=told, trial=number))
        return Handout(task=self._task(number), events=events)

    def _drawn(self) -> tuple[int, dict[str, Any]]:
        if self._first or self._is_staged:
            point = self._course.taken(self._first.popleft()) if self._first else None
            point = point or self._course.next_point() or {}
            cheap = {"epochs": self._course.cheap_epochs} if self._is_staged else {}
            self._study.enqueue({**cheap, **point})
        return self._study.ask()

    def _note_planned(self, number: int, params: Mapping[str, Any]) -> None:
        self._params[number] = dict(params)
        self._leads.setdefault(shaping_of(params), number)
        self._course.planned(params)

    def _task(self, number: int) -> Task:
        origin = self._done.get(0)
        # Points of one training share its seed, and so, in a worker that has it, the training.
        lead = self._leads[shaping_of(self._params[number])]
        digest = hashlib.sha256(f"{self._recipe.seed}:{lead}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big") >> 1
        spec = TrialSpec(number=number, params=self._params[number], seed=seed)
        self._begun[number] = self._clock()
        return Task(
            handler=HANDLER,
            trials=(spec,),
            payload={
                "original": dict(figures_of(origin, self._recipe.objectives)) if origin else None,
                "front": [list(row.values) for row in self._course.front()],
            },
            limit_s=self._recipe.budget.trial_seconds,
        )

    def more(self, n: int) -> Handout | None:
        """Models are compressed one by one."""
        return None

    def requeue(self, trial: int) -> None:
        """Hand the trial out again, before new ones."""
        self._again.append(trial)

    def withdraw(self, trial: int) -> bool:
        """A trial that waits for its turn is taken out."""
        if trial in self._again:
            self._again.remove(trial)
            return True
        return False

    # -- what happened ----------------------------------------------------------------------

    def on_report(self, trial: int, epoch: int, value: float) -> RunControl:
        """Everything stops early when the run's time is over."""
        return RunControl.STOP_EARLY if self._is_time_over() else RunControl.GO_ON

    def on_question(self, trial: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing is asked here."""
        return {
            "error": f"trial {trial} asks {dict(question)!r}, which a compression does not know"
        }

    def on_event(self, event: Event) -> Sequence[Event]:
        """Learn how a trial ended; the original's figures set the limits."""
        if not isinstance(event, TrialEnded):
            return []
        self._n_ended += 1
        number = event.trial
        if event.state != "complete":
            self._study.tell(number, event.state, list(event.values) or None)
            self._note_failure(event)
            if event.state == "failed":
                self._keep_failure(number, self._params[number], event.error)
            return []
        self._n_same_error = 0
        row = Done(number, self._params[number], event.values, event.metrics)
        self._done[number] = row
        broken = self._constraints(row)
        self._study.tell(number, event.state, list(event.values), constraints=broken)
        self._course.learned(row, self._clock() - self._begun.get(number, self._clock()))
        return [self._plan()] if number == 0 else []

    def _constraints(self, row: Done) -> tuple[float, ...]:
        """By how much a model breaks each limit; nothing is known before the original is."""
        if 0 not in self._done:
            return ()
        return self._limits.constraints(
            figures_of(row, self._recipe.objectives),
            self._recipe.objectives[0],
            self._done[0].values[0],
            is_early=self._is_staged and 0 < row.params.get("epochs", 0) < self._n_epochs,
        )

    def _plan(self) -> PlanChosen:
        origin = figures_of(self._done[0], self._recipe.objectives)
        bounds = self._limits.bounds(self._recipe.objectives[0], self._done[0].values[0])
        shown = {name: origin[name] for name in (o.metric for o in self._recipe.objectives)}
        said = ", ".join(
            f"{name} {'at least' if 'min' in bound else 'at most'} {next(iter(bound.values())):.6g}"
            for name, bound in bounds.items()
        )
        how = "a search over techniques" if self._is_search else "the techniques that were named"
        more = ""
        if SPREAD in origin:
            more += f"; the original takes {origin[LATENCY]:.3g} ms (spread {origin[SPREAD]:.2g})"
        if MEMORY in bounds:
            more += "; memory is that of eager calls of the float module, also of a quantised one"
        if self._n_held_out:
            more += f"; chosen by {self._n_held_out:,} validation rows that the search does not see"
        return PlanChosen(
            text=f"{how}, one model at a time a worker; {said}{more}",
            details={"executor": "process", **self.choices, "limits": bounds, "baseline": shown},
        )

    def _keep_failure(self, number: int, params: Mapping[str, Any], error: str) -> None:
        self._course.failed(params)
        self._failures.append(_Failed(number, dict(params), error))

    def _note_failure(self, event: TrialEnded) -> None:
        if event.trial == 0 and event.state == "failed":
            self._fatal = f"the original could not be measured: {event.error}"
            return
        form = str(self._params[event.trial].get("quantization", "off"))
        if form != "off" and not self._course.has_worked(form):
            return  # a form that this model, or machine, does not take says nothing of the others
        self._n_same_error = self._n_same_error + 1 if event.error == self._last_error else 1
        self._last_error = event.error
        if self._n_same_error >= SAME_ERROR_LIMIT:
            self._fatal = f"the same error {self._n_same_error} times in a row: {event.error}"

    def on_command(self, command: Command) -> str:
        """`Enqueue` is ours."""
        if not isinstance(command, Enqueue) or not self._is_search:
            return f"this compression does not know {type(command).__name__}"
        try:
            self._recipe.space.check(command.params, partial=True)
        except NbAutomlError as error:
            return str(error)
        self._first.appendleft({"epochs": self._n_epochs, **command.params})
        return ""

    def verdict(self, n_running: int) -> Verdict | None:
        """Finished when every trial ended or the time is over."""
        if self._fatal:
            return Verdict(state="failed", message=self._fatal)
        if n_running or (self._again and not self._is_time_over()):
            return None
        is_all = self._n_trials is not None and self._n_planned >= self._n_trials
        if not (is_all or self._is_time_over() or (self._n_planned and 0 not in self._done)):
            return None
        if not self._is_search and self._n_planned > 1 and len(self._done) == 1:
            return Verdict(state="failed", message=f"nothing was compressed: {self._last_error}")
        rows: Any = list(self._done.values())
        chosen, text = summary(
            rows, self._recipe.objectives, self._limits, n_held_out=self._n_held_out
        )
        if chosen is None:
            return Verdict(state="failed", message=f"{text}: {self._last_error}".rstrip(": "))
        rows = [*rows, *self._failures]
        named = words_of(self._settings)
        found = verdicts(rows, self._recipe.objectives, self._limits, named)
        return Verdict(state="finished", message=text, lines=tuple(one.text for one in found))

    def _is_time_over(self) -> bool:
        return self._deadline is not None and self._clock() >= self._deadline
