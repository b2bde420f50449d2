"""The user's code misbehaves: one trial of it, and the others go on (F9, F11, F13, F14, F16, F20, F21)."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass

import psutil
import pytest
from engine_runs import Runs, family, state_of, supervisor_pid, until, wait_for_end
from fault_runs import objective_words, wait_until_gone

from nbautoml.engine import client
from nbautoml.errors import CapsuleError, NbAutomlError
from nbautoml.events import CancelTrial, Stop
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution


@dataclass(frozen=True)
class Case:
    """What trial 0 does, and what its row says then; the others must complete."""

    name: str
    code: str
    state: str = "failed"
    says: str = ""


CASES = [
    Case("an exception", "raise ValueError('no good')", says="ValueError: no good"),
    Case("an exit", "import sys; sys.exit(3)", says="SystemExit: 3"),
    Case("an exit of the process", "import os; os._exit(0)", says="exit code 0"),
    Case("a crash in native code", "import ctypes; ctypes.string_at(0)", says="SIGSEGV"),
    Case("an abort", "import os; os.abort()", says="SIGABRT"),
    Case("an interrupt", "raise KeyboardInterrupt", says="KeyboardInterrupt"),
    Case("too much memory", "raise MemoryError('of 1 TB')", says="MemoryError: of 1 TB"),
    Case(
        "an address space that ends",
        "import resource; size = 2**20 * 600\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))\n"
        "try: bytearray(2**33)\n"
        "finally: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)",
        says="MemoryError",
    ),
    Case(
        "an error of 50 MB",
        "raise ValueError('é漢\\U0001f600' * 12_000_000)",
        says="ValueError: é漢",
    ),
    Case(
        "an error with a lone surrogate", "raise ValueError('a\\ud800\\x00b')", says="ValueError: a"
    ),
    Case(
        "an error that cannot be told",
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError('no text')\nraise Mute",
        says="Mute",
    ),
    Case("deep recursion", "def deep(): return deep()\ndeep()", says="RecursionError"),
    Case("NaN", "return float('nan')", says="NaN"),
    Case("no number", "return 'high'", says="could not convert string"),
    Case("nothing", "return None", says="NoneType"),
    Case(
        "another folder",
        "import os, shutil, tempfile\n"
        "place = tempfile.mkdtemp(); os.chdir(place); shutil.rmtree(place)",
        state="complete",
    ),
    Case(
        "threads that stay",
        "import threading, time\n"
        "[threading.Thread(target=time.sleep, args=(600,)).start() for _ in range(20)]",
        state="complete",
    ),
    Case(
        "closed output",
        "import os, sys\nsys.stdout.close(); os.close(1); os.close(2)",
        state="complete",
    ),
    Case(
        "no signal handlers",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "complete",
    ),
    Case("an odd environment", "import os; os.environ.clear()", state="complete"),
    Case("odd warnings", "import warnings; warnings.simplefilter('error')", state="complete"),
    Case("a patched json", "import json; json.dumps = json.loads = None", state="complete"),
]


def source_of(case: Case) -> str:
    body = textwrap.indent(case.code, " " * 8)
    return (
        "def objective(trial):\n"
        "    x = trial.suggest_float('x', -5, 5)\n"
        "    trial.report(x, 1)\n"
        f"    if trial.number == 0:\n{body}\n"
        "    return x\n"
    )


def trials_of(folder):
    with folder.reader() as reader:
        return reader.trials()


@pytest.mark.nightly
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_f9_f21_one_trial_misbehaves_and_the_others_complete(runs, acked, light, case):
    words = objective_words(4, execution=Execution(n_workers=1))
    folder = runs.submit(source_of(case), **words)
    assert wait_for_end(folder) == "finished"
    first, *others = trials_of(folder)
    assert first.state == case.state, first.error
    assert case.says in first.error
    assert len(first.error) < 5000
    assert len(first.traceback) < 50_000
    assert [row.state for row in others] == ["complete"] * 3


@pytest.mark.nightly
def test_f21_a_gigabyte_of_prints_is_bounded_and_costs_no_memory(runs, acked, light):
    case = Case(
        "prints",
        "line = 'x' * 999\nimport sys\nfor _ in range(1_000_000): sys.stdout.write(line + chr(10))",
    )
    folder = runs.submit(source_of(case), **objective_words(2, execution=Execution(n_workers=1)))
    supervisor = psutil.Process(supervisor_pid(folder))
    peak = 0

    def is_over() -> bool:
        nonlocal peak
        if supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
            peak = max(peak, supervisor.memory_info().rss)
        return state_of(folder) == "finished"

    until(is_over, what="the end")
    assert peak < 400e6
    size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
    assert size < 5e6
    with folder.reader() as reader:
        assert any("left out" in line.text for line in reader.logs())


@pytest.mark.nightly
def test_f9_a_trial_that_holds_the_lock_of_python_is_cancelled_all_the_same(runs, acked, light):
    case = Case("gil", "import ctypes; ctypes.PyDLL(None).sleep(600)")
    folder = runs.submit(source_of(case), **objective_words(3, execution=Execution(n_workers=1)))
    until(lambda: len(trials_of(folder)[0:1]) and trials_of(folder)[0].epoch == 1, what="trial 0")
    client.send(folder, CancelTrial(trial=0))
    assert wait_for_end(folder) == "finished"
    assert [row.state for row in trials_of(folder)] == ["cancelled", "complete", "complete"]


@pytest.mark.nightly
def test_f9_a_run_whose_trial_holds_the_lock_of_python_is_stopped(runs, acked, light):
    case = Case("gil", "import ctypes; ctypes.PyDLL(None).sleep(600)")
    folder = runs.submit(source_of(case), **objective_words(3, execution=Execution(n_workers=1)))
    until(lambda: trials_of(folder) and trials_of(folder)[0].epoch == 1, what="trial 0")
    processes = family(supervisor_pid(folder))
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


@pytest.mark.nightly
def test_f9_processes_that_a_trial_left_behind_end_with_the_run(runs, acked, light, tmp_path):
    case = Case(
        "children",
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))",
    )
    folder = runs.submit(source_of(case), **objective_words(2, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "finished"
    pid = int((tmp_path / "child").read_text())
    until(lambda: not psutil.pid_exists(pid), what="the end of what the trial had started")


def test_f14_the_same_error_three_times_ends_the_run_with_one_message_and_its_line(
    runs, acked, light
):
    source = (
        "def helper(x):\n"
        "    return 1 / 0  # the line\n"
        "def objective(trial):\n"
        "    return helper(trial.suggest_float('x', 0, 1))\n"
    )
    folder = runs.submit(source, **objective_words(50, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "failed"
    rows = trials_of(folder)
    assert len(rows) == 3
    assert "return 1 / 0  # the line" in rows[0].traceback
    assert "nbautoml/tune" not in rows[0].traceback
    with folder.reader() as reader:
        said = reader.run().message
    assert said == "the same error 3 times in a row: ZeroDivisionError: division by zero"


def test_f21_reports_that_nobody_asks_about_are_all_kept_and_no_answer_goes_astray(
    runs, acked, light
):
    source = (
        "def objective(trial):\n"
        "    for step in range(1, 1001):\n"
        "        trial.report(float(trial.number), step)\n"
        "        if trial.number >= 6 and trial.should_prune():\n"
        "            return step\n"
        "    if trial.number == 5:\n"
        "        raise KeyboardInterrupt\n"
        "    return 0.0\n"
    )
    words = objective_words(7, execution=Execution(n_workers=1), stopper="median")
    folder = runs.submit(source, **words)
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert [row.state for row in rows] == ["complete"] * 5 + ["failed", "complete"]
    # Worse than the median of five, by its own first report and not by an older trial's answer.
    assert rows[6].value == 1.0
    with folder.reader() as reader:
        for number in range(6):
            assert reader.points(trial=number, name="value").epochs == list(range(1, 1001))


def test_f11_a_trial_that_returns_nan_fails_and_is_never_best(runs, acked, light):
    source = (
        "def objective(trial):\n"
        "    x = trial.suggest_float('x', 0, 1)\n"
        "    return {0: float('nan'), 1: float('inf'), 2: float('-inf')}.get(trial.number, x)\n"
    )
    folder = runs.submit(source, **objective_words(8, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert [row.state for row in rows[:3]] == ["failed"] * 3
    assert [row.error.split()[-1] for row in rows[:3]] == ["NaN", "inf", "-inf"]
    assert [row.state for row in rows[3:]] == ["complete"] * 5
    from nbautoml.api.run import Run

    best = Run(folder, runs.home).best
    assert best.number >= 3
    json.dumps([row.value for row in rows[3:]], allow_nan=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("an open file", "__import__('sys').__stdout__"),
        ("a lock", "__import__('threading').Lock()"),
    ],
)
def test_f16_what_cannot_travel_is_named_when_the_run_is_submitted(runs, name, value):
    source = (
        f"held = {value}\n"
        "def objective(trial):\n"
        "    return trial.suggest_float('x', 0, 1) + len(str(held))\n"
    )
    with pytest.raises(CapsuleError, match="held") as caught:
        runs.submit(source, **objective_words(2))
    assert caught.value.hint
    assert not runs.home.runs()


@pytest.mark.nightly
def test_f20_a_run_without_any_value_names_the_reason(runs, acked, light):
    from nbautoml.api.run import Run

    source = "def objective(trial):\n    raise ValueError(f'no {trial.number}')\n"
    folder = runs.submit(source, **objective_words(3, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "failed"
    with pytest.raises(
        NbAutomlError, match="3 of 3 failed, the last with: ValueError: no 2"
    ) as told:
        _ = Run(folder, runs.home).best
    assert "traceback" in told.value.hint


@pytest.mark.nightly
@pytest.mark.parametrize("does_report", [True, False])
def test_f20_a_run_whose_trials_were_all_pruned_says_so(runs, acked, light, does_report):
    from nbautoml.api.run import Run
    from nbautoml.widgets.snapshot import build_snapshot
    from nbautoml.widgets.static import to_text

    source = (
        "def objective(trial):\n"
        "    import optuna\n"
        "    x = trial.suggest_float('x', 0, 1)\n"
        f"    {'trial.report(x, 1)' if does_report else 'pass'}\n"
        "    raise optuna.TrialPruned\n"
    )
    folder = runs.submit(source, **objective_words(4, execution=Execution(n_workers=1)))
    state, run = wait_for_end(folder), Run(folder, runs.home)
    panel = to_text(build_snapshot(folder))
    assert "4 stopped early" in panel
    if does_report:  # what was reported last is their value
        assert state == "finished"
        assert f"best value {run.best.value:.4g}" in panel
    else:
        assert state == "failed"
        assert "all 4 were stopped early or cancelled before they had a value" in panel
        with pytest.raises(NbAutomlError, match="no trial of run") as told:
            _ = run.best
        assert "4 trials are stopped_early" in told.value.message


@pytest.mark.nightly
@pytest.mark.parametrize("victim", ["run", "home"])
def test_f21_code_that_deletes_its_runs_folder_ends_the_run(tmp_path, acked, light, victim):
    runs = Runs(tmp_path)
    place = f"{str(runs.home.path)!r} + '/runs'" if victim == "run" else repr(str(runs.home.path))
    source = (
        "def objective(trial):\n"
        "    import shutil, time\n"
        "    x = trial.suggest_float('x', 0, 1)\n"
        "    if trial.number == 2:\n"
        f"        shutil.rmtree({place}, ignore_errors=True)\n"
        "    time.sleep(0.05)\n"
        "    return x\n"
    )
    folder = runs.submit(source, **objective_words(500, execution=Execution(n_workers=2)))
    processes = family(supervisor_pid(folder))
    wait_until_gone(processes)
    with pytest.raises(NbAutomlError, match="not there"):
        state_of(folder)
    assert runs.home.runs() == []


@pytest.mark.nightly
def test_f20_a_run_that_has_no_time_says_so(runs, acked, light):
    source = "def objective(trial):\n    return 1.0\n"
    folder = runs.submit(source, **objective_words(budget=Budget(n_trials=3, wall_seconds=1e-6)))
    assert wait_for_end(folder) == "failed"
    with folder.reader() as reader:
        assert "time" in reader.run().message


@pytest.mark.nightly
def test_f14_workers_of_a_data_loader_inside_an_objective_work_and_their_errors_are_told(runs):
    source = """
    def objective(trial):
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Rows(Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, i):
                if trial.number == 0 and i == 5:
                    raise ValueError("row five is bad")
                return torch.tensor([float(i)])

        x = trial.suggest_float("x", 0, 1)
        return x + sum(float(batch.sum()) for batch in DataLoader(Rows(), 2, num_workers=1))
    """
    folder = runs.submit(source, **objective_words(2, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "finished", [row.error for row in trials_of(folder)]
    first, second = trials_of(folder)
    assert "row five is bad" in first.error + first.traceback
    assert second.state == "complete", second.error


@pytest.mark.nightly
def test_f21_torch_that_one_run_patches_is_whole_in_the_next(runs):
    patched = """
    import torch
    from torch import nn

    def broken(*words, **more):
        raise RuntimeError("patched")

    class Net(nn.Module):
        def __init__(self, hidden=8):
            super().__init__()
            torch.nn.Linear.forward = broken
            torch.nn.functional.cross_entropy = broken
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            return self.layer(x)
    """
    first = runs.submit(patched, budget=Budget(n_trials=3))
    assert wait_for_end(first) == "failed"
    assert "patched" in trials_of(first)[0].error
    second = runs.submit(budget=Budget(n_trials=1))
    assert wait_for_end(second) == "finished"
    assert os.getpid() != trials_of(second)[0].worker
