"""For tests that break things: runs with a notary, seeded points, and the check of what was promised.

Environment:
    NBAUTOML_FAULT_POINTS: kills in each kill test (small when not said; ``make test-faults``: 200).
    NBAUTOML_FAULT_SEED: of the points.
    NBAUTOML_FAULT_OUT: a file for the figures, as JSON.
    NBAUTOML_FAULT_QUIET: keep the times only, in rows of their own (``make test-faults-times``).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from engine_runs import END_STATES, Runs, until

from nbautoml.engine import client
from nbautoml.spec import Budget, Objective, Space
from nbautoml.spec.recipe import Target
from nbautoml.store import Points, RunFolder, TrialRow
from nbautoml.store.peek import peek

__all__ = [
    "N_STEPS",
    "OBJECTIVE",
    "QUIET",
    "Acked",
    "Figures",
    "Verdict",
    "check_nothing_lost",
    "check_what_was_told",
    "n_points",
    "objective_words",
    "rng",
]

QUIET = ", alone"  # ends the name of a row of times that were measured where nothing else ran

# Short and steady; what it has computed is written down by the process that computed it.
N_STEPS = 3
OBJECTIVE = f"""
def objective(trial):
    import json, os, time
    x = trial.suggest_float("x", -5, 5)
    for step in range(1, {N_STEPS} + 1):
        time.sleep(0.01)
        trial.report((x - 2) ** 2 + 1 / step, step)
    value = (x - 2) ** 2
    handle = os.open(os.environ["NBAUTOML_TEST_COMPUTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, (json.dumps([trial.number, value]) + chr(10)).encode())
    os.close(handle)
    return value
"""


def n_points(small: int) -> int:
    """How many kills a kill test makes."""
    return int(os.environ.get("NBAUTOML_FAULT_POINTS", small))


def rng(name: str) -> random.Random:
    """A generator of the test's own."""
    return random.Random(f"{os.environ.get('NBAUTOML_FAULT_SEED', '0')}:{name}")


def objective_words(n_trials: int = 12, **changes: Any) -> dict[str, Any]:
    """Words for `Runs.submit` of an objective without data."""
    words: dict[str, Any] = {
        "data": None,
        "space": Space({}),
        "fixed": {},
        "target": Target(role="objective", symbol="objective", capsule_hash=""),
        "objectives": (Objective(metric="value", direction="minimize"),),
        "budget": Budget(n_trials=n_trials),
    }
    return {**words, **changes}


@dataclass
class Acked:
    """What a run's supervisors have acknowledged, and what its workers have computed."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "acks"

    def clear(self) -> None:
        """Begin anew, for the next run."""
        self.path.unlink(missing_ok=True)
        (self.folder / "computed").unlink(missing_ok=True)

    def ends(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in _lines(self.path)]

    def computed(self) -> dict[int, list[float]]:
        """Trial -> values; several when a trial was run again."""
        found: dict[int, list[float]] = {}
        for line in _lines(self.folder / "computed"):
            trial, value = json.loads(line)
            found.setdefault(trial, []).append(value)
        return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def check_nothing_lost(folder: RunFolder, acked: Acked, n_trials: int) -> list[TrialRow]:
    """0 lost, 0 doubled, 0 stuck, each curve whole; returns the trials.

    Of a module's run each complete trial has all epochs of the recipe, of `OBJECTIVE`'s all three
    steps, and a value that the process which computed it wrote down.
    """
    with folder.reader() as reader:
        run, rows = reader.run(), reader.trials()
        points = {row.number: reader.points(trial=row.number) for row in rows}
    by_number = {row.number: row for row in rows}
    assert run.state in END_STATES
    assert sorted(by_number) == list(range(n_trials)), "lost or doubled"
    stuck = [row.number for row in rows if row.state in {"waiting", "running"}]
    assert not stuck, f"stuck: {stuck}"
    check_what_was_told(by_number, acked)
    recipe, computed = folder.recipe(), acked.computed()
    is_module = recipe.target.role == "module"
    n_epochs = int(recipe.fixed["epochs"]) if is_module else N_STEPS
    for row in rows:
        check_curves(row, points[row.number], n_epochs if row.state == "complete" else None)
        if row.state != "complete":
            continue
        if is_module:
            metric = recipe.objectives[0].metric
            assert row.value in _curves(points[row.number])[metric].values, f"trial {row.number}"
        else:
            # A trial whose worker or supervisor was killed is computed again.
            assert row.value in computed.get(row.number, []), f"nobody computed trial {row.number}"
    return rows


def check_what_was_told(by_number: dict[int, TrialRow], acked: Acked) -> None:
    """Each end that was acknowledged is in the record, as it was told, and was told once."""
    told: set[int] = set()
    for end in acked.ends():
        row = by_number[end["trial"]]
        assert end["trial"] not in told, f"trial {end['trial']} was finished twice"
        told.add(end["trial"])
        assert row.state == end["state"]
        assert list(row.values) == end["values"]


@dataclass
class Curve:
    """One quantity of one trial, in the order of the record."""

    steps: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def _curves(points: Points) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for name, step, epoch, value in zip(
        points.names, points.steps, points.epochs, points.values, strict=True
    ):
        curve = found.setdefault(name, Curve())
        curve.steps.append(step)
        curve.epochs.append(epoch)
        curve.values.append(value)
    return found


def check_curves(row: TrialRow, points: Points, n_epochs: int | None) -> None:
    """No gap, no repeated step, head and tail there; of a trial that is over, `n_epochs` epochs."""
    curves = _curves(points)
    assert n_epochs is None or curves, f"trial {row.number} has no curve"
    for name, curve in curves.items():
        where = f"trial {row.number}: {name}"
        if not any(curve.epochs):  # inside epochs, every n-th step
            gaps = {b - a for a, b in itertools.pairwise([0, *curve.steps])}
            assert len(gaps) == 1, f"{where} has a gap or repeats a step: {curve.steps}"
            if n_epochs is not None:
                assert row.step - min(gaps) < curve.steps[-1] <= row.step, f"{where} has no tail"
            continue
        expected = list(range(1, (len(curve.epochs) if n_epochs is None else n_epochs) + 1))
        assert curve.epochs == expected, f"{where} has the epochs {curve.epochs}"
        per_epoch = curve.steps[0]
        assert curve.steps == [per_epoch * n for n in expected], f"{where}: {curve.steps}"
        assert row.epoch == expected[-1], f"{where}: the trial says epoch {row.epoch}"


def resume_and_time(runs: Runs, folder: RunFolder) -> float:
    """Resume a run; seconds until a new supervisor owns it and it is running."""
    begin = time.perf_counter()
    client.resume(runs.home, folder)
    until(lambda: peek(folder).state in {"running", "finished", "failed"}, what="the resumed run")
    return time.perf_counter() - begin


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """None of them may outlive its supervisor."""
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive, f"orphans: {alive}"


class Figures:
    """What was survived, in numbers; each row is written into the file as soon as it is known.

    Args:
        path: the file; rows that are not measured now stay in it.
        is_quiet: keep times only, in rows of their own: measured again where nothing else runs.
    """

    def __init__(self, path: Path | None, *, is_quiet: bool = False) -> None:
        self.path, self.is_quiet = path, is_quiet
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, fault: str, **numbers: Any) -> None:
        """Numbers of one fault; a list of seconds becomes median, p99 and greatest."""
        flat: dict[str, Any] = {}
        for name, value in numbers.items():
            if isinstance(value, list):
                flat |= spread(name, value)
            elif not self.is_quiet or isinstance(value, Verdict):
                flat[name] = value
        if not flat:
            return
        row = self.found.setdefault(f"{fault}{QUIET if self.is_quiet else ''}", {})
        row.setdefault("load", round(os.getloadavg()[0], 1))
        row.update(flat)
        if self.path is not None:
            before = json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}
            self.path.write_text(json.dumps({**before, **self.found}, indent=1), encoding="utf-8")

    def within(self, fault: str, goals: dict[str, float], **numbers: list[float]) -> None:
        """Times of one fault, and which goals they reach: {"ready_s_max": 2.0}.

        A time that another program's work can spoil fails no test. It counts where nothing else
        runs, so only there (``is_quiet``) the row says "reached" or "not reached".
        """
        self.add(fault, **numbers)
        measured = {
            k: v for name, values in numbers.items() for k, v in spread(name, values).items()
        }
        for name, limit in goals.items():
            found = measured[name]  # a goal of what was not measured is a fault of the test
            if self.is_quiet:
                self.add(fault, **{f"goal_{name}": Verdict.of(found, limit)})


class Verdict(str):
    """Whether a time is within its goal, in words for the table; kept in quiet rows, too."""

    __slots__ = ()

    @classmethod
    def of(cls, found: float, limit: float) -> Verdict:
        return cls(f"<= {limit:g} {'reached' if found <= limit else 'not reached'}")


def spread(name: str, values: list[float]) -> dict[str, float | int]:
    """n, median, p99 and greatest of a list."""
    if not values:
        return {f"{name}_n": 0}
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]
    return {
        f"{name}_n": len(ordered),
        f"{name}_median": round(statistics.median(ordered), 6),
        f"{name}_p99": round(p99, 6),
        f"{name}_max": round(ordered[-1], 6),
    }


def pause_for(seconds: float, unless: Callable[[], object]) -> bool:
    """Wait, and give up waiting when something happens; whether it did."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if unless():
            return True
        time.sleep(min(0.02, max(0.0, limit - time.monotonic())))
    return False
