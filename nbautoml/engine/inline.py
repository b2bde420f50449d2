"""Executor "inline": trains in this process and blocks, so that pdb and prints work."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbautoml.engine.devices import Layout
from nbautoml.engine.pool import Asked, Control, Finished, Happened, Message, Reported, Wanted
from nbautoml.engine.worker import RunOver, load_handler
from nbautoml.events import Event, RunControl, Task, TrialSpec

__all__ = ["InlinePool"]

CHECK_EVERY_S = 0.1


class InlinePool:
    """One worker: this process. Its handler runs inside `poll`, and is its own context.

    Args:
        obey: called with a message at once, where a process pool would return it from `poll`;
            it must answer reports and questions before it returns.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        run_folder: Path,
        home_data: Path,
        obey: Callable[[Message], None],
        look: Callable[[], None],
    ) -> None:
        self.run_folder, self.home_data = run_folder, home_data
        self.device, self.n_threads = layout.devices[0], layout.n_threads
        self._obey, self._look = obey, look
        self._task: Task | None = None
        self._control = Control()
        self._answer: RunControl = RunControl.GO_ON
        self._answers: deque[RunControl] = deque()
        self._answer_to_question: dict[str, Any] = {}
        self._given: tuple[TrialSpec, ...] = ()
        self._checked_at = 0.0

    @property
    def n_free(self) -> int:
        """1 when there is no task in hand."""
        return 0 if self._task else 1

    def start(self, task: Task) -> tuple[int, str]:
        """Take the task; it is run by the next `poll`."""
        self._task = task
        return os.getpid(), self.device

    def poll(self, timeout_s: float) -> list[Message]:
        """Run the task in hand to its end. Errors of the user's code that are no trial's rise."""
        if self._task is None:
            time.sleep(timeout_s)
            return []
        task = self._task
        try:
            load_handler(task.handler)(task, self)
        except RunOver:
            return []
        finally:
            self._task = None
        return [Finished(worker=os.getpid())]

    @property
    def is_retired(self) -> bool:
        """`TaskContext.is_retired`: there is no other process to go on in."""
        return False

    def retire(self) -> None:
        """`TaskContext.retire`: cannot be done here."""

    def emit(self, event: Event) -> None:
        """`TaskContext.emit`."""
        self._obey(Happened(worker=os.getpid(), events=[event]))

    def flush(self) -> None:
        """`TaskContext.flush`: nothing is held back here."""

    def report(self, trial: int, epoch: int, value: float) -> RunControl:
        """`TaskContext.report`."""
        self.post(trial, epoch, value)
        return self.verdict(trial)

    def post(self, trial: int, epoch: int, value: float) -> None:
        """`TaskContext.post`."""
        self._obey(Reported(worker=os.getpid(), trial=trial, epoch=epoch, value=value))
        self._answers.append(self._answer)

    def verdict(self, trial: int) -> RunControl:
        """`TaskContext.verdict`."""
        answer = self._answers.popleft()
        control = self.check(trial)
        return answer if control is RunControl.GO_ON else control

    def ask(self, trial: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """`TaskContext.ask`."""
        self._obey(Asked(worker=os.getpid(), trial=trial, question=question))
        return self._answer_to_question

    def more(self, n: int) -> tuple[TrialSpec, ...]:
        """`TaskContext.more`."""
        self._given = ()
        self._obey(Wanted(worker=os.getpid(), n=n))
        return self._given

    def check(self, trial: int) -> RunControl:
        """`TaskContext.check`: looks into the inbox now and then; waits while paused."""
        now = time.monotonic()
        if now - self._checked_at > CHECK_EVERY_S:
            self._checked_at = now
            self._look()
            while self._control.is_paused and not self._control.is_over:
                time.sleep(CHECK_EVERY_S)
                self._look()
        if self._control.is_over:
            raise RunOver
        return RunControl.CANCEL if trial in self._control.cancelled else RunControl.GO_ON

    def answer(self, worker: int, control: RunControl) -> None:
        """Answer a report."""
        self._answer = control

    def answer_question(self, worker: int, answer: Mapping[str, Any]) -> None:
        """Answer a question."""
        self._answer_to_question = dict(answer)

    def give(self, worker: int, trials: Sequence[TrialSpec]) -> str:
        """Answer `more`."""
        self._given = tuple(trials)
        return self.device

    def control(self, control: Control) -> None:
        """Remember what `check` should say."""
        self._control = control

    def close(self, *, grace_s: float) -> None:
        """Nothing is left running."""
        self._task = None
