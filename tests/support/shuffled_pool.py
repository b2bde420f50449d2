"""An executor for tests of the order of things: its workers take turns by chance, and train nothing.

A trial's curve follows from its parameters alone. Who is faster, and when the supervisor is
killed, is drawn by chance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbautoml.engine.driver import driver_for
from nbautoml.engine.loop import RunLoop
from nbautoml.engine.pool import Control, Finished, Happened, Message, Reported
from nbautoml.events import EpochEnded, RunControl, RunStateChanged, Task, TrialEnded, TrialSpec
from nbautoml.store import Owner, RunFolder

__all__ = ["Killed", "ShuffledPool", "run_shuffled", "table_of"]

N_EPOCHS = 9


class Killed(BaseException):
    """The supervisor is gone, without a last word."""


def accuracy(params: Mapping[str, Any], epoch: int) -> float:
    """Better near lr 0.01 with many units; a slow start for small rates."""
    distance = abs(math.log10(params["lr"]) + 2) + abs(params["hidden"] - 48) / 64
    distance += 0.3 * (params.get("optimizer") == "sgd")
    return round(math.exp(-distance) * (1 - math.exp(-epoch * (1 - distance / 5) / 3)), 9)


@dataclass
class _Busy:
    task: Task
    epochs: dict[int, int] = field(default_factory=dict)
    params: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    asked: int = -1


class ShuffledPool:
    """`nbautoml.engine.pool.Pool` over pretended workers.

    Args:
        n_workers: how many.
        seed: of who takes the next turn.
        n_turns: the supervisor is killed after so many; None: never.
        n_values: that a trial ends with: its accuracy, and its size where it is two.
    """

    def __init__(
        self, n_workers: int, seed: int, n_turns: int | None = None, n_values: int = 1
    ) -> None:
        self._n_values = n_values
        self._free = list(range(1, n_workers + 1))
        self._busy: dict[int, _Busy] = {}
        self._random = random.Random(seed)
        self._left = math.inf if n_turns is None else n_turns

    @property
    def n_free(self) -> int:
        return len(self._free)

    def start(self, task: Task) -> tuple[int, str]:
        worker = self._free.pop(self._random.randrange(len(self._free)))
        self._busy[worker] = _Busy(task, params={t.number: t.params for t in task.trials})
        self._busy[worker].epochs = {trial.number: 0 for trial in task.trials}
        return worker, "cpu"

    def poll(self, timeout_s: float) -> list[Message]:
        if self._left <= 0:
            raise Killed
        self._left -= 1
        worker = self._random.choice(list(self._busy))
        busy = self._busy[worker]
        if not busy.epochs:
            del self._busy[worker]
            self._free.append(worker)
            return [Finished(worker=worker)]
        trial = self._random.choice(list(busy.epochs))
        if trial in busy.stopped or busy.epochs[trial] == N_EPOCHS:
            return [Happened(worker=worker, events=[self._end(busy, trial)])]
        epoch = busy.epochs[trial] = busy.epochs[trial] + 1
        value = accuracy(busy.params[trial], epoch)
        busy.asked = trial
        metrics = {"accuracy": value, "n_parameters": 75.0 * busy.params[trial]["hidden"]}
        ended = EpochEnded(trial=trial, epoch=epoch, step=epoch, metrics=metrics)
        return [
            Happened(worker=worker, events=[ended]),
            Reported(worker=worker, trial=trial, epoch=epoch, value=value),
        ]

    def _end(self, busy: _Busy, trial: int) -> TrialEnded:
        epoch = busy.epochs.pop(trial)
        value = accuracy(busy.params[trial], epoch)
        state = "stopped_early" if trial in busy.stopped else "complete"
        values = [value, 75.0 * busy.params[trial]["hidden"]][: self._n_values]
        return TrialEnded(trial=trial, state=state, values=values, metrics={"accuracy": value})

    def answer(self, worker: int, control: RunControl) -> None:
        busy = self._busy[worker]
        if control is RunControl.STOP_EARLY:
            busy.stopped.add(busy.asked)

    def answer_question(self, worker: int, answer: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def give(self, worker: int, trials: Sequence[TrialSpec]) -> str:
        raise NotImplementedError

    def control(self, control: Control) -> None:
        pass

    def close(self, *, grace_s: float) -> None:
        if self._left <= 0:
            raise Killed


def run_shuffled(folder: RunFolder, make_pool: Callable[[], ShuffledPool]) -> str:
    """Be the run's supervisor until it is over, or killed; returns its state."""
    recipe = folder.recipe()
    writer = folder.writer(Owner.this_process())
    try:
        writer.create(recipe)
        writer.recover()
        writer.apply([RunStateChanged(state="running")])
        driver = driver_for(recipe)
        with folder.reader() as reader:
            events = driver.restore(reader)
        return RunLoop(folder, writer, driver, lambda _handle, _look: make_pool()).run(events)
    except Killed:
        return "killed"
    finally:
        writer.close()


def table_of(folder: RunFolder) -> list[tuple[Any, ...]]:
    """What must not hang on the order of things: a row a trial, with its curve."""
    with folder.reader() as reader:
        rows = reader.trials()
        points = reader.points(name="accuracy")
    curves: dict[int, list[float]] = {row.number: [] for row in rows}
    for trial, value in zip(points.trials, points.values, strict=True):
        curves[trial].append(value)
    return [(r.number, dict(r.params), r.state, r.values, tuple(curves[r.number])) for r in rows]
