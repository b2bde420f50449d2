"""What a cold run loads before its first trial, and in what order."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap

import pytest
from engine_runs import MLP, wait_for_end

from nbautoml.engine import client
from nbautoml.engine.forking import PRELOAD, worker_context
from nbautoml.spec import Budget, Space
from nbautoml.spec.recipe import Execution

# Each is loaded by nobody but who needs it: together they take as long as torch and the trainer.
NOT_NEEDED = ("torch._dynamo", "sympy", "torchmetrics", "sklearn", "scipy", "matplotlib", "pandas",
              "optuna", "sqlalchemy", "alembic", "onnx", "IPython")  # fmt: skip
TELLING = MLP.replace(
    "super().__init__()",
    textwrap.indent(
        textwrap.dedent(f"""\
        import gc, sys
        print("loaded", [name for name in {NOT_NEEDED} if name in sys.modules])
        print("garbage", gc.isenabled(), gc.get_freeze_count() > 100_000)
        super().__init__()"""),
        " " * 8,
    ).lstrip(),
)


@pytest.fixture(scope="module")
def told(shared) -> set[str]:
    """What a cold run's workers print while they build the module."""
    folder = shared.submit(TELLING, budget=Budget(n_trials=2), execution=Execution(n_workers=2))
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        return {line.text for line in reader.logs()}


def test_a_worker_has_loaded_only_what_a_fit_needs(told):
    assert [line for line in told if line.startswith("loaded")] == ["loaded []"]


def test_a_worker_looks_for_garbage_of_its_own_only(told):
    assert [line for line in told if line.startswith("garbage")] == ["garbage True True"]


def test_the_forkserver_begins_before_the_supervisor_loads_itself():
    code = (
        "import sys, nbautoml.engine.starting\n"
        "print([name for name in sys.modules if name.startswith('nbautoml.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) == {
        "nbautoml.engine",
        "nbautoml.engine.forking",
        "nbautoml.engine.guard",
        "nbautoml.engine.starting",
    }


@pytest.mark.parametrize(
    ("kind", "has_compiler"), [("tune", False), ("compress", True), ("warm", True)]
)
def test_the_compiler_is_loaded_once_for_all_where_exports_are_made(kind, has_compiler, asked):
    worker_context(kind)
    (names,) = asked
    assert set(PRELOAD) <= set(names)
    assert ("torch._dynamo" in names) == has_compiler
    assert ("torchmetrics.functional" in names) == (kind == "warm")


@pytest.fixture
def asked(monkeypatch) -> list[list[str]]:
    """What forkservers are asked to load; this process's own is left as it is."""
    found: list[list[str]] = []
    monkeypatch.setattr("multiprocessing.forkserver.set_forkserver_preload", found.append)
    return found


def test_a_cold_start_says_what_kind_of_run_it_is(runs, monkeypatch):
    started: list[list[str]] = []

    def start(words, **_how):
        started.append(words)
        nobody = subprocess.Popen([sys.executable, "-c", ""])
        nobody.wait()
        return nobody

    monkeypatch.setattr(client, "_popen", start)
    folder = runs.submit(kind="train", space=Space({}), fixed={"epochs": 2})
    (words,) = started
    assert words[words.index("--kind") + 1] == folder.recipe().kind == "train"


def test_importing_the_first_module_outside_a_forkserver_changes_nothing():
    code = "import gc, nbautoml.engine.loading; print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
