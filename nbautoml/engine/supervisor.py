"""The supervisor: owns one run's record, sampler and workers, in a process and session of its own.

`nbautoml.engine.starting` is where its process begins.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from nbautoml.engine.devices import Layout, is_without_gpus, layout_for
from nbautoml.engine.driver import Driver, driver_for
from nbautoml.engine.loop import RunLoop
from nbautoml.engine.pool import Message, Pool
from nbautoml.engine.process_pool import ProcessPool
from nbautoml.errors import NbAutomlError, RecipeError
from nbautoml.events import Event, PlanChosen, RunStateChanged
from nbautoml.store import Home, Owner, RunFolder, sweep_artifacts

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Execution, Recipe
    from nbautoml.store import Writer

__all__ = ["rehearse", "run_in_process", "supervise"]

EXIT_SIGTERM = 143

logger = logging.getLogger("nbautoml.supervisor")


def rehearse() -> None:
    """Go through the start of a run once, in a folder of its own, while nobody waits.

    It loads what a run needs and fills SQLAlchemy's caches of statements: 0.2 s of processor time
    that the first run then doesn't take.
    """
    from nbautoml.spec import Budget, Float, Objective, Space
    from nbautoml.spec.recipe import Recipe, Target

    recipe = Recipe(
        kind="tune", name="rehearsal", run_id="", data=None,
        target=Target(role="objective", symbol="f", capsule_hash=""),
        space=Space({"x": Float(0, 1)}), fixed={}, objectives=(Objective("value", "minimize"),),
        budget=Budget(n_trials=1),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="nbautoml-") as place:
        folder = Home(Path(place) / ".nbautoml").create_run(recipe, None)
        if not folder.record_url.startswith("sqlite"):
            return  # no rows in a server that others use
        with _opened(folder) as session:
            handout = session.driver.next_handout(n_free=1)
            session.writer.apply(handout.events if handout else ())


def supervise(home: Home, folder: RunFolder, pool: ProcessPool) -> int:
    """Own the run until it is over; returns the exit code of the process."""
    _log_to(folder.log_path)
    # For good: to silence Optuna anew for each of its calls took 15 ms of a run of a second.
    logging.getLogger("optuna").setLevel(logging.CRITICAL)
    is_terminated = False
    _open_ahead(home, folder, pool)
    with ExitStack() as afterwards, _opened(folder) as session:
        layout = session.layout
        pool.assign(layout, run_folder=folder.path, home_data=home.data_dir)
        loop = RunLoop(folder, session.writer, session.driver, lambda _handle, _look: pool)
        afterwards.callback(loop.close)

        def on_sigterm(_signum: int, _frame: FrameType | None) -> None:
            nonlocal is_terminated
            is_terminated = True
            loop.interrupt("the supervisor was asked to end (SIGTERM)")

        signal.signal(signal.SIGTERM, on_sigterm)
        plan = _plan(str(layout), "process", session.driver)
        state = loop.run([plan, *session.first_events])
    logger.info("run %s ended as %s", folder.id, state)
    return EXIT_SIGTERM if is_terminated else 0


def _open_ahead(home: Home, folder: RunFolder, pool: ProcessPool) -> None:
    """While the record is being made, a warm worker opens the run's data and imports its code.

    Of modules only: an objective may want a worker of its own, and choose its device itself. One that was
    on a GPU ahead is kept for a run that begins there; a deterministic one has settings that CUDA
    must see when it starts.
    """
    recipe = folder.recipe()
    execution, is_module = recipe.execution, recipe.target.role == "module"
    layout = _layout_ahead(execution, recipe.budget.n_trials) if is_module else None
    pool.leave_gpus(but="" if layout is None or execution.deterministic else layout.devices[0])
    if layout is not None and recipe.kind in {"tune", "train"}:
        pool.assign(layout, run_folder=folder.path, home_data=home.data_dir)
        pool.open_ahead("nbautoml.tune.session:open_ahead")


def _layout_ahead(execution: Execution, n_trials: int | None) -> Layout | None:
    """Where the run's first worker will be; None where that is not known, or is not there."""
    device = execution.device
    if device == "cpu" or (device == "auto" and is_without_gpus()):
        return Layout(devices=("cpu",), n_threads=1)
    try:
        layout = layout_for(execution, n_trials=n_trials)
    except (RecipeError, ValueError):  # the run itself meets it again, and tells it
        return None
    return None if "mps" in layout.devices else layout


def run_in_process(home: Home, folder: RunFolder) -> str:
    """Executor "inline": be the supervisor and the worker, here and now; returns the last state."""
    from nbautoml.engine.inline import InlinePool

    with ExitStack() as afterwards, _opened(folder, most_workers=1) as session:
        layout = session.layout

        def make_pool(handle: Callable[[Message], None], look: Callable[[], None]) -> Pool:
            return InlinePool(
                layout, run_folder=folder.path, home_data=home.data_dir, obey=handle, look=look
            )

        loop = RunLoop(folder, session.writer, session.driver, make_pool)
        afterwards.callback(loop.close)
        plan = _plan(f"inline on {layout.devices[0]}", "inline", session.driver)
        return loop.run([plan, *session.first_events])


def _plan(text: str, executor: str, driver: Driver) -> PlanChosen:
    return PlanChosen(text=text, details={"executor": executor, **driver.choices})


@dataclass(frozen=True, kw_only=True)
class _Session:
    """A run that this process owns."""

    recipe: Recipe
    writer: Writer
    driver: Driver
    first_events: Sequence[Event]
    layout: Layout


@contextmanager
def _opened(folder: RunFolder, *, most_workers: int | None = None) -> Iterator[_Session]:
    """Own the run: record open and recovered, driver restored; closed on the way out.

    Who resumed it sees it running before the driver, and Optuna with it, is loaded. An error that keeps the run from starting is written into its record, where it is read.
    """
    recipe = folder.recipe()
    writer = folder.writer(Owner.this_process())
    try:
        writer.create(recipe)
        writer.recover()
        writer.apply([RunStateChanged(time=time.time(), state="running")])
        try:
            n_trials = most_workers or recipe.budget.n_trials
            layout = layout_for(recipe.execution, n_trials=n_trials)
            driver = driver_for(recipe)
            with folder.reader() as reader:
                sweep_artifacts(folder, reader.artifacts())
                first_events = driver.restore(reader)
        except NbAutomlError as error:
            writer.apply([RunStateChanged(time=time.time(), state="failed", message=str(error))])
            raise
        # From here on the loop itself says how the run ended.
        yield _Session(
            recipe=recipe, writer=writer, driver=driver, first_events=first_events, layout=layout
        )
        try:
            _sweep(folder)  # of workers that died between a file's name and its row
        except NbAutomlError as error:
            logger.warning("files that nobody knows may be left: %s", error.message)
    finally:
        writer.close()


def _sweep(folder: RunFolder) -> None:
    """Delete files of ours that no row names; only while no worker writes any."""
    with folder.reader() as reader:
        sweep_artifacts(folder, reader.artifacts())


def _log_to(path: Path) -> None:
    """Everything that this process says goes to the run's own log file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
