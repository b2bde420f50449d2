"""The kernel's side of the engine: start runs, send them commands, let go of them decently.

Nothing here waits for training, and nothing loads torch.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from nbautoml.engine.forking import python_flags
from nbautoml.errors import EngineError, NbAutomlError
from nbautoml.events import Command, Interrupt, Pause, RunStateChanged, Stop
from nbautoml.spec.budget import Budget
from nbautoml.store import Home, Owner, RunFolder
from nbautoml.store.interrupts import interrupts_held
from nbautoml.store.peek import peek

if TYPE_CHECKING:
    from nbautoml.capsule import Capsule
    from nbautoml.spec.recipe import Recipe

__all__ = ["forget_warm", "keep_warm", "last_words", "preheat", "resume", "send", "submit"]

_START = "import sys; from nbautoml.engine.starting import main; sys.exit(main())"
_RESUMABLE = ("interrupted", "stopped", "failed", "queued")

_lock = threading.Lock()


@dataclass
class _Started:
    """What this process has started."""

    warm: subprocess.Popen[str] | None = None
    kept_warm_for: Home | None = None
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    is_detached: dict[Path, bool] = field(default_factory=dict)  # by the run's folder


_started = _Started()


def submit(
    home: Home, recipe: Recipe, capsule: Capsule, files: Mapping[str, bytes] = MappingProxyType({})
) -> RunFolder:
    """Make the run's folder and hand it to a supervisor; returns at once.

    ``files`` by name are what the run is given to work on.

    With executor "inline" the run is trained here, and this returns when it is over.

    Raises:
        StoreError: the folder cannot be made.
        EngineError: no supervisor could be started.
    """
    if recipe.execution.executor == "inline":
        from nbautoml.engine.supervisor import run_in_process

        folder = home.create_run(recipe, capsule, files)
        run_in_process(home, folder)
        return folder
    # Both or neither: a folder that nobody was told of would keep its name, and wait for ever.
    with interrupts_held(f"the run {recipe.name!r} has begun: %automl stop {recipe.name}"):
        folder = home.create_run(recipe, capsule, files)
        _hand_over(home, folder, recipe)
    return folder


def resume(
    home: Home, folder: RunFolder, *, run_code: bool = False, budget: Budget | None = None
) -> None:
    """Go on with a run whose supervisor is gone; finished trials stay as they are.

    Args:
        home: where its data lies.
        folder: the run.
        run_code: execute its code though somebody else may have written it; remembered.
        budget: what it may spend from now on in all; with one a finished run goes on, too.

    Raises:
        EngineError: the run is going on, or is finished, or is not this user's.
    """
    with folder.reader() as reader:
        state = reader.run().state
    recipe = folder.recipe()
    if state not in _RESUMABLE and not (state == "finished" and budget is not None):
        raise EngineError(
            f"run {recipe.name!r} is {state}, there is nothing to resume",
            hint="to train another time run the cell again under another name"
            if recipe.kind == "train"
            else f"%automl resume {recipe.name} --more 20 goes on with twenty more trials",
        )
    if not folder.is_ours:
        if not run_code:
            raise EngineError(
                f"run {recipe.name!r} was not submitted by you on this machine, and to go on with "
                "it would execute its code",
                hint=f"look at its code first (nbautoml.load({recipe.name!r}).code); if you trust "
                f"it: %automl resume {recipe.name} --run-code",
            )
        folder.take_as_ours()
    if state != "queued":
        # What ended a run and came too late must not end it again: who resumes says the opposite.
        folder.inbox.forget((Stop, Pause, Interrupt))
    if budget is not None:
        folder.replace_recipe(dataclasses.replace(recipe, budget=budget))
    if recipe.execution.executor == "inline":
        from nbautoml.engine.supervisor import run_in_process

        run_in_process(home, folder)
        return
    with interrupts_held(f"the run {recipe.name!r} goes on: %automl stop {recipe.name}"):
        _hand_over(home, folder, recipe)


def send(folder: RunFolder, command: Command) -> str:
    """Drop a command into the run's inbox; returns the id that its acknowledgement will carry."""
    return folder.inbox.drop(command)


def preheat(home: Home) -> None:
    """Start a warm supervisor in the background, so that the next run begins at once."""
    with _lock:
        if _started.warm is not None and _started.warm.poll() is None:
            return
        _reap()
        _started.warm = _popen(["--warm"], cwd=home.path.parent, stdin=subprocess.PIPE)


def keep_warm(home: Home) -> None:
    """`preheat` now, and again when the last of this process's runs has ended; until `forget_warm`.

    To warm up takes three seconds of processor time, so it is not done beside a run.
    """
    with _lock:
        _started.kept_warm_for = home
    preheat(home)


