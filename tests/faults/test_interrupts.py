"""SIGINT in a kernel (F5): whatever a cell was at, the prompt comes back and nothing is half made."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from engine_runs import state_of, wait_for_end
from fault_kernel import LINGER, NOTARISED, begin_run, interrupted
from fault_runs import OBJECTIVE, check_nothing_lost, n_points, rng

from nbautoml.engine import client

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200 if n_points(0) else 300)]


@pytest.mark.nightly
def test_f5_an_interrupt_gives_the_prompt_back_and_the_run_goes_on(kernel, home, acked):
    folder = begin_run(kernel, home, 60)
    reply, _ = interrupted(kernel, "hills.wait()", 0.3)
    assert reply["ename"] == "WaitingStopped"
    assert kernel.value("1 + 1") == "2"
    assert wait_for_end(folder) == "finished"
    check_nothing_lost(folder, acked, 60)


# Each phase of a cell's own work, made to last: `linger` is called in it.
NET = """
from torch import nn

{top}
class Net(nn.Module):
    def __init__(self, hidden: Int(8, 32) = 16):
        super().__init__()
        {init}
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        {forward}
        return self.layers(x)
"""
HEAD = "%%automl tune digits --data {data} --trials 2 --workers 1 --epochs 1\n"
PLAIN = {"data": "digits", "top": "", "init": "", "forward": ""}
PHASES = {
    "the cell's lines": {"top": "linger()"},
    "its space": {"top": "lr = Float(linger() or 1e-3, 1e-1)"},
    "its data": {"data": "linger()"},
    "the model's constructor, in the dry run": {"init": "linger()"},
    "the model's forward, in the dry run": {"forward": "linger()"},
}


def cell_of(**phase: str) -> str:
    return (HEAD + NET).format(**{**PLAIN, **phase})


@pytest.mark.timed
@pytest.mark.parametrize("phase", PHASES)
def test_f5_an_interrupt_of_a_cells_own_work_gives_the_prompt_back(
    kernel, home, tmp_path, figures, phase
):
    place = tmp_path / "lingers"
    kernel.run(LINGER.format(place=str(place)))
    reply, seconds = interrupted(kernel, cell_of(**PHASES[phase]), place.exists)
    figures.within(f"F5 in {phase}", {"prompt_back_s_max": 1.0}, prompt_back_s=[seconds])
    assert reply["ename"] == "KeyboardInterrupt"
    assert home.runs() == []
    assert kernel.value("1 + 1") == "2"
    kernel.run("import os; del os.environ['NBAUTOML_TEST_LIGHT']")  # this one needs torch
    kernel.run(cell_of())
    assert wait_for_end(home.find("digits")) == "finished"


def test_f5_an_interrupted_run_inside_the_kernel_is_kept_and_can_go_on(
    kernel, home, tmp_path, figures
):
    place = tmp_path / "lingers"
    cell = LINGER.format(place=str(place)) + (
        "def objective(trial):\n"
        "    x = trial.suggest_float('x', 0, 1)\n"
        "    return linger(x) if trial.number == 2 and not trial.user_attrs else x\n"
    )
    head = "%%automl tune hills --trials 4 --executor inline --minimize\n"
    reply, seconds = interrupted(kernel, head + cell, place.exists)
    assert reply["ename"] == "WaitingStopped"
    folder = home.find("hills")
    assert state_of(folder) == "interrupted"
    with folder.reader() as reader:
        rows = reader.trials()
    assert [row.state for row in rows[:3]] == ["complete", "complete", "waiting"]
    figures.add("F5 in a run inside the kernel", prompt_back_s=[seconds], lost=0)


@pytest.mark.timed
def test_f5_interrupts_at_any_moment_of_a_cell_leave_nothing_half_made(
    kernel, home, acked, figures
):
    generator, back, told = rng("F5"), [], Counter()
    head = "%%automl tune hills{n} --trials 2 --workers 1 --sampler random --minimize\n"
    kernel.run(head.format(n="") + OBJECTIVE)  # what a first cell loads
    begin = time.perf_counter()
    kernel.run(head.format(n="_timed") + OBJECTIVE)
    whole_s = (
        time.perf_counter() - begin
    )  # the moments are spread over all of a cell, and a little more
    goal = n_points(3)
    for n in range(goal):
        cell = NOTARISED + "\nhills = None" if n % 50 == 0 else "pass"
        kernel.run(cell)
        reply, seconds = interrupted(
            kernel, head.format(n=n) + OBJECTIVE, generator.uniform(0, 1.2 * whole_s)
        )
        back.append(seconds)
        told[reply["status"]] += 1
        if reply["status"] == "error":
            words = "\n".join(reply["traceback"])
            assert reply["ename"] in {"KeyboardInterrupt", "WaitingStopped"}, words
    assert kernel.value("1 + 1") == "2"
    n_runs = 0
    for info in home.runs():
        assert not info.problem
        n_runs += 1
        folder = home.find(info.id)
        if until_settled(folder) != "finished":  # its folder was made, and nobody told of it
            client.resume(home, folder)
        assert wait_for_end(folder) == "finished"
        with folder.reader() as reader:
            assert [row.state for row in reader.trials()] == ["complete"] * 2
    assert n_runs >= told["ok"]
    figures.add("F5", interrupts=goal, runs=n_runs, half_made=0)
    figures.within("F5", {"prompt_back_s_max": 1.0}, prompt_back_s=back)
    figures.add("F5", cells_done=told["ok"], cells_interrupted=told["error"])
    figures.add("F5", caught_by_ipykernel_and_not_answered=told["unanswered"])


def until_settled(folder) -> str:
    """The state of a run that goes on no more, or that nobody has taken for 10 seconds."""
    limit = time.monotonic() + 10
    while (state := state_of(folder)) in {"queued", "running"}:
        if state == "queued" and time.monotonic() > limit:
            break
        time.sleep(0.05)
    return state
