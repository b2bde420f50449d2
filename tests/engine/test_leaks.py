"""What a run leaves behind in the process that started it: nothing, whatever trained its trials."""

from __future__ import annotations

import gc
import threading

import psutil
import pytest
from engine_runs import our_processes, wait_for_end

from nbautoml.engine import client
from nbautoml.spec import Budget, Float, Space
from nbautoml.spec.recipe import Execution

SPACE = Space({"lr": Float(1e-3, 1e-2, log=True)})


def held() -> dict[str, int]:
    """Threads and open files of this process, and processes of runs under it."""
    own = psutil.Process()
    gc.collect()
    return {
        "threads": len(threading.enumerate()),
        "processes": len(our_processes()),
        "files": own.num_fds(),
    }


def train(runs, executor):
    before = our_processes()
    folder = runs.submit(
        space=SPACE,
        fixed={"epochs": 1},
        budget=Budget(n_trials=4),
        execution=Execution(executor=executor, n_workers=1),
    )
    assert wait_for_end(folder) == "finished"
    client.forget_warm()
    psutil.wait_procs([p for p in our_processes() if p not in before], timeout=60)
    client.forget_warm()


@pytest.fixture(scope="module")
def warmed_up(shared):
    """All is loaded here that is loaded once: for training, and for watching others train."""
    for executor in ("inline", "process"):
        train(shared, executor)


@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="files are counted on POSIX")
@pytest.mark.parametrize("executor", ["inline", "process", "vectorized"])
def test_a_run_leaves_no_thread_process_or_open_file(warmed_up, runs, executor):
    before = held()
    train(runs, executor)
    assert held() == before
