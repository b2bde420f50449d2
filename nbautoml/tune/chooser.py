"""How wide the stacks of each structure are: known, remembered, or found out while one trains.

The first group of a run decides how it is executed, and the run is told. A group of another
structure that comes later is tried too, by each worker for itself.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from nbautoml.events import Task, TaskContext
from nbautoml.tune.measured import Measured, one_by_one, undecided
from nbautoml.tune.planner import (
    NARROW,
    Contest,
    SlowerError,
    bytes_of_trial,
    fitting_width,
    measure_alone,
    measure_stack,
    step_clock,
    why_alone,
    why_never,
)
from nbautoml.tune.remembered import Remembered
from nbautoml.tune.session import Session
from nbautoml.tune.stacking import FIRST, MAX_WIDTH

if TYPE_CHECKING:
    from nbautoml.train.stacked import Ready

__all__ = ["Chooser"]

SECOND_LOOK_S = 0.2  # steps that were timed within this are timed again before they decide


class Chooser:
    """The choices of one task; what was found out stays with the session.

    Args:
        task: its payload says what to measure, and how wide a stack may be.
        session: of the run.
        context: is told of the plan.
    """

    def __init__(self, task: Task, session: Session, context: TaskContext) -> None:
        self._payload, self._session, self._context = task.payload, session, context
        self._measures: bool = task.payload["measure"]
        self._limits: dict[Hashable, int] = {}
        self._spent_s: dict[Hashable, float] = {}  # in steps that were timed and thrown away
        self._bytes: dict[Hashable, int] = {}  # of a trial in a stack
        self._plans = (
            Remembered.of(session.recipe, context, task.payload["n_workers"])
            if self._measures
            else None
        )

    def note_no_groups(self, reason: str = "") -> None:
        """No two trials of the task fit into a stack: for a reason, or no two have the same structure."""
        if self._measures and not self._session.widths:
            why, n_workers = (
                reason or "the trials differ in their layers",
                self._payload["n_workers"],
            )
            self._context.emit(one_by_one(why, n_workers, self._context.device))

    def note_undecided(self, width: int) -> None:
        """A stack came to its end before its steps could tell whether it is faster."""
        if not self._session.widths and self._payload["is_open"]:
            n_workers = self._payload["n_workers"]
            self._context.emit(undecided(width, n_workers, self._context.device))

    def trains_alone(self, key: Hashable, members: Sequence[Ready]) -> bool:
        """Whether it is known, without measuring, that members of a structure go one by one."""
        widths = self._session.widths
        if self._measures and key not in widths and (never := self._known_reason(members[0])):
            self._decided(key, members, Measured(alone_s=0.0, reason=never))
        return self._measures and widths.get(key) == 1

    def width(self, key: Hashable) -> int:
        """How many members a stack may have."""
        found: int = self._session.widths.get(key) or self._limits.get(key, self._payload["width"])
        return found

    def contest(self, key: Hashable, members: Sequence[Ready], template: Ready) -> Contest | None:
        """What finds out whether a stack that is about to train is faster; None where that is known.

        Raises:
            SlowerError: the trials should not be tried as one at all.
        """
        if not self._measures or key in self._session.widths:
            return None
        device, members = self._context.device, list(members)  # the caller's is emptied
        fitting = fitting_width(template, n_workers=self._payload["n_workers"], device=device)
        most = MAX_WIDTH[device.partition(":")[0]]
        if device == "cpu" and not self._payload.get("is_blind", False):
            most = FIRST
        limit = self._limits[key] = max(1, min(self._payload["width"], fitting, most))
        remembered = self._plans.recall(key) if self._plans is not None else None
        if remembered is not None:
            self._decided(key, members, remembered)
            if self._session.widths[key] == 1:
                raise SlowerError(1)
            return None
        begin = time.perf_counter()
        alone_s, reason = self._measured_alone(members, limit)
        self._spent_s[key] = time.perf_counter() - begin
        self._bytes[key] = bytes_of_trial(template)
        if reason:
            self._decided(key, members, Measured(alone_s=alone_s, reason=reason))
            raise SlowerError(1)
        return Contest(
            alone_s,
            step_clock(device),
            self._other_width(key, members, template, limit),
            lambda measured: self._decided(key, members, measured),
        )

    def _measured_alone(self, members: Sequence[Ready], limit: int) -> tuple[float, str]:
        """Seconds of a step one by one, and why no stack is even tried.

        A reason that was measured in no time is looked at again: beside another program a step of 1 ms
        took 5 once, and a run went one by one that stacks would have taken a tenth of.
        """
        begin = time.perf_counter()
        alone_s = measure_alone(members, self._session, self._context.device)
        again_s = SECOND_LOOK_S - (time.perf_counter() - begin)
        width = min(limit, max(2, len(members)))  # others join one that is alone
        run_steps = self._n_steps(members) * self._n_trials(members)
        reason = why_alone(alone_s, width=width, run_steps=run_steps)
        if reason and width > 1 and again_s > 0:
            alone_s = min(alone_s, measure_alone(members, self._session, self._context.device))
            reason = why_alone(alone_s, width=width, run_steps=run_steps)
        return alone_s, reason

    def _known_reason(self, member: Ready) -> str:
        return why_never(member, self._context.device)

    def _other_width(
        self, key: Hashable, members: Sequence[Ready], template: Ready, limit: int
    ) -> Callable[[int, bool], tuple[int, float]]:
        """Times another width, where the one that is trained is not clearly ahead.

        A stack that is not full yet may be judged too badly: where it is behind, the width that it
        may have is timed, with copies (where it is ahead it is filled up anyway: that would take a
        tenth of a short run to no purpose); a full one may be too wide for the caches.
        """

        def measured(width: int, is_ahead: bool) -> tuple[int, float]:
            other = limit if width < limit else NARROW
            if other == width or other < 2 or (is_ahead and width < limit):
                return width, float("inf")
            begin = time.perf_counter()
            seconds = measure_stack(
                members, template, self._session, device=self._context.device, width=other
            )
            self._spent_s[key] += time.perf_counter() - begin
            return other, seconds

        return measured

    def _decided(self, key: Hashable, members: Sequence[Ready], measured: Measured) -> None:
        is_told = not self._session.widths and self._payload["is_open"]
        measured = dataclasses.replace(
            measured,
            limit=self._limits.get(key, 1),
            planning_s=self._spent_s.get(key, 0.0),
            trial_bytes=self._bytes.get(key, 0),
        )
        self._session.widths[key] = measured.stack_width
        if is_told:
            plan = measured.plan(
                n_workers=self._payload["n_workers"],
                n_steps=self._n_steps(members),
                device=self._context.device,
            )
            self._context.emit(plan)
        is_worth_keeping = measured.alone_s > 0 and not measured.earlier_run
        if self._plans is not None and is_worth_keeping:
            self._plans.keep(key, measured)

    def _n_steps(self, members: Sequence[Ready]) -> int:
        settings = members[0].member.settings
        return settings.epochs * -(-self._session.opened_data.train.n // settings.batch_size)

    def _n_trials(self, members: Sequence[Ready]) -> int:
        """That this worker will train, in the whole run."""
        n: int = self._payload["n_trials"] or len(members)
        return max(1, n // int(self._payload["n_workers"]))
