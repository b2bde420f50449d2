"""Events to row changes, without a database: what `Writer.apply` writes in one transaction.

A batch is staged over the trials that are still open, and thrown away when the transaction
fails; the caller's picture changes only in `Batch.settle`.
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any

from nbautoml.events import (
    ArtifactRemoved,
    ArtifactWritten,
    CommandObeyed,
    EpochEnded,
    Event,
    LogLine,
    ParamsSuggested,
    PlanChosen,
    RunStateChanged,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialRequeued,
    TrialRestarted,
    TrialStarted,
)
from nbautoml.store.open_trials import OpenTrials, Trial, checksum_of, copy_of
from nbautoml.store.rows import FINISHED_STATES
from nbautoml.store.texts import (
    MAX_ERROR_CHARS,
    MAX_TRACEBACK_CHARS,
    clean,
    point_checksum,
    to_text,
)

__all__ = ["Batch"]

_BEFORE_ALL = -(2**62)  # an objective may report at step 0
_ENDED_RUN = frozenset({"finished", "stopped", "failed", "interrupted"})


class Batch:
    """The rows that some events come to.

    Args:
        known: the run as it was committed last; not changed before `settle`.
        owner: the writer's owner, in a word.
    """

    def __init__(self, known: OpenTrials, owner: str) -> None:
        self._known, self._owner = known, owner
        self.seq = known.seq
        self.n_trials = known.n_trials
        self.run: dict[str, Any] = {}
        self.points: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.removed: set[str] = set()  # artifacts' paths
        self.rewound: dict[int, int] = {}  # trial -> last step whose stored points stay
        self.is_final = False  # worth an fsync: something ended, or a file was written
        self._staged: dict[int, Trial] = {}
        self._only_progress: set[int] = set()
        self._complained: set[tuple[int, str]] = set()
        self._now = time.time()

    # -- what came of it --------------------------------------------------------------------

    def new_trials(self) -> list[Trial]:
        """Trials that the record does not hold yet."""
        return [trial for number, trial in self._staged.items() if not self._is_stored(number)]

    def progressed(self) -> list[Trial]:
        """Trials of which only epoch, step and metrics changed."""
        return [self._staged[number] for number in self._only_progress if self._is_stored(number)]

    def moved(self) -> list[tuple[Trial, Trial]]:
        """(before, after) of the stored trials that changed in any other way."""
        return [
            (self._known.trials[number], trial)
            for number, trial in self._staged.items()
            if self._is_stored(number) and number not in self._only_progress
        ]

    def note_kept(self, number: int, n_points: int) -> None:
        """So many stored points of a rewound trial are still there."""
        trial = self._staged[number]
        trial.n_points += n_points
        if trial.checksum is not None:
            trial.checksum = checksum_of(trial)

    def settle(self) -> None:
        """The transaction is committed: from now on this is what is known."""
        known = self._known
        for number, trial in self._staged.items():
            if trial.state in FINISHED_STATES:
                known.trials.pop(number, None)
                known.finished.add(number)
            else:
                known.trials[number] = trial
        known.commands.update(row["command_id"] for row in self.commands)
        known.seq, known.n_trials = self.seq, self.n_trials
        known.state = self.run.get("state", known.state)
        known.started_at = self.run.get("started_at", known.started_at)

    def _is_stored(self, number: int) -> bool:
        return number in self._known.trials

    # -- events -----------------------------------------------------------------------------

    def add(self, event: Event) -> None:
        """Stage one event."""
        self.seq += 1
        self._now = float(event.time) or time.time()
        _taker_of(type(event))(self, event)

    @functools.singledispatchmethod
    def _take(self, event: Event) -> None:
        self._note(f"an event of unknown type {type(event).__name__} was left out")

    def _open(self, number: int, what: str, *states: str) -> Trial | None:
        """The trial, staged for change, if it is in one of the states; else a log line and None."""
        trial = self._staged.get(number) or self._known.trials.get(number)
        if trial is None or trial.state not in states:
            self._complain(number, what, trial)
            return None
        if number not in self._staged:
            trial = copy_of(trial)
            self._staged[number] = trial
            self._only_progress.add(number)
        trial.seq = self.seq
        return trial

    def _complain(self, number: int, what: str, trial: Trial | None) -> None:
        if (number, what) in self._complained:
            return
        self._complained.add((number, what))
        if trial is not None:
            state = f"is {trial.state}"
        else:
            state = "is over" if number in self._known.finished else "is not known"
        self._note(f"{what} of trial {number} was left out: the trial {state}", number)

    def _moving(self, number: int, what: str, *states: str) -> Trial | None:
        """`_open`, for a change of more than the trial's progress."""
        trial = self._open(number, what, *states)
        if trial is not None:
            self._only_progress.discard(number)
        return trial

    def _note(self, text: str, trial: int | None = None) -> None:
        self._log("warning", text, trial)

    def _log(self, level: str, text: str, trial: int | None) -> None:
        self.logs.append(
            {
                "time": self._now,
                "level": clean(level, 16),
                "text": clean(text),
                "trial": trial,
                "seq": self.seq,
            }
        )

    @_take.register
    def _run_state(self, event: RunStateChanged) -> None:
        self.is_final = True
        self.run |= {"state": clean(event.state, 32), "message": clean(event.message)}
        if event.state in _ENDED_RUN:
            self.run["ended_at"] = self._now
        else:
            self.run["ended_at"] = None
            is_first = self._known.started_at is None and "started_at" not in self.run
            if event.state == "running" and is_first:
                self.run["started_at"] = self._now

    @_take.register
    def _plan(self, event: PlanChosen) -> None:
        self.run |= {"plan": clean(event.text), "plan_details": to_text(event.details)}

    @_take.register
    def _planned(self, event: TrialPlanned) -> None:
        number = event.trial
        if number in self._staged or number in self._known.trials or number in self._known.finished:
            self._note(f"trial {number} was planned twice; the first plan stays", number)
            return
        self.n_trials += 1
        self._staged[number] = Trial(
            number=number, params=to_text(event.params), planned_at=self._now, seq=self.seq
        )

    @_take.register
    def _suggested(self, event: ParamsSuggested) -> None:
        trial = self._moving(event.trial, "a parameter", "waiting", "running")
        if trial is not None:
            trial.params = to_text(event.params)

    @_take.register
    def _started(self, event: TrialStarted) -> None:
        trial = self._moving(event.trial, "the start", "waiting")
        if trial is not None:
            trial.state, trial.owner = "running", self._owner
            trial.worker, trial.device = int(event.worker), clean(event.device, 32)
            trial.started_at = self._now
            if trial.attempt > 1:
                self._rewind(trial, event)

    @_take.register
    def _restarted(self, event: TrialRestarted) -> None:
        trial = self._moving(event.trial, "the restart", "running")
        if trial is not None:
            trial.attempt += 1
            self._rewind(trial, event)
            self._log("warning", f"trial {trial.number}: {clean(event.reason)}", trial.number)

    def _rewind(self, trial: Trial, event: TrialStarted | TrialRestarted) -> None:
        """Drop a trial's points that are later than where it goes on.

        Who follows the record is told to forget all points of the trial; those that stay are
        therefore written anew, and told again.
        """
        number, step = trial.number, int(event.step) if event.epoch else _BEFORE_ALL
        trial.epoch, trial.step, trial.metrics = int(event.epoch), int(event.step), "{}"
        self.rewound[number] = min(step, self.rewound.get(number, step))
        self.points = [p for p in self.points if p["trial"] != number or p["step"] <= step]
        trial.n_points = sum(point["trial"] == number for point in self.points)
        trial.dropped_seq = self.seq

    @_take.register
    def _steps(self, event: StepsDone) -> None:
        trial = self._open(event.trial, "a measured step", "running")
        if trial is None:
            return
        name, number, attempt = clean(event.name, 200), trial.number, trial.attempt
        self.points.extend(
            _point(number, attempt, name, 0, step, value)
            for step, value in zip(event.steps, event.values, strict=True)
        )
        trial.n_points += len(event.steps)
        if event.steps:
            trial.step = max(trial.step, int(event.steps[-1]))

    @_take.register
    def _epoch(self, event: EpochEnded) -> None:
        trial = self._open(event.trial, "an epoch", "running")
        if trial is None:
            return
        self.points.extend(
            _point(trial.number, trial.attempt, clean(name, 200), event.epoch, event.step, value)
            for name, value in event.metrics.items()
        )
        trial.n_points += len(event.metrics)
        trial.epoch, trial.step = int(event.epoch), max(trial.step, int(event.step))
        trial.metrics = to_text(event.metrics)

    @_take.register
    def _requeued(self, event: TrialRequeued) -> None:
        trial = self._moving(event.trial, "the requeueing", "running")
        if trial is None:
            return
        self.is_final = True
        trial.state, trial.attempt = "waiting", trial.attempt + 1
        trial.worker, trial.device, trial.owner, trial.started_at = None, "", None, None

    @_take.register
    def _ended(self, event: TrialEnded) -> None:
        # Without having run a trial can be called off, and fail to start, but hold no result.
        allowed = ("running", "waiting") if event.state in {"failed", "cancelled"} else ("running",)
        if event.state not in FINISHED_STATES:
            self._note(f"trial {event.trial} cannot end as {event.state!r}", event.trial)
            return
        trial = self._moving(event.trial, "the end", *allowed)
        if trial is None:
            return
        self.is_final = True
        values = [float(value) for value in event.values]
        trial.state, trial.ended_at = event.state, self._now
        trial.objective_values = to_text(values)
        trial.value = _number(values[0]) if values else None
        if event.metrics:
            trial.metrics = to_text(event.metrics)
        trial.best_epoch = None if event.best_epoch is None else int(event.best_epoch)
        trial.error = clean(event.error, MAX_ERROR_CHARS)
        trial.traceback = clean(event.traceback, MAX_TRACEBACK_CHARS)
        trial.checksum = checksum_of(trial)

    @_take.register
    def _artifact(self, event: ArtifactWritten) -> None:
        self.is_final = True
        self.artifacts.append(
            {
                "time": self._now,
                "trial": event.trial,
                "kind": clean(event.kind, 64),
                "path": event.path,
                "sha256": event.sha256,
                "n_bytes": int(event.n_bytes),
                "details": to_text(event.details),
                "seq": self.seq,
            }
        )

    @_take.register
    def _artifact_gone(self, event: ArtifactRemoved) -> None:
        self.removed.add(event.path)
        self.artifacts = [row for row in self.artifacts if row["path"] != event.path]

    @_take.register
    def _line(self, event: LogLine) -> None:
        self._log(event.level, event.text, event.trial)

    @_take.register
    def _obeyed(self, event: CommandObeyed) -> None:
        key = clean(event.command_id, 128)
        if key in self._known.commands or any(row["command_id"] == key for row in self.commands):
            self._note(f"command {key} was obeyed twice")
            return
        self.commands.append(
            {
                "time": self._now,
                "command_id": key,
                "command": clean(event.command, 64),
                "refusal": clean(event.refusal),
                "seq": self.seq,
            }
        )


# `self._take` would make and dress a new function at every event.
_taker_of = Batch.__dict__["_take"].dispatcher.dispatch


def _number(value: float) -> float | None:
    """A float as a column holds it: NaN is NULL."""
    value = float(value) + 0.0  # SQLite has no -0.0, and a checksum would tell the two apart
    return None if math.isnan(value) else value


def _point(
    trial: int, attempt: int, name: str, epoch: int, step: int, value: float
) -> dict[str, Any]:
    number = _number(value)
    return {
        "trial": trial,
        "attempt": attempt,
        "name": name,
        "epoch": epoch,
        "step": step,
        "value": number,
        "checksum": point_checksum(trial, name, epoch, step, number),
    }
