"""What starting costs: loading the extension, and the time from a cell to its first measured value."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import Figure, alternate

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


def first_value_ms(net: Any, data: Any, home: Path, *, is_warm: bool) -> float:
    """From the call to the first point in the record."""
    import nbautoml
    from nbautoml.engine import client
    from nbautoml.store import Home

    client.forget_warm()
    if is_warm:
        client.preheat(Home(home))
        time.sleep(8)  # a person reads the notebook meanwhile
    begin = time.perf_counter()
    run = nbautoml.tune(net, data=data, trials=2, epochs=50, lr=0.01, home=home, stopper="none")
    with run.folder.reader() as reader:
        while not len(reader.points()):
            time.sleep(0.005)
    spent = (time.perf_counter() - begin) * 1000
    run.stop()
    run.wait()
    return spent


def measure(*, is_quick: bool) -> list[Figure]:
    import torch
    from models import Mlp, digits

    torch.set_num_threads(1)
    repeats = 2 if is_quick else 5
    loads = {name: (lambda way=way: load_ms(*way)) for name, way in WAYS.items()}
    found = [Figure("loading", "ms", alternate(loads, repeats=repeats, n_warm=1))]
    with tempfile.TemporaryDirectory() as place:
        starts = {
            "warm runner": lambda: first_value_ms(Mlp, digits(), Path(place), is_warm=True),
            "cold": lambda: first_value_ms(Mlp, digits(), Path(place), is_warm=False),
        }
        found.append(
            Figure(
                "call to first value in the record",
                "ms",
                alternate(starts, repeats=2 if is_quick else 3),
                "warm <= 500, cold <= 4000",
            )
        )
    return found
