"""SIGINT while a kernel trains by itself (F5): in each phase, once and twice, the run is whole and goes on."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from engine_runs import state_of, until
from fault_kernel import LINGER, interrupted
from fault_runs import Acked, check_nothing_lost, n_points, rng

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200 if n_points(0) else 600)]

N_TRIALS, N_EPOCHS = 2, 20
NET = f"""
%%automl tune digits --data digits --trials {N_TRIALS} --epochs {N_EPOCHS} --executor inline --stopper none
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden: Int(8, 32) = 16):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)
""".strip()
# Before the call and after it: what lingers is a function of ours, replaced in the kernel.
SLOWED = """
import importlib
owner, name = importlib.import_module({module!r}), {name!r}
for part in name.split(".")[:-1]:
    owner = getattr(owner, part)
name, quick, n_left = name.split(".")[-1], None, [{nth}]
quick = getattr(owner, name)
def slow(*words, **more):
    if {when}:
        n_left[0] -= 1
        if n_left[0] == 0 and not {is_after}:
            linger()
    found = quick(*words, **more)
    if n_left[0] == 0 and {is_after} and {when}:
        linger()
    return found
setattr(owner, name, slow)
"""
ENDS = "any(type(event).__name__ == 'TrialEnded' for event in words[1])"
CHECKPOINTS = "words[2] == 'checkpoint'"
EAGER = """
from nbautoml.tune import checkpoints
checkpoints.Checkpoints.__init__.__kwdefaults__ |= {"share": 100.0, "least_s": 0.0}
"""
PHASES = {
    "the first epoch": ("nbautoml.tune.work", "Reporter.on_batch", "True", 1),
    "a report": ("nbautoml.tune.work", "Reporter.on_epoch", "True", 3),
    "a checkpoint": ("nbautoml.tune.checkpoints", "save_artifact", CHECKPOINTS, 2),
    "the end of a trial": ("nbautoml.store.writer", "Writer.apply", ENDS, 1),
}


def check_goes_on(kernel, home, acked: Acked) -> None:
    """The run is kept as interrupted, and its second life ends it whole."""
    folder = home.find("digits")
    assert state_of(folder) == "interrupted"
    kernel.run("import nbautoml; digits = nbautoml.load('digits').resume()")
    assert state_of(folder) == "finished"
    rows = check_nothing_lost(folder, acked, N_TRIALS)
    assert {row.state for row in rows} == {"complete"}
    with folder.reader() as reader:
        named = {row.path for row in reader.artifacts()}
    assert {path.name for path in folder.artifacts_dir.iterdir()} == named


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("phase", PHASES)
def test_f5_an_interrupt_in_a_phase_of_training_leaves_a_run_that_goes_on(
    kernel, home, acked, tmp_path, phase, is_after
):
    place = tmp_path / "lingers"
    module, name, when, nth = PHASES[phase]
    kernel.run(LINGER.format(place=str(place)) + EAGER)
    kernel.run(SLOWED.format(module=module, name=name, when=when, nth=nth, is_after=is_after))
    reply, _ = interrupted(kernel, NET, place.exists)
    assert reply["ename"] == "WaitingStopped"
    with home.find("digits").reader() as reader:
        assert not [row for row in reader.trials() if row.state == "running"]
    kernel.run("setattr(owner, name, quick)")
    check_goes_on(kernel, home, acked)


def test_f5_a_second_interrupt_while_the_first_is_obeyed_ends_at_once_and_loses_nothing(
    kernel, home, acked, tmp_path
):
    place = tmp_path / "lingers"
    kernel.run(LINGER.format(place=str(place)) + EAGER)
    # The first one comes in the first epoch, and what it asks for takes long.
    module, name, when, nth = PHASES["the first epoch"]
    kernel.run(SLOWED.format(module=module, name=name, when=when, nth=nth, is_after=False))
    second = tmp_path / "winds down"
    kernel.run(
        "import pathlib, time\n"
        "from nbautoml.engine.loop import RunLoop\n"
        "wind_down = RunLoop._wind_down\n"
        "def slowly(self, *words):\n"
        f"    pathlib.Path({str(second)!r}).touch()\n"
        "    time.sleep(600)\n"
        "    return wind_down(self, *words)\n"
        "RunLoop._wind_down = slowly"
    )

    def press_again() -> None:
        until(second.exists, what="the winding down")
        os.kill(kernel.pid, signal.SIGINT)

    presser = threading.Thread(target=press_again)
    presser.start()
    reply, _ = interrupted(kernel, NET, place.exists)
    presser.join()
    assert reply["ename"] in {"WaitingStopped", "KeyboardInterrupt"}
    kernel.run("setattr(owner, name, quick); RunLoop._wind_down = wind_down")
    check_goes_on(kernel, home, acked)


def test_f5_two_interrupts_at_any_moment_of_training_lose_nothing(kernel, home, acked, figures):
    generator, goal, back = rng("F5 inline"), max(2, n_points(2) // 10), []
    kernel.run(EAGER)
    kernel.run(NET.replace("digits --data", "first --data"))  # what a first training loads
    for _ in range(goal):
        pauses = [generator.uniform(0.2, 1.5), generator.expovariate(20)]
        asked = threading.Timer(sum(pauses), os.kill, (kernel.pid, signal.SIGINT))
        asked.start()
        reply, seconds = interrupted(kernel, NET, pauses[0])
        asked.join()
        time.sleep(0.1)
        kernel.run("pass", may_fail=True)  # the second may come after the prompt
        back.append(seconds)
        known = {info.name for info in home.runs()}
        if reply["status"] == "ok" or "digits" not in known:
            continue
        if state_of(home.find("digits")) == "interrupted":
            check_goes_on(kernel, home, acked)
    figures.within("F5 inside the kernel", {"prompt_back_s_max": 1.0}, prompt_back_s=back)


def test_f5_an_interrupted_export_leaves_no_archive_and_works_the_next_time(
    kernel, home, acked, tmp_path
):
    place = tmp_path / "lingers"
    kernel.run(LINGER.format(place=str(place)))
    kernel.run(NET)
    kernel.run(
        SLOWED.format(module="zipfile", name="ZipFile.write", when="True", nth=2, is_after=False)
    )
    before = {path.name for path in tmp_path.iterdir()}
    reply, _ = interrupted(kernel, "%automl export digits", place.exists)
    assert reply["ename"] == "KeyboardInterrupt"
    left = {path.name for path in tmp_path.iterdir()} - before
    assert left <= {place.name}
    kernel.run("setattr(owner, name, quick)")
    kernel.run("%automl export digits")
    assert list(tmp_path.glob("digits*.zip"))