def forget_warm() -> None:
    """End the warm supervisor, if there is one."""
    with _lock:
        _started.kept_warm_for = None
        if _started.warm is not None:
            _close_input(_started.warm)
            with contextlib.suppress(subprocess.TimeoutExpired):
                _started.warm.wait(5)
            _started.warm = None
        _reap()


def _hand_over(home: Home, folder: RunFolder, recipe: Recipe) -> None:
    """Give the run to the warm supervisor, else to a new one."""
    with _lock:
        _reap()
        candidate, _started.warm = _started.warm, None
        if candidate is None or not _order(candidate, home, folder):
            words = ["--home", str(home.path), "--run", str(folder.path), "--kind", recipe.kind]
            candidate = _popen(words, cwd=Path.cwd(), stdin=subprocess.DEVNULL, log=folder.log_path)
        _started.children.append(candidate)
        _started.is_detached[folder.path] = recipe.execution.detach
    threading.Thread(
        target=_see_off, args=(candidate, folder), name="nbautoml-see-off", daemon=True
    ).start()


def _see_off(child: subprocess.Popen[str], folder: RunFolder) -> None:
    """When a supervisor has ended: tell of a run that it never began; the next run finds a warm one."""
    code = child.wait()
    # The record can't be written, nor could the supervisor: who waits for the run is told.
    with contextlib.suppress(NbAutomlError, OSError):
        _fail_if_queued(folder, code)
    with _lock:
        _reap()
        home = None if _started.children else _started.kept_warm_for
    if home is not None:
        # Without it a run starts cold, and says itself what is wrong.
        with contextlib.suppress(EngineError):
            preheat(home)


def _fail_if_queued(folder: RunFolder, code: int) -> None:
    """Record that the supervisor left with this exit code before it had taken the run."""
    if peek(folder).state != "queued":
        return
    recipe = folder.recipe()
    writer = folder.writer(Owner.this_process())
    try:
        writer.create(recipe)
        message = f"its process ended with exit code {code} before it began{last_words(folder)}"
        writer.apply([RunStateChanged(time=time.time(), state="failed", message=message)])
    finally:
        writer.close()


def last_words(folder: RunFolder) -> str:
    """What the run's supervisor said last, as the end of a sentence; "" where it said nothing."""
    try:
        lines = folder.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return f"; its last words: {lines[-1][:300]}" if lines else ""


def _order(warm: subprocess.Popen[str], home: Home, folder: RunFolder) -> bool:
    """Send the folder to a warm supervisor; False when it is gone."""
    if warm.poll() is not None or warm.stdin is None:
        return False
    order = {"home": str(home.path), "run": str(folder.path), "cwd": str(Path.cwd())}
    try:
        warm.stdin.write(json.dumps(order) + "\n")
        warm.stdin.flush()
        warm.stdin.close()
    except OSError:
        return False
    return True


def _popen(
    words: list[str], *, cwd: Path, stdin: int, log: Path | None = None
) -> subprocess.Popen[str]:
    """Start a supervisor in a session of its own: no terminal's or kernel's signals reach it.

    What it says before it knows its run's log goes there, too, where the log is given.
    """
    _let_go_at_exit()
    try:
        with _appended(log) as said:
            return subprocess.Popen(
                [sys.executable, *python_flags(cwd), "-c", _START, *words],
                cwd=cwd if cwd.is_dir() else None,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
                text=True,
            )
    except OSError as error:
        raise EngineError(
            f"could not start the supervisor process: {error}",
            hint="free some memory or processes, or use --executor inline",
        ) from error


@contextlib.contextmanager
def _appended(log: Path | None) -> Iterator[int]:
    """The log, open; where it can't be, nobody hears what is said."""
    try:
        found = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        found = None
    try:
        yield subprocess.DEVNULL if found is None else found
    finally:
        if found is not None:
            os.close(found)


@functools.cache
def _let_go_at_exit() -> None:
    """Once, and only in a process that has started something."""
    atexit.register(_let_go)


def _reap() -> None:
    """Collect the exit codes of supervisors that ended, so that none stays a zombie."""
    _started.children[:] = [child for child in _started.children if child.poll() is None]


def _close_input(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _let_go() -> None:
    """This process ends on purpose: its runs that are not detached become resumable.

    A killed kernel never comes here, and then its runs go on.
    """
    if _started.warm is not None:
        _close_input(_started.warm)
    for path, is_detached in _started.is_detached.items():
        if not is_detached and path.is_dir():
            with contextlib.suppress(OSError):
                RunFolder(path).inbox.drop(Interrupt())
