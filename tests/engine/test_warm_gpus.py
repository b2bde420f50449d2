"""Which GPU a warm worker makes ready, and which run then gets it; no GPU is needed for it."""

from __future__ import annotations

import io
import json
import multiprocessing
import select
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbautoml.engine import devices, starting, supervisor
from nbautoml.engine.devices import Layout, count_gpus, is_without_gpus
from nbautoml.engine.printed import PrintedLines
from nbautoml.engine.process_pool import ProcessPool, _Worker
from nbautoml.engine.ready import has_data
from nbautoml.errors import RecipeError
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution, Target
from nbautoml.store import Home

READY, OPEN = "nbautoml.tune.ahead:make_ready", "nbautoml.tune.session:open_ahead"


class Heard(ProcessPool):
    """A pool whose workers are no processes: what they are sent is kept."""

    def __init__(self) -> None:
        super().__init__(Layout(devices=("cpu",), n_threads=1), run_folder=Path(), home_data=Path())
        self.ends, self.killed = {}, []

    def _spawn(self):
        ours, theirs = multiprocessing.Pipe()
        pid = len(self.ends) + 1
        process = SimpleNamespace(pid=pid, kill=lambda: self.killed.append(pid))
        worker = _Worker(process, ours, ours, PrintedLines(ours.fileno()), device="cpu")
        self._workers[pid], self.ends[pid] = worker, theirs
        return worker

    @property
    def heard(self):
        """Of each worker what it was told to do ahead, and on which device."""
        found = []
        for pid, pipe in self.ends.items():
            while has_data(pipe):
                message = json.loads(pipe.recv_bytes())
                assert message["type"] == "ahead"
                found.append((pid, message["handler"], message["device"]))
        return found


@pytest.fixture
def pool():
    return Heard()


@pytest.fixture
def warmed(pool, monkeypatch):
    """The pool, warmed up on a machine of so many GPUs."""

    def warm_up(n_gpus):
        monkeypatch.setattr(devices, "count_gpus", lambda: n_gpus)
        monkeypatch.setattr(devices, "is_without_gpus", lambda: n_gpus == 0)
        monkeypatch.setattr(supervisor, "is_without_gpus", lambda: n_gpus == 0)
        monkeypatch.setattr(supervisor, "rehearse", lambda: None)
        monkeypatch.setattr(select, "select", lambda *_: ([], [], []))
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert starting._warm_up(pool) is None
        return pool

    return warm_up


@pytest.mark.parametrize(("n_gpus", "heard"), [(0, []), (1, [(1, READY, "cuda:0")])])
def test_a_warm_worker_makes_the_first_gpu_ready_where_there_is_one(n_gpus, heard, warmed):
    assert warmed(n_gpus).heard == heard


@pytest.fixture
def run(runs):
    """A run that was submitted, and that nobody owns yet."""

    def make(role="module", n_trials=4, **execution):
        recipe = runs.recipe(
            data=None, target=Target(role=role, symbol="Net", capsule_hash=""),
            execution=Execution(**execution), budget=Budget(n_trials=n_trials),
        )  # fmt: skip
        return runs.home.create_run(recipe, None)

    return make


def home_of(folder):
    return Home(folder.path.parents[1])


@pytest.mark.parametrize("asked", ["auto", "cuda", "cuda:0"])
def test_a_run_that_begins_on_that_gpu_gets_its_worker(asked, warmed, run):
    pool = warmed(2)
    supervisor._open_ahead(home_of(folder := run(device=asked)), folder, pool)
    assert pool.heard == [(1, READY, "cuda:0"), (1, OPEN, "cuda:0")]
    assert pool.killed == []


@pytest.mark.parametrize(
    ("how", "opened"),
    [
        ({"device": "cpu"}, [(2, OPEN, "cpu")]),
        ({"device": "cuda:1"}, [(2, OPEN, "cuda:1")]),
        ({"device": "cuda:0", "deterministic": True}, [(2, OPEN, "cuda:0")]),
        ({"device": "auto", "role": "objective"}, []),
        ({"device": "cuda:7"}, []),  # not there: the run tells it
        ({"device": "cuda:first"}, []),
        ({"device": "mps"}, []),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_other_runs_get_a_worker_that_was_on_no_gpu(how, opened, warmed, run):
    pool = warmed(2)
    supervisor._open_ahead(home_of(folder := run(**how)), folder, pool)
    assert pool.heard == [(1, READY, "cuda:0"), *opened]
    assert pool.killed == [1]
    assert pool.n_free == 1
    assert [worker.pid for worker in pool._waiting] == [2]


@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_without_gpus_all_is_as_it_was(asked, warmed, run):
    pool = warmed(0)
    supervisor._open_ahead(home_of(folder := run(device=asked)), folder, pool)
    assert pool.heard == [(1, OPEN, "cpu")]
    assert pool.killed == []


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver's tool of this test's own: what it says is written here, and how often it was asked."""
    tool, said, asked = (tmp_path / name for name in ("nvidia-smi", "said", "asked"))
    tool.write_text(f'#!/bin/sh\necho "$1" >> {asked}\ncat {said}\n')
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return SimpleNamespace(said=said, n_asked=lambda: len(asked.read_text().splitlines()))


def test_the_drivers_tool_is_asked_once_and_the_environment_each_time(driver, monkeypatch):
    driver.said.write_text("GPU 0: one (UUID: a)\nGPU 1: another (UUID: b)\n")
    assert not is_without_gpus()
    assert (count_gpus(), count_gpus(), driver.n_asked()) == (2, 2, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert count_gpus() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert count_gpus() == 0
    assert is_without_gpus()


def test_a_driver_that_fails_is_asked_again(driver):
    assert count_gpus() == 0  # there is nothing to say yet
    driver.said.write_text("GPU 0: one (UUID: a)\n")
    assert count_gpus() == 1


@pytest.mark.parametrize(
    ("said", "is_warmed"),
    [("Default\nDefault\n", True), ("Default\nExclusive_Process\n", False), (None, False)],
    ids=["shared", "for one process", "no answer"],
)
def test_a_gpu_that_one_process_has_for_itself_is_left_alone(
    warmed, monkeypatch, tmp_path, said, is_warmed
):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{said}'\n" if said else "#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert bool(warmed(2).heard) == is_warmed


def test_a_run_whose_device_is_not_there_fails_and_says_so(run):
    folder = run(device="cuda:7")
    with pytest.raises(RecipeError, match="cuda:7"), supervisor._opened(folder):
        raise AssertionError("nobody owns a run that cannot begin")
    with folder.reader() as reader:
        info = reader.run()
    assert info.state == "failed"
    assert "device 'cuda:7' was asked for" in info.message
    assert "--device cpu" in info.message
