"""Train finished trials of a run once more, beside the run: its record and its folder stay as they are.

::

    kernel:  again(...) --order as JSON--> a process of its own: main() --tasks--> warm workers
                        <--events, a line each------'

The process works on a copy of the run's recipe and capsule in a temporary folder, so that whatever
a worker writes goes there. It ends when its work is done, or when its standard input is closed:
who asked is gone.
"""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbautoml.engine.devices import Layout, layout_for
from nbautoml.engine.forking import python_flags
from nbautoml.engine.pool import Died, Finished, Happened, Message, Reported, Wanted
from nbautoml.engine.process_pool import ProcessPool
from nbautoml.errors import EngineError, NbAutomlError
from nbautoml.events import Event, RunControl, TrialEnded, event_from_json
from nbautoml.events.wire import to_json
from nbautoml.store import Home, RunFolder
from nbautoml.tune.driver import lone_task

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe

__all__ = ["Repeated", "again", "layout_again", "main"]

_START = "import sys; from nbautoml.engine.again import main; sys.exit(main())"
POLL_S = 0.1
GRACE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A trial that is to be trained again.

    Attributes:
        number, params: as the record has them.
        stop_after: the epoch after which it was stopped early; None where it was not.
    """

    number: int
    params: Mapping[str, Any]
    stop_after: int | None = None


def layout_again(recipe: Recipe, n_trials: int) -> Layout:
    """Workers as the run has them, threads included, and no more than there are trials.

    Raises:
        RecipeError: the run's device is not here.
    """
    layout = layout_for(recipe.execution, n_trials=recipe.budget.n_trials)
    return Layout(devices=layout.devices[: max(1, n_trials)], n_threads=layout.n_threads)


def again(
    home: Home, folder: RunFolder, trials: Sequence[Repeated]
) -> Generator[Event, None, None]:
    """Train the trials, and yield what happens; close the iterator to end it early.

    Raises:
        EngineError: the process could not be started, or ended before its work was done.
        NbAutomlError: what it says of the data or the capsule.
    """
    order = {
        "home": str(home.path),
        "run": str(folder.path),
        "trials": [vars(trial) for trial in trials],
    }
    process = _popen()
    left = {trial.number for trial in trials}
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            found = json.loads(line)
            if found["type"] == "error":
                raise NbAutomlError(found["message"], hint=found["hint"])
            event = event_from_json(found)
            if isinstance(event, TrialEnded):
                left.discard(event.trial)
            yield event
        if left:
            raise EngineError(
                f"the process that trains again ended with exit code {process.wait()}",
                hint="try it again; was there enough memory?",
            )
    except BrokenPipeError as error:
        raise EngineError("the process that trains again ended at once") from error
    finally:
        _end(process)


def _popen() -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            [sys.executable, *python_flags(Path.cwd()), "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt is the kernel's to handle
            text=True,
        )
    except OSError as error:
        raise EngineError(
            f"could not start a process to train in: {error}", hint="free some memory or processes"
        ) from error


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(GRACE_S + 5.0)
    except subprocess.TimeoutExpired:
        process.kill()  # its workers end with it
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


# -- inside the process -----------------------------------------------------------------------


def main() -> int:
    """Entry point of the process; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    order = json.loads(line)
    trials = [Repeated(**trial) for trial in order["trials"]]
    try:
        _train(Home(Path(order["home"])), RunFolder(Path(order["run"])), trials)
    except NbAutomlError as error:
        _say({"type": "error", "message": error.message, "hint": error.hint})
    return 0


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _train(home: Home, folder: RunFolder, trials: Sequence[Repeated]) -> None:
    recipe = folder.recipe()
    if recipe.data is not None:
        from nbautoml.data.folder import open_arrays

        open_arrays(recipe.data.digest, home.data_dir, should_verify=True)
    with tempfile.TemporaryDirectory(prefix="nbautoml-again-") as place:
        run = Path(place) / folder.id
        (run / "artifacts").mkdir(parents=True)
        shutil.copy2(folder.path / "recipe.json", run / "recipe.json")
        shutil.copytree(folder.capsule_dir, run / "capsule")
        layout = layout_again(recipe, len(trials))
        pool = ProcessPool(layout, run_folder=run, home_data=home.data_dir)
        try:
            _Round(pool, recipe, trials).train()
        finally:
            pool.close(grace_s=GRACE_S)


class _Round:
    """The trials, from the first to the last."""

    def __init__(self, pool: ProcessPool, recipe: Recipe, trials: Sequence[Repeated]) -> None:
        self._pool, self._recipe = pool, recipe
        self._waiting = list(trials)
        self._stop_after = {trial.number: trial.stop_after for trial in trials}
        self._in_hand: dict[int, int] = {}  # worker -> trial

    def train(self) -> None:
        while (self._waiting or self._in_hand) and not _is_input_closed():
            while self._waiting and self._pool.n_free > 0:
                trial = self._waiting.pop(0)
                task = lone_task(self._recipe, trial.number, trial.params)
                worker, _ = self._pool.start(task)
                self._in_hand[worker] = trial.number
            for message in self._pool.poll(POLL_S):
                self._handle(message)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Happened):
            for event in message.events:
                self._tell(event)
        elif isinstance(message, Reported):
            after = self._stop_after[message.trial]
            is_over = after is not None and message.epoch >= after
            answer = RunControl.STOP_EARLY if is_over else RunControl.GO_ON
            self._pool.answer(message.worker, answer)
        elif isinstance(message, Wanted):
            self._pool.give(message.worker, ())
        elif isinstance(message, Finished):
            self._over(message.worker, message.error or "it ended without a result")
        elif isinstance(message, Died):
            self._over(message.worker, message.reason)

    def _tell(self, event: Event) -> None:
        if isinstance(event, TrialEnded):
            for worker in [w for w, trial in self._in_hand.items() if trial == event.trial]:
                self._in_hand[worker] = -1
        _say(to_json(event))

    def _over(self, worker: int, error: str) -> None:
        trial = self._in_hand.pop(worker, -1)
        if trial >= 0:
            _say(to_json(TrialEnded(trial=trial, state="failed", error=error)))


def _is_input_closed() -> bool:
    """Whether who asked is gone: it says nothing more, so that only the end can be read."""
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready)
