"""Beside the rivals: what a kill -9 costs Optuna's storages, and the table of all faults: ``make test-faults``.

::

    python benchmarks/faults.py [--points 60] [--seconds 270] [--out benchmarks] [--alone]

Reads ``faults.json`` as tests/faults left it, adds the rivals under the same bullets (a process
that optimises and is killed at seeded moments, with its own log of what `tell` acknowledged), and
writes it again, with ``faults.md`` beside it. Each rival is killed ``--points`` times, or as often as
fits into ``--seconds``; the table says how often it was. With ``--alone`` only the times go into the
table, in rows of their own (``make test-faults-times``: nothing else should run then).
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import ModuleType

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

READY_LIMIT_S = 30.0
BUSY_LOAD = 4.0  # with two cores; a test itself makes some 2
WAYS = ("Optuna, RDB on SQLite", "Optuna, journal file")

# What is killed: a loop as in Optuna's own examples; tell is acknowledged in a file of its own.
LOOP = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from faults import storage_of
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="s", storage=storage_of(sys.argv[2], sys.argv[3]))
acks = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
while True:
    trial = study.ask()
    x = trial.suggest_float("x", -5, 5)
    for step in range(3):
        time.sleep(0.01)
        trial.report((x - 2) ** 2 + 1 / (step + 1), step)
    study.tell(trial, (x - 2) ** 2)
    os.write(acks, f"{trial.number} {(x - 2) ** 2!r}\\n".encode())
    os.fsync(acks)
"""


def storage_of(way: str, folder: str) -> RDBStorage | JournalStorage:
    """The rival's storage in a folder."""
    if way == WAYS[0]:
        return RDBStorage(f"sqlite:///{folder}/optuna.db")
    return JournalStorage(JournalFileBackend(f"{folder}/optuna.log"))


def start(way: str, folder: str, acks: Path) -> tuple[subprocess.Popen[str], bool]:
    """Begin the loop; whether it was ready before `READY_LIMIT_S` (a lock may have been left behind)."""
    words = [str(Path(__file__).parent), way, folder, str(acks)]
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_LIMIT_S)
    return process, bool(readable and process.stdout.readline())


def killed(way: str, n_points: int, limit_s: float) -> dict[str, object]:
    """Kill the loop at seeded moments; count what is lost, doubled and stuck afterwards."""
    generator, ready, n_deaf, n_kills, n_idle = random.Random("rivals"), [], 0, 0, 0
    load, until = os.getloadavg()[0], time.monotonic() + limit_s
    with tempfile.TemporaryDirectory() as folder:
        acks = Path(folder) / "acks"
        acks.touch()
        optuna.create_study(study_name="s", storage=storage_of(way, folder))
        while n_kills < n_points and time.monotonic() < until:
            begin, n_told = time.perf_counter(), acks.stat().st_size
            process, is_ready = start(way, folder, acks)
            if is_ready:
                ready.append(time.perf_counter() - begin)
                time.sleep(generator.uniform(0, 1.5))
            n_deaf += not is_ready
            # Waiting for a lock that was left behind, or killed before its first trial was over.
            n_idle += acks.stat().st_size == n_told
            n_kills += 1
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        try:
            trials = optuna.load_study(study_name="s", storage=storage_of(way, folder)).trials
        except Exception as error:
            return {"kills": n_kills, "unreadable": f"{type(error).__name__}: {error}"[:200]}
        values = {trial.number: trial.value for trial in trials if trial.value is not None}
        told = [line.split() for line in acks.read_text().splitlines()]
        lost = sum(values.get(int(number)) != float(value) for number, value in told)
        stuck = sum(trial.state == TrialState.RUNNING for trial in trials)
    return {
        "kills": n_kills,
        "load": round(load, 1),
        "trials": len(values),
        "lost": lost,
        "doubled": len(told) - len({number for number, _ in told}),
        "stuck": stuck,
        "not_ready_after_30_s": n_deaf,
        "lives_without_a_trial": n_idle,
        **support("fault_runs").spread("ready_s", ready),
    }


def support(name: str) -> ModuleType:
    """A module of tests/support; loaded when needed, for the loop that is killed imports this file."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    return importlib.import_module(name)


def index() -> list[str]:
    """Which tests hold which fault, as lines of Markdown."""
    lines = [
        "",
        "## Which tests hold what",
        "",
        "| | fault | tests | left open |",
        "|---|---|---|---|",
    ]
    for fault, row in support("fault_index").INDEX.items():
        files = dict.fromkeys(node.partition("::")[0] for node in row.tests)
        told = ", ".join(
            f"{file.removeprefix('tests/')} ({sum(node.startswith(file + '::') for node in row.tests)})"
            for file in files
        )
        lines.append(f"| {fault} | {row.what} | {told or '-'} | {row.open} |")
    return lines


def in_order(name: str) -> tuple[str, int, str]:
    """F2 before F10."""
    digits = "".join(itertools.takewhile(str.isdigit, name[1:]))
    return (name[0], int(digits), name) if digits else ("~", 0, name)


def table(found: dict[str, dict[str, object]], note: str = "") -> str:
    """All figures as Markdown, with a remark on how they were come by."""
    quiet = str(support("fault_runs").QUIET)
    lines = [
        "# What was survived",
        "",
        (
            f"Written by `make test-faults`. {os.cpu_count()} cores, Python {sys.version.split()[0]}, "
            f"Optuna {optuna.__version__}. `kills` is the number of points of a test; seeds and method "
            "stand in `tests/faults` and `benchmarks/faults.py`. `load` is the machine's when the row "
            f"was written; where it is over {BUSY_LOAD} the times are marked *busy*: other work "
            "shared the cores. Times that count are in the second table."
        ),
        *(["", note] if note else []),
        *_rows({k: v for k, v in found.items() if not k.endswith(quiet)}, "fault"),
        "",
        "## Times, with nothing else running",
        "",
        (
            "Written by `make test-faults-times`: fewer points, only what is a time. Seconds. A goal that is "
            "not reached is told here, and fails no test."
        ),
        *_rows(
            {k.removesuffix(quiet): v for k, v in found.items() if k.endswith(quiet)}, "measured"
        ),
    ]
    return "\n".join([*lines, *index(), ""])


def _rows(found: dict[str, dict[str, object]], head: str) -> list[str]:
    lines = ["", f"| {head} | figures |", "|---|---|"]
    for name, figures in sorted(found.items(), key=lambda pair: in_order(pair[0])):
        is_busy = float(str(figures.get("load", 0))) > BUSY_LOAD
        told = ", ".join(
            f"{key.replace('_', ' ')} {value}" + (" *busy*" if is_busy and "_s_" in key else "")
            for key, value in figures.items()
        )
        lines.append(f"| {name} | {told} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--points", type=int, default=60, help="kills of each rival; 0 keeps their rows"
    )
    parser.add_argument("--seconds", type=float, default=270, help="at most, for each rival")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--alone", action="store_true", help="keep the times only, as rows apart")
    parser.add_argument("--note", default="", help="a remark for the table")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = asked.out / "faults.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for way in WAYS if asked.points else ():
        row = killed(way, asked.points, asked.seconds)
        if asked.alone:
            times = {key: row[key] for key in row if key == "load" or key.startswith("ready_s")}
            found[f"F2 {way}{support('fault_runs').QUIET}"] = times
        else:
            found[f"F2 {way}"] = row
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(found, asked.note)
    (asked.out / "faults.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
