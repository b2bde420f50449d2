"""Kernels that die, end and restart while their runs go on (F3, F4), and edited cells (F17, F37)."""

from __future__ import annotations

import shutil
import time

import pytest
from engine_runs import family, state_of, supervisor_pid, until, wait_for_end
from fault_kernel import NOTARISED, TUNE, begin_run, our_processes, started_kernel
from fault_runs import (
    OBJECTIVE,
    check_nothing_lost,
    check_what_was_told,
    n_points,
    rng,
    wait_until_gone,
)

pytestmark = pytest.mark.timeout(7200 if n_points(0) else 300)


def test_f3_a_killed_kernel_costs_its_run_nothing(kernels, home, acked, tmp_path, figures):
    generator, n_kills, n_trials = rng("F3"), 0, 24
    for _ in range(n_points(1)):
        acked.clear()
        kernel = started_kernel(tmp_path, NOTARISED)
        kernels.append(kernel)
        folder = begin_run(kernel, home, n_trials)
        time.sleep(generator.uniform(0, 1.5))
        kernel.kill()
        n_kills += 1
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, n_trials)
        assert {row.attempt for row in rows} == {1}
    other = started_kernel(tmp_path, "import nbautoml; hills = nbautoml.load('hills')")
    kernels.append(other)
    assert other.value("hills.state, len(hills.trials)") == f"finished {n_trials}"
    best = min(row.value for row in rows)
    assert float(other.value("hills.best.value")) == pytest.approx(best)
    figures.add("F3", kills=n_kills, lost=0, doubled=0, stuck=0)


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden: Int(8, 32) = 16):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.mark.nightly
def test_f3_a_kernel_killed_in_the_middle_of_a_training_costs_it_nothing(
    kernels, home, acked, tmp_path, monkeypatch, figures
):
    monkeypatch.delenv("NBAUTOML_TEST_LIGHT")
    generator, killed_at, n_epochs = rng("F3 torch"), [], 40
    line = f"%%automl tune digits --data digits --trials 2 --workers 1 --epochs {n_epochs} --stopper none"
    for _ in range(max(1, n_points(1) // 4)):
        acked.clear()
        kernel = started_kernel(tmp_path, NOTARISED)
        kernels.append(kernel)
        kernel.run(line + NET)
        folder = home.find("digits")
        epoch = generator.randint(1, n_epochs - 1)

        def come_so_far(folder=folder, epoch=epoch):
            with folder.reader() as reader:
                rows = reader.trials()
            return rows[0].epoch if rows and rows[0].epoch >= epoch else None

        killed_at.append(until(come_so_far, what=f"epoch {epoch}") / n_epochs)
        kernel.kill()
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, 2)
        assert [(row.state, row.attempt) for row in rows] == [("complete", 1)] * 2
        with folder.reader() as reader:
            for number in (0, 1):
                epochs = reader.points(trial=number, name="accuracy").epochs
                assert epochs == list(range(1, n_epochs + 1))
    figures.add("F3 torch", kills=len(killed_at), lost=0, killed_at_part_of_training=killed_at)


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["shutdown", "restart"])
def test_f4_a_kernel_that_ends_on_purpose_leaves_a_run_to_resume(kernel, home, acked, how):
    folder = begin_run(kernel, home, 400)
    processes = family(supervisor_pid(folder))
    getattr(kernel, how)()
    until(lambda: state_of(folder) == "interrupted", what="the interruption")
    wait_until_gone(processes)
    if how == "restart":
        said = kernel.run("%load_ext nbautoml")
        assert "%automl resume hills" in "".join(item.get("text", "") for item in said)
        kernel.run(NOTARISED + "\nimport nbautoml\nhills = nbautoml.load('hills').resume()")
        assert kernel.value("hills.state") == "running"
        kernel.run("hills.stop()")
        assert wait_for_end(folder) == "stopped"


WAYS = ("restart now", "shutdown", "stop", "restart", "shutdown now")


