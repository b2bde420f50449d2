"""The driver of runs of kind "compress": the original first, then what may be smaller.

::

    original ──> presets ──> what the sampler suggests ──> those near the front, tuned for longer
    (alone)      '------ few fine-tuning passes ------'    '-------- all passes --------'

Cheap steps come first: most points show after a pass or two that they lead nowhere. What is near
the front then is done again with all the fine-tuning that was asked for, by turns with points
beside the best that keeps to the limits: a little narrower, or in other numbers.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.compress.choosing import summary
from nbautoml.compress.limits import Limits, figures_of, pick
from nbautoml.compress.nearby import nearby
from nbautoml.compress.space import is_trained, original_point, presets
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
from nbautoml.spec.fronts import front_of
from nbautoml.study import Study

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import Reader

__all__ = ["CompressDriver"]

HANDLER = "nbautoml.compress.work:compress_models"
SAME_ERROR_LIMIT = 5
MENDABLE = 8.0  # times the allowed drop, beyond it: what few passes lost and all may win back
CHEAP_SHARE = 0.65  # of the trials; the others are near the front and get all their passes


class _Done:
    """A finished trial, as `pick` and `figures_of` read it."""

    def __init__(
        self,
        number: int,
        params: Mapping[str, Any],
        values: Sequence[float],
        metrics: Mapping[str, float],
    ) -> None:
        self.number, self.params, self.state = number, dict(params), "complete"
        self.values, self.metrics, self.error = tuple(values), dict(metrics), ""


class CompressDriver:
    """Samples, hands out, judges. See `nbautoml.engine.driver.Driver` for what each call owes."""

    def __init__(self, recipe: Recipe) -> None:
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
        self._done: dict[int, _Done] = {}
        self._again: deque[int] = deque()
        self._promoted: set[str] = set()
        self._n_planned = self._n_ended = self._n_same_error = 0
        self._last_error = self._fatal = ""
        self._deadline: float | None = None
        self._first: deque[dict[str, Any]] = deque()

    # -- from the record --------------------------------------------------------------------

    def restore(self, reader: Reader) -> Sequence[Event]:
        """Tell the study what an earlier owner recorded; waiting trials go first."""
        rows = reader.trials()
        done = [
            _Done(row.number, row.params, row.values, row.metrics)
            for row in rows
            if row.state == "complete"
        ]
        self._done = {row.number: row for row in done}
        told = {row.number: self._constraints(row) for row in done}
        self._study.restore([(row, {}) for row in rows], constraints=told)
        spent_s = sum((row.ended_at or 0) - (row.started_at or 0) for row in rows if row.ended_at)
        for row in rows:
            self._n_planned += 1
            self._params[row.number] = dict(row.params)
            if row.state == "waiting":
                self._again.append(row.number)
                continue
            self._n_ended += 1
            if row.state == "complete":
                self._note_promotion(row.params)
        self._first = deque(self._first_points()[len(rows) :])
        if self._recipe.budget.wall_seconds is not None:
            self._deadline = time.monotonic() + max(0.0, self._recipe.budget.wall_seconds - spent_s)
        return [LogLine(text=self._study.explanation)] if self._is_search else []

    def _first_points(self) -> list[dict[str, Any]]:
        space = self._recipe.space
        if not self._is_search:
            return [{"version": "original"}, {"version": "compressed"}]
        cheap = self._cheap_epochs
        # A student that was given may know nothing yet: a few passes would say nothing of it.
        ready = [
            point
            if point.get("student") == "given"
            else {**point, "epochs": min(point["epochs"], cheap)}
            for point in presets(space, self._n_epochs)
        ]
        return [original_point(space), *(ready if self._is_staged else [])]

    @property
    def _cheap_epochs(self) -> int:
        return min(self._n_epochs, max(1, self._n_epochs // 4))

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
        self._params[number] = params
        planned = TrialPlanned(trial=number, params=params)
        return Handout(task=self._task(number), events=[planned])

    def _drawn(self) -> tuple[int, dict[str, Any]]:
        if self._first:
            self._study.enqueue(self._first.popleft())
        elif self._is_staged:
            self._study.enqueue(self._late() or {"epochs": self._cheap_epochs})
        return self._study.ask()

    def _late(self) -> dict[str, Any] | None:
        """A point that gets all passes: one that has had few, or one beside the best, by turns."""
        if self._n_trials is not None and self._n_planned < CHEAP_SHARE * self._n_trials:
            return None
        is_beside = len(self._promoted) % 2 == 1
        ways = (self._beside, self._promotion) if is_beside else (self._promotion, self._beside)
        return ways[0]() or ways[1]()

    def _beside(self) -> dict[str, Any] | None:
        """A point beside the one that would be picked now, where that was trained."""
        rows: Any = list(self._done.values())
        best = pick(rows, self._recipe.objectives, self._limits)
        if best is None or best.broken or not is_trained(self._done[best.number].params):
            return None
        for point in nearby(self._done[best.number].params, self._recipe.space):
            if _key(point) not in self._promoted:
                self._promoted.add(_key(point))
                return {**point, "epochs": self._n_epochs}
        return None

    def _promotion(self) -> dict[str, Any] | None:
        """A point near the front that has had few passes so far, with all of them."""
        waiting = [
            row
            for row in self._done.values()
            if row.number
            and 0 < row.params["epochs"] < self._n_epochs
            and _key(row.params) not in self._promoted
            and is_trained(row.params)
        ]
        if not waiting:
            return None
        base = self._done[0].values[0]
        objective = self._recipe.objectives[0]
        front = set(self._front())

        # More passes mend a drop of the metric, not a model that is too large. So the smallest
        # that may be mended, and the smallest that keeps to the limits, take turns.
        is_bold = len(self._promoted) % 4 < 2

        def order(row: _Done) -> tuple[float, bool, float]:
            figures = figures_of(row, self._recipe.objectives)
            broken = self._limits.broken(figures, objective, base)
            if is_bold and broken.get(objective.metric, 0.0) <= MENDABLE:
                broken.pop(objective.metric, None)
            size = sum(math.log(max(value, 1e-12)) for value in row.values[1:])
            return (round(sum(broken.values()), 1), row.number not in front, size)

        chosen = min(waiting, key=order)
        self._promoted.add(_key(chosen.params))
        return {**chosen.params, "epochs": self._n_epochs}

    def _note_promotion(self, params: Mapping[str, Any]) -> None:
        if params.get("epochs") == self._n_epochs:
            self._promoted.add(_key(params))

    def _front(self) -> list[int]:
        signs = [-1 if one.direction == "maximize" else 1 for one in self._recipe.objectives]
        rows = list(self._done.values())
        keys = [[s * v for s, v in zip(signs, row.values, strict=True)] for row in rows]
        return [rows[at].number for at in front_of(keys)]

    def _task(self, number: int) -> Task:
        origin = self._done.get(0)
        digest = hashlib.sha256(f"{self._recipe.seed}:{number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big") >> 1
        spec = TrialSpec(number=number, params=self._params[number], seed=seed)
        return Task(
            handler=HANDLER,
            trials=(spec,),
            payload={
                "original": dict(figures_of(origin, self._recipe.objectives)) if origin else None,
                "front": [list(self._done[n].values) for n in self._front()],
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
            return []
        self._n_same_error = 0
        row = _Done(number, self._params[number], event.values, event.metrics)
        self._done[number] = row
        broken = self._constraints(row)
        self._study.tell(number, event.state, list(event.values), constraints=broken)
        self._note_promotion(self._params[number])
        return [self._plan()] if number == 0 else []

    def _constraints(self, row: _Done) -> tuple[float, ...]:
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
        held = f"; chosen by {self._n_held_out:,} validation rows that the search does not see"
        return PlanChosen(
            text=f"{how}, one model at a time a worker; {said}{held if self._n_held_out else ''}",
            details={"executor": "process", **self.choices, "limits": bounds, "baseline": shown},
        )

    def _note_failure(self, event: TrialEnded) -> None:
        if event.trial == 0 and event.state == "failed":
            self._fatal = f"the original could not be measured: {event.error}"
            return
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
        return Verdict(state="finished", message=text)

    def _is_time_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _key(params: Mapping[str, Any]) -> str:
    """A point without its passes."""
    return repr(sorted((name, value) for name, value in params.items() if name != "epochs"))
