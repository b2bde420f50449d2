"""The loop that runs a run: tasks out to workers, events into the record, commands obeyed.

::

          +--------- driver.next_handout() <------------------+
          v                                                   |
    pool.start(task)  ->  pool.poll()  ->  driver.on_event    |  fill free workers first, then
                              |                |              |  write: a commit's fsync (ms)
          inbox ------> obey  |                v              |  must not keep a worker waiting
                              '-> events -> writer.apply -----+
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from nbautoml.engine.pool import (
    Asked,
    Control,
    Died,
    Finished,
    Happened,
    Message,
    Pool,
    Printed,
    Reported,
    Wanted,
)
from nbautoml.engine.times import TrialTimes
from nbautoml.errors import NbAutomlError, RecordLostError, StoreError
from nbautoml.events import (
    ArtifactRemoved,
    ArtifactWritten,
    CancelTrial,
    Command,
    CommandObeyed,
    EpochEnded,
    Event,
    Interrupt,
    LogLine,
    Pause,
    Resume,
    RunStateChanged,
    StepsDone,
    Stop,
    Task,
    TrialEnded,
    TrialRequeued,
    TrialSpec,
    TrialStarted,
)
from nbautoml.store import delete_artifact

if TYPE_CHECKING:
    from nbautoml.engine.driver import Driver
    from nbautoml.events import Verdict
    from nbautoml.store import RunFolder, Writer

__all__ = ["RunLoop"]

POLL_S = 0.05
WRITE_EVERY_S = 0.1
RETRY_WRITE_S = 1.0
MAX_REQUEUES = 2
CLOSE_GRACE_S = 3.0

logger = logging.getLogger(__name__)


class RunLoop:
    """One run, from its first task to its last state; everything happens on one thread.

    Args:
        folder: where the inbox is.
        writer: the record; this loop is its only user.
        driver: what is to be done.
        make_pool: called once with (handle, look), gives the executor.
    """

    def __init__(
        self,
        folder: RunFolder,
        writer: Writer,
        driver: Driver,
        make_pool: Callable[[Callable[[Message], None], Callable[[], None]], Pool],
    ) -> None:
        self._folder, self._writer, self._driver = folder, writer, driver
        self._inbox = folder.inbox
        self._pool = make_pool(self._handle, self._look_into_inbox)
        self._times = TrialTimes()
        self._pending: list[Event] = []
        self._is_urgent = False
        self._written_at = time.monotonic()
        self._task_of: dict[int, Task] = {}
        self._in_hand: dict[int, int] = {}  # trial -> worker
        self._requeues: dict[int, int] = {}
        self._handed_back: set[int] = set()  # by their handlers, and waiting since
        self._control = Control()
        self._ending: tuple[str, str] | None = None  # state, message
        self._held: list[tuple[str, Command]] = []  # came while nothing could be written

    def run(self, first_events: Sequence[Event] = ()) -> str:
        """Go on until the run, which is recorded as running, is over; returns its last state."""
        self._record(first_events, is_urgent=True)
        try:
            verdict = self._go_on()
        except RecordLostError:
            self.close()  # no word of ours belongs into it any more
            raise
        except BaseException:
            self._wind_down("interrupted", "the supervisor stopped on an error; see supervisor.log")
            raise
        return self._wind_down(*verdict)

    def close(self) -> None:
        """See the workers off; after that nothing of the run is left running."""
        self._pool.close(grace_s=CLOSE_GRACE_S)

    def interrupt(self, reason: str) -> None:
        """End the run so that it can be resumed; safe to call from a signal handler."""
        self._ending = ("interrupted", reason)

    def _go_on(self) -> tuple[str, str]:
        while True:
            self._look_into_inbox()
            if self._ending is not None:
                return self._ending
            self._fill()
            self._write_if_due()
            verdict: Verdict | None = self._driver.verdict(len(self._in_hand))
            # A task whose trials have all ended may still have something to say.
            if verdict is not None and not self._in_hand and not self._task_of:
                self._record([LogLine(text=line) for line in verdict.lines])
                return verdict.state, verdict.message
            for message in self._pool.poll(POLL_S):
                self._handle(message)

    def _fill(self) -> None:
        """Give free workers something to do."""
        while self._pool.n_free > 0 and not self._control.is_paused and self._ending is None:
            handout = self._driver.next_handout(n_free=self._pool.n_free)
            if handout is None:
                return
            self._record(handout.events)
            worker, device = self._pool.start(handout.task)
            self._task_of[worker] = handout.task
            self._hand_over(handout.task.trials, worker, device)

    def _give_more(self, worker: int, n: int) -> None:
        """Trials for the free slots of a task that goes on."""
        is_held = self._control.is_paused or self._ending is not None
        handout = None if is_held else self._driver.more(n)
        trials = handout.task.trials if handout else ()
        if handout is not None:
            self._record(handout.events)
        device = self._pool.give(worker, trials)
        self._hand_over(trials, worker, device)

    def _hand_over(self, trials: Sequence[TrialSpec], worker: int, device: str) -> None:
        for trial in trials:
            self._in_hand[trial.number] = worker
            self._handed_back.discard(trial.number)
            epoch, step = trial.start
            self._tell(
                TrialStarted(
                    trial=trial.number, worker=worker, device=device, epoch=epoch, step=step
                )
            )

    def _handle(self, message: Message) -> None:
        if isinstance(message, Happened):
            for event in message.events:
                self._tell(event)
        elif isinstance(message, Reported):
            control = self._driver.on_report(message.trial, message.epoch, message.value)
            self._pool.answer(message.worker, control)
        elif isinstance(message, Asked):
            answer = self._driver.on_question(message.trial, message.question)
            self._pool.answer_question(message.worker, answer)
        elif isinstance(message, Wanted):
            self._give_more(message.worker, message.n)
        elif isinstance(message, Printed):
            self._log_prints(message)
        elif isinstance(message, Finished):
            self._task_over(message)
        elif isinstance(message, Died):
            self._worker_died(message)

    def _tell(self, event: Event) -> None:
        """Record an event, and let the driver learn of it first."""
        if isinstance(event, TrialEnded | TrialRequeued) and event.trial not in self._in_hand:
            logger.warning("trial %s ended twice; the second end is dropped", event.trial)
            return
        further = self._driver.on_event(event)
        self._record([event, *further])
        if isinstance(event, TrialEnded | TrialRequeued):  # over, or handed back by its handler
            del self._in_hand[event.trial]
            if isinstance(event, TrialRequeued):
                self._handed_back.add(event.trial)
        elif isinstance(event, ArtifactWritten) and event.trial is not None:
            # It got further than the attempt before: no trial that kills its worker each time.
            self._requeues.pop(event.trial, None)

    def _task_over(self, message: Finished) -> None:
        """Trials that the handler left open have failed, or wait for another process."""
        self._task_of.pop(message.worker, None)
        error = message.error or "ended without a result"
        for trial in [n for n, owner in self._in_hand.items() if owner == message.worker]:
            if message.is_retired and not message.error:
                self._requeue(trial, "its worker was replaced")
            else:
                self._tell(
                    TrialEnded(
                        trial=trial, state="failed", error=error, traceback=message.traceback
                    )
                )

    def _worker_died(self, message: Died) -> None:
        """A killed worker's trials are run again; a crash is the trial's own failure.

        Which of several trials in one hand made it crash, or hang, nobody knows: each is run again
        on its own, where it fails for itself.
        """
        self._task_of.pop(message.worker, None)
        if message.task is not None:
            logger.warning("worker %s: %s", message.worker, message.reason)
        mates = [n for n, owner in self._in_hand.items() if owner == message.worker]
        for trial in mates:
            self._requeues[trial] = self._requeues.get(trial, 0) + 1
            if trial in self._control.cancelled:
                self._tell(TrialEnded(trial=trial, state="cancelled", error="cancelled by command"))
            elif message.is_killed and self._requeues[trial] <= MAX_REQUEUES:
                self._record(
                    [
                        LogLine(
                            text=f"{message.reason}; trial {trial} is run again",
                            level="warning",
                            trial=trial,
                        )
                    ]
                )
                self._requeue(trial, message.reason)
            elif len(mates) > 1:
                reason = f"{message.reason}, with {len(mates) - 1} others in the same process"
                self._tell(TrialRequeued(trial=trial, reason=f"{reason}; again on its own"))
            else:
                self._tell(TrialEnded(trial=trial, state="failed", error=message.reason))

    def _requeue(self, trial: int, reason: str) -> None:
        del self._in_hand[trial]
        self._record([TrialRequeued(trial=trial, reason=reason)])
        self._driver.requeue(trial)

    def _log_prints(self, message: Printed) -> None:
        trials = [n for n, owner in self._in_hand.items() if owner == message.worker]
        trial = trials[0] if len(trials) == 1 else None
        lines = [LogLine(text=line, level="info", trial=trial) for line in message.lines if line]
        if message.n_left_out:
            text = f"... {message.n_left_out} more printed lines left out"
            lines.append(LogLine(text=text, level="warning", trial=trial))
        self._record(lines)

    # -- commands ---------------------------------------------------------------------------

    def _look_into_inbox(self) -> None:
        if not self._held and not self._inbox.has_any():
            return
        commands, self._held = [*self._held, *self._inbox.take()], []
        for command_id, command in commands:
            refusal = self._obey(command)
            name = type(command).__name__
            self._record(
                [CommandObeyed(command_id=command_id, command=name, refusal=refusal)],
                is_urgent=True,
            )
        self._write_if_due()

    def _obey(self, command: Command) -> str:
        """Carry the command out; returns "" or why it is refused."""
        if isinstance(command, Pause):
            return self._pause(True)
        if isinstance(command, Resume):
            return self._pause(False)
        if isinstance(command, Stop):
            self._ending = ("stopped", "stopped by command")
        elif isinstance(command, Interrupt):
            self._ending = ("interrupted", command.reason)
        elif isinstance(command, CancelTrial):
            return self._cancel(command.trial)
        else:
            answer = self._driver.on_command(command)
            self._record(answer.events)  # written with the acknowledgement, or not at all
            return answer.refusal
        self._set_control(is_over=True)  # workers drop their trials at the next batch
        return ""

    def _pause(self, is_paused: bool) -> str:
        if self._control.is_paused == is_paused:
            return "the run is paused already" if is_paused else "the run is not paused"
        self._set_control(is_paused=is_paused)
        self._record([RunStateChanged(state="paused" if is_paused else "running")])
        return ""

    def _cancel(self, trial: int) -> str:
        if trial not in self._in_hand:
            is_taken = self._call_off(trial, "cancelled by command")
            return "" if is_taken else f"trial {trial} is not running"
        self._set_control(cancelled=self._control.cancelled | {trial})
        return ""

    def _call_off(self, trial: int, reason: str) -> bool:
        """Cancel a trial that waits; False when it doesn't."""
        if not self._driver.withdraw(trial):
            return False
        self._in_hand[trial] = 0  # in nobody's hand
        self._tell(TrialEnded(trial=trial, state="cancelled", error=reason))
        return True

    def _set_control(self, **changes: object) -> None:
        self._control = dataclasses.replace(self._control, **changes)  # type: ignore[arg-type]
        self._pool.control(self._control)

    # -- the record -------------------------------------------------------------------------

    def _record(self, events: Iterable[Event], *, is_urgent: bool = False) -> None:
        for event in events:
            self._pending.append(self._times.stamp(event))
            if not isinstance(event, (StepsDone, EpochEnded, LogLine)):
                is_urgent = True
        self._is_urgent = self._is_urgent or is_urgent

    def _write_if_due(self) -> None:
        due = self._is_urgent or time.monotonic() - self._written_at > WRITE_EVERY_S
        if self._pending and due:
            self._write()

    def _write(self) -> None:
        """Write what is pending; while the disk refuses, hold the workers and try again."""
        was_paused = self._control.is_paused
        gone = [event.path for event in self._pending if isinstance(event, ArtifactRemoved)]
        while True:
            try:
                self._writer.apply(self._pending)
                break
            except RecordLostError:
                raise
            except StoreError as error:
                logger.warning("cannot write the record, trying again: %s", error)
                if not self._control.is_paused:
                    self._set_control(is_paused=True)
                self._heed_only_the_end()
                if self._ending is not None:
                    raise
                time.sleep(RETRY_WRITE_S)
        if self._control.is_paused and not was_paused:
            self._set_control(is_paused=False)
            note = "the record could not be written for a while (disk full?); nothing was lost"
            self._pending = [LogLine(text=note, level="warning", time=time.time())]
            self._write()
        for path in gone:  # only now: a file that the record names must be there
            delete_artifact(self._folder, path)
        self._pending, self._is_urgent = [], False
        self._written_at = time.monotonic()

    def _heed_only_the_end(self) -> None:
        """While nothing can be written, an order to end interrupts the run; the rest waits."""
        with contextlib.suppress(StoreError):
            self._held += self._inbox.take()
        if any(isinstance(command, (Stop, Interrupt)) for _, command in self._held):
            self._ending = ("interrupted", "ended while the record could not be written")

    def _wind_down(self, state: str, message: str) -> str:
        """End workers, settle the trials in hand, write the last state.

        Workers with nothing in hand are only told to go: `close` waits for them, a GPU's for 0.1 s.
        """
        if self._in_hand or self._task_of:
            self.close()
        else:
            self._set_control(is_over=True)
        for trial in sorted(self._in_hand):
            if state == "interrupted":
                self._record([TrialRequeued(trial=trial, reason=message)])
            else:
                self._tell(TrialEnded(trial=trial, state="cancelled", error=message))
        if state == "stopped":  # they had been handed out, as those that run
            for trial in sorted(self._handed_back):
                self._call_off(trial, message)
        self._record([RunStateChanged(state=state, message=message)])
        try:
            self._write()
        except NbAutomlError:
            logger.exception("the last state %r could not be written", state)
            raise
        return state