@pytest.mark.timed
def test_f4_stops_and_restarts_at_any_moment_leave_no_process(
    kernels, home, acked, tmp_path, figures
):
    generator, gone_s = rng("F4"), []
    goal = max(3, n_points(0) // 2)
    kernels.append(started_kernel(tmp_path, NOTARISED))
    for n in range(goal):
        way, kernel = WAYS[n % len(WAYS)], kernels[-1]
        acked.clear()
        kernel.begin(TUNE.format(n=4000) + OBJECTIVE)
        time.sleep(generator.uniform(0, 2.0))  # the moment may lie inside the cell, too
        if way.startswith("restart"):
            kernel.restart(now=way.endswith("now"))
        elif way.startswith("shutdown"):
            kernel.shutdown(now=way.endswith("now"))
            kernels.append(started_kernel(tmp_path, NOTARISED))
        kernel = kernels[-1]
        kernel.run("%reload_ext nbautoml")
        kernel.run(NOTARISED)
        # Killed kernels ("now") leave a run that goes on, until somebody says stop.
        if any(info.state in {"queued", "running"} for info in home.runs()):
            kernel.run("%automl stop hills", may_fail=not way.startswith("stop"))
        begin = time.perf_counter()
        left = our_processes(home.path, wait_s=10.0)
        assert not left, f"after {way}: {[process.cmdline() for process in left]}"
        gone_s.append(time.perf_counter() - begin)
        for info in home.runs():
            assert not info.problem
            assert info.state in {"queued", "interrupted", "stopped"}, way
            folder = home.find(info.id)
            check_what_was_told({row.number: row for row in rows_of(folder)}, acked)
            shutil.rmtree(folder.path)
    figures.add("F4", stops_and_restarts=goal, orphans=0)
    figures.within("F4", {"all_gone_s_max": 10.0}, all_gone_s=gone_s)


def rows_of(folder):
    with folder.reader() as reader:
        return reader.trials()


@pytest.mark.nightly
def test_f4_a_detached_run_goes_on_when_its_kernel_ends(kernel, home, acked):
    folder = begin_run(kernel, home, 60, "--detach")
    supervisor_pid(folder)
    kernel.shutdown()
    assert wait_for_end(folder) == "finished"
    check_nothing_lost(folder, acked, 60)


@pytest.mark.nightly
def test_f17_a_cell_edited_during_a_run_changes_only_the_next_run(kernel, home, acked):
    kernel.run("def shift():\n    return 0.0")
    cell = OBJECTIVE.replace("value = (x - 2) ** 2", "value = (x - 2) ** 2 + shift()")
    kernel.run(TUNE.format(n=30) + cell)
    first = home.find("hills")
    kernel.run("def shift():\n    return 1000.0")
    kernel.run(TUNE.format(n=4).replace("hills", "mounts") + cell)
    second = home.find("mounts")
    assert wait_for_end(first) == wait_for_end(second) == "finished"
    values = []
    for folder in (first, second):
        with folder.reader() as reader:
            values.append([row.value for row in reader.trials()])
    assert max(values[0]) < 1000 <= min(values[1])
    assert first.recipe().target.capsule_hash != second.recipe().target.capsule_hash
    said = kernel.run("%automl compare hills mounts")
    assert "1000.0" in str([item.get("data") for item in said])


@pytest.mark.nightly
def test_f37_the_same_name_twice_never_makes_two_runs_in_one(kernel, home, acked):
    folder = begin_run(kernel, home, 200)
    supervisor_pid(folder)
    again = kernel.run(TUNE.format(n=5) + OBJECTIVE, may_fail=True)
    text = "\n".join("\n".join(item.get("traceback", [])) for item in again)
    assert "hills_2" in text
    assert len(home.runs()) == 1
    kernel.run("hills.stop()")
    assert wait_for_end(folder) == "stopped"
    kernel.run(TUNE.format(n=5) + OBJECTIVE)
    newest = home.find("hills")
    assert newest.id != folder.id
    assert wait_for_end(newest) == "finished"
    with folder.reader() as old, newest.reader() as new:
        assert (old.run().state, len(new.trials())) == ("stopped", 5)
