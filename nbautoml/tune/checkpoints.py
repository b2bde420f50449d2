"""A trial's checkpoints, in the worker: when one is written, where, and from which it goes on.

A write costs time that training has earned: at most `SHARE` of what the attempt has trained, the
cost measured as it goes. A trial of a few seconds never writes one; where an epoch takes long
against a write, every epoch is followed by one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbautoml.errors import NbAutomlError, StoreError
from nbautoml.events import (
    Checkpoint,
    LogLine,
    TaskContext,
    TrialRestarted,
    TrialSpec,
)
from nbautoml.events.wire import plain
from nbautoml.store import load_artifact, save_artifact
from nbautoml.tune.kept import CHECKPOINT, N_KEPT

if TYPE_CHECKING:
    from nbautoml.train.state import CannotKeep, FitState

__all__ = ["Checkpoints", "Pace"]

SHARE = 0.02  # goal: below 3 % of the run, with what is not measured here
LEAST_S = 2.0  # between two, and before the first
# Before the first write was measured, rather too much: on a busy machine 13 MB took 0.5 s.
GUESS_S, GUESS_BYTES_PER_S, FILE_PER_MODULE = 0.03, 50e6, 3.0


@dataclass
class Pace:
    """What writes take in this process, against the first guess.

    >>> pace = Pace()
    >>> before = pace.expected_s(1_000_000)
    >>> pace.note(1_000_000, 2 * before)
    >>> pace.expected_s(1_000_000) == 2 * before
    True
    """

    factor: float = 1.0

    def expected_s(self, n_bytes: int) -> float:
        """Seconds of a write of a fit whose parameters and buffers have so many bytes."""
        return self.factor * (GUESS_S + FILE_PER_MODULE * n_bytes / GUESS_BYTES_PER_S)

    def note(self, n_bytes: int, took_s: float) -> None:
        """A write was made."""
        self.factor *= took_s / self.expected_s(n_bytes)


_PACE = Pace()


class Checkpoints:
    """Of one attempt at a trial; a `nbautoml.train.state.Keeper`.

    Args:
        trial: with what earlier attempts have left.
        context: where events go.
        share: of the training time that may be spent on them.
        least_s: seconds between two.
    """

    def __init__(
        self,
        trial: TrialSpec,
        context: TaskContext,
        *,
        share: float = SHARE,
        least_s: float = LEAST_S,
        pace: Pace = _PACE,
    ) -> None:
        self._trial, self._context = trial, context
        self._share, self._least_s, self._pace = share, least_s, pace
        self._identity = json.loads(
            json.dumps(
                plain(
                    {
                        "run": context.run_folder.name,  # its id
                        "number": trial.number,
                        "seed": trial.seed,
                        "params": trial.params,
                    }
                )
            )
        )
        self._cost_s, self._n_bytes = 0.0, 0
        self._trained_before_s = 0.0
        self._last_at = time.monotonic()
        self._is_failing = False
        self._left = list(trial.checkpoints)
        self._reason = ""

    # -- writing: `Keeper` --------------------------------------------------------------------

    def is_due(self, spent_s: float, n_bytes: int) -> bool:
        """Whether training has earned the next one."""
        if time.monotonic() - self._last_at < self._least_s:
            return False
        self._n_bytes = n_bytes
        earned = self._share * (spent_s - self._trained_before_s)
        return self._cost_s + self._pace.expected_s(n_bytes) <= earned

    def keep(self, state: FitState) -> None:
        """Write it; where the disk does not take it, training goes on without."""
        begin = time.monotonic()
        state.identity = self._identity
        details = {"epoch": state.epoch, "step": state.step}
        try:
            written = save_artifact(
                self._context.run_folder,
                state.to_bytes(),
                CHECKPOINT,
                self._trial.number,
                suffix=".safetensors",
                details=details,
            )
        except StoreError as error:
            if not self._is_failing:
                self._say(f"no checkpoint after epoch {state.epoch}: {error.message}")
            self._is_failing = True
        else:
            self._is_failing = False
            self._context.emit(written)
            new = Checkpoint(
                path=written.path, sha256=written.sha256, n_bytes=written.n_bytes, **details
            )
            self._left = [new, *self._left][:N_KEPT]
        self._last_at = time.monotonic()
        took = self._last_at - begin
        self._cost_s += took
        self._pace.note(self._n_bytes, took)

    def refuse(self, error: CannotKeep) -> None:
        """Say why there are none."""
        self._say(f"no checkpoints: {error.message}", level="info")

    # -- going on -----------------------------------------------------------------------------

    @property
    def start(self) -> tuple[int, int]:
        """Epoch and step after which the next attempt goes on."""
        return (self._left[0].epoch, self._left[0].step) if self._left else (0, 0)

    def reject(self, error: CannotKeep) -> None:
        """The state that `starts` gave last is of no use; the reason."""
        self._reason = error.message

    def starts(self) -> Iterator[FitState | None]:
        """What to go on from: the newest that is whole, then what comes should that be rejected.

        At last None, to start anew. The record is told of what is not used.
        """
        while self._left:
            state = self._loaded(self._left[0])
            if state is not None:
                self._trained_before_s = state.spent_s
                self._say(f"it goes on after epoch {state.epoch}, from its checkpoint", "info")
                yield state
            self._skip()
        self._trained_before_s = 0.0
        yield None

    def _loaded(self, checkpoint: Checkpoint) -> FitState | None:
        from nbautoml.train.state import FitState

        try:
            data = load_artifact(checkpoint, self._context.run_folder / "artifacts")
            state = FitState.from_bytes(data)
        except NbAutomlError as error:
            self._reason = error.message
            return None
        if state.identity != self._identity or state.epoch != checkpoint.epoch:
            self._reason = "it is of another run or trial"
            return None
        return state

    def _skip(self) -> None:
        """Go on from the one before; the log and the record are told."""
        bad = self._left.pop(0)
        epoch, step = self.start
        where = f"goes on after epoch {epoch}" if epoch else "starts anew"
        text = f"the checkpoint of epoch {bad.epoch} is not used: {self._reason}; the trial {where}"
        restarted = TrialRestarted(trial=self._trial.number, reason=text, epoch=epoch, step=step)
        self._context.emit(restarted)

    def _say(self, text: str, level: str = "warning") -> None:
        self._context.emit(LogLine(text=text, level=level, trial=self._trial.number))
