"""What starting costs: loading the extension, and the time from a cell to its first measured value."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Figure, Goal
from models import Mlp, digits
from ours import warmed
from turns import Clock, alternate

WARM, COLD = "nbautoml, warm runner", "nbautoml, cold"
LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begin = time.perf_counter()
{statement}
print(time.perf_counter() - begin)
assert {check}
"""
WAYS = {
    "%load_ext nbautoml": (
        "shell.run_line_magic('load_ext', 'nbautoml')",
        "'torch' not in sys.modules and 'optuna' not in sys.modules",
    ),
    "import ipywidgets": ("import ipywidgets", "True"),
    "import optuna": ("import optuna", "True"),
    "import torch": ("import torch", "True"),
}


def load_ms(statement: str, check: str) -> float:
    code = LOAD.format(statement=statement, check=check)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1]) * 1000


def first_value_ms(data: Any, home: Path, *, is_warm: bool) -> float:
    """From the call to the first point in the record: the first epoch's end, some 20 steps in."""
    import nbautoml
    from nbautoml.engine import client

    client.forget_warm()
    if is_warm:
        warmed(home)
    begin = time.perf_counter()
    run = nbautoml.tune(
        Mlp,
        data=data,
        space={"lr": nbautoml.Float(1e-4, 1e-1, log=True)},
        trials=2,
        epochs=50,
        batch_size=64,
        stopper="none",
        home=home,
    )
    with run.folder.reader() as reader:
        while not len(reader.points(limit=1)):
            if run.state not in {"queued", "running"}:
                raise RuntimeError(f"the run is {run.state} without a value: {run.message}")
            time.sleep(0.005)
    spent = (time.perf_counter() - begin) * 1000
    run.stop()
    run.wait(poll=0.02)
    return spent


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    repeats = 2 if is_quick else 5
    loads = {name: (lambda way=way: load_ms(*way)) for name, way in WAYS.items()}
    yield Figure(
        "starting: loading the extension",
        "ms",
        alternate(loads, repeats=repeats, n_warm=1, clock=clock),
        method="A new process with IPython each time; files are in the system's cache.",
    )
    data = digits()
    with tempfile.TemporaryDirectory() as place:
        starts = {
            WARM: lambda: first_value_ms(data, Path(place), is_warm=True),
            COLD: lambda: first_value_ms(data, Path(place), is_warm=False),
        }
        values = alternate(starts, repeats=repeats, clock=clock)
    yield Figure(
        "starting: call to first value",
        "ms",
        values,
        [Goal(500, way=WARM), Goal(4000, way=COLD)],
        method=(
            "From the call of tune to the first epoch's value in the record, 23 steps after the "
            "first step, whose time the record does not hold; MLP on digits."
        ),
    )
