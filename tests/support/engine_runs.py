"""For tests of the engine: runs made without a notebook: a module in source, digits, a home of the test's own."""

from __future__ import annotations

import dataclasses
import os
import signal
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nbautoml.capsule import build_capsule
from nbautoml.data import load_named, snapshot
from nbautoml.engine import client
from nbautoml.spec import Budget, Float, Int, Space, objective_for
from nbautoml.spec.recipe import Recipe, Target
from nbautoml.store import Home, RunFolder, TrialRow
from nbautoml.store.home import new_run_id

MLP = """
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)
"""
WAIT_S = 240
END_STATES = {"finished", "stopped", "failed", "interrupted"}


class Runs:
    """Makes and watches runs in a home of the test's own."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path / ".nbautoml")
        self._n_modules = 0

    def recipe(self, *, data: str | None = "digits", **changes: object) -> Recipe:
        spec = snapshot(load_named(data), home_data=self.home.data_dir, name=data) if data else None
        recipe = Recipe(
            kind="tune",
            name="run",
            run_id=new_run_id(),
            target=Target(role="module", symbol="Net", capsule_hash=""),
            data=spec,
            space=Space({"hidden": Int(8, 32), "lr": Float(1e-3, 1e-2, log=True)}),
            fixed={"epochs": 2},
            objectives=(objective_for("accuracy", spec.task if spec else "multiclass", None),),
            budget=Budget(n_trials=4),
            seed=1,
            stopper="none",
            sampler="random",
            created_at=time.time(),
        )
        return dataclasses.replace(recipe, **changes)

    def submit(self, source: str = MLP, **changes: object) -> RunFolder:
        """Submit the class or function that the source defines (Net or objective)."""
        self._n_modules += 1
        recipe = self.recipe(**{"name": f"run_{self._n_modules}", **changes})
        name = f"written_by_a_test_{self._n_modules}"
        module = types.ModuleType(name)
        module.__dict__["__name__"] = "__main__"
        cell = textwrap.dedent(source)
        filename = f"<cell {name}>"
        import linecache

        linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
        exec(compile(cell, filename, "exec"), module.__dict__)
        capsule = build_capsule([recipe.target.symbol], module.__dict__, cells=[cell])
        target = dataclasses.replace(recipe.target, capsule_hash=capsule.hash)
        return client.submit(self.home, dataclasses.replace(recipe, target=target), capsule)


@contextmanager
def watched(path: Path) -> Iterator[Runs]:
    """Runs, of which no process may be left behind when the block ends."""
    before = set(psutil.Process().children(recursive=True))  # of other tests: a server to fork from
    yield Runs(path)
    client.forget_warm()
    ours = [process for process in our_processes() if process not in before]
    _, alive = psutil.wait_procs(ours, timeout=60)
    for process in alive:
        process.kill()
    client.forget_warm()
    assert not alive, f"left behind: {[_line(p) for p in alive]}"


def our_processes() -> list[psutil.Process]:
    """Supervisors and their workers among this process's children; no browser, no database."""
    return [p for p in psutil.Process().children(recursive=True) if "nbautoml" in _line(p)]


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(condition: Callable[[], object], *, what: str, wait_s: float = WAIT_S) -> object:
    """Poll for a condition; fails with what was waited for."""
    limit = time.monotonic() + wait_s
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {wait_s:g} s for {what}")


def state_of(folder: RunFolder) -> str:
    with folder.reader() as reader:
        return reader.run().state


def trials_of(folder: RunFolder) -> list[TrialRow]:
    with folder.reader() as reader:
        return reader.trials()


def n_points(folder: RunFolder) -> int:
    with folder.reader() as reader:
        return len(reader.points().values)


def wait_for_end(folder: RunFolder, *, wait_s: float = WAIT_S) -> str:
    """The run's last state."""
    until(lambda: state_of(folder) in END_STATES, what=f"the end of {folder.id}", wait_s=wait_s)
    return state_of(folder)


def supervisor_pid(folder: RunFolder) -> int:
    """The owner's process id, once there is one."""

    def find() -> int | None:
        with folder.reader() as reader:
            return reader.run().owner_pid

    return int(until(find, what="a supervisor"))


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
