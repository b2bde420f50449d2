"""A large run that goes on without training anything: a thread writes what a supervisor would."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nbautoml.events import (
    EpochEnded,
    Event,
    RunStateChanged,
    TrialEnded,
    TrialPlanned,
    TrialStarted,
)
from nbautoml.spec import Budget, Float, Int, Space
from nbautoml.store import Home, Owner, RunFolder, Writer
from nbautoml.testing.store_events import tiny_recipe

__all__ = ["Stream", "streamed"]

SPACE = Space({"hidden": Int(16, 256), "lr": Float(1e-4, 0.1), "dropout": Float(0, 0.5)})
N_RUNNING = 8
N_EPOCHS = 60  # of a trial; each brings two points
EVERY_S = 0.05


class Stream:
    """Writes the record of one run.

    Args:
        writer: of the run.
        n_trials: that have ended when the stream begins.
        points_a_second: that it writes afterwards, of `N_RUNNING` trials at once.
    """

    def __init__(self, writer: Writer, n_trials: int, points_a_second: int) -> None:
        self.n_points = 0
        self._writer, self._n_trials = writer, n_trials
        self._points_a_second = points_a_second
        self._random = random.Random("streamed")
        self._running: dict[int, int] = {}  # trial -> epochs so far
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def fill(self) -> None:
        for first in range(0, self._n_trials, 500):
            events: list[Event] = []
            for trial in range(first, min(first + 500, self._n_trials)):
                events += [*self._start(trial), self._epoch(trial, 1), self._end(trial)]
            self._writer.apply(events)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _write(self) -> None:
        begin, at = time.monotonic(), 0
        while not self._is_over.wait(EVERY_S):
            events: list[Event] = []
            while self.n_points < (time.monotonic() - begin) * self._points_a_second:
                while len(self._running) < N_RUNNING:
                    events += self._start(self._n_trials)
                    self._running[self._n_trials] = 0
                    self._n_trials += 1
                at += 1
                trial = list(self._running)[at % N_RUNNING]
                self._running[trial] += 1
                events.append(self._epoch(trial, self._running[trial]))
                self.n_points += 2
                if self._running[trial] >= N_EPOCHS - trial % N_RUNNING:
                    events.append(self._end(trial))
                    del self._running[trial]
            self._writer.apply(events)

    def _start(self, trial: int) -> list[Event]:
        draw = self._random
        params = {
            "hidden": draw.randint(16, 256),
            "lr": 10 ** draw.uniform(-4, -1),
            "dropout": draw.uniform(0, 0.5),
        }
        return [TrialPlanned(trial=trial, params=params), TrialStarted(trial=trial, worker=1)]

    def _epoch(self, trial: int, epoch: int) -> Event:
        level = 1 - math.exp(-epoch / 20)
        metrics = {"accuracy": level * self._random.uniform(0.7, 1), "loss": 2.3 - 2 * level}
        return EpochEnded(trial=trial, epoch=epoch, step=epoch * 10, metrics=metrics)

    def _end(self, trial: int) -> Event:
        value = self._random.uniform(0.3, 0.95)
        return TrialEnded(
            trial=trial, state="complete", values=[value], metrics={"accuracy": value, "loss": 0.3}
        )


@contextmanager
def streamed(
    home: Home, name: str, *, n_trials: int, points_a_second: int
) -> Iterator[tuple[RunFolder, Stream]]:
    """A run with trials that ended and, once its stream is started, trials that go on."""
    recipe = tiny_recipe(name, space=SPACE, budget=Budget(n_trials=10 * n_trials))
    folder = home.create_run(recipe, None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([RunStateChanged(state="running")])
        stream = Stream(writer, n_trials, points_a_second)
        stream.fill()
        try:
            yield folder, stream
        finally:
            stream.stop()
            writer.apply([RunStateChanged(state="finished")])
