"""Trials that are interrupted go on from their last checkpoint, with the numbers they would have had."""

from __future__ import annotations

import pytest
import torch
from engine_runs import Runs, family, kill, state_of, supervisor_pid, until, wait_for_end

from nbautoml.api.run import Run
from nbautoml.engine import client
from nbautoml.errors import NbAutomlError
from nbautoml.events import Interrupt, Stop
from nbautoml.spec import Budget, Float, Space
from nbautoml.spec.recipe import Execution

pytestmark = pytest.mark.fault

# Epochs long enough against a write that each is followed by one, once two seconds have passed.
SLOW = """
import time
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        time.sleep(PAUSE)
        return self.layers(x)
"""
MORE = {
    "fixed": {"epochs": 9, "batch_size": 512, "optimizer": "adamw", "schedule": "cosine"},
    "budget": Budget(n_trials=1),
    "execution": Execution(n_workers=1),
}


def slow(pause=0.2):
    return SLOW.replace("PAUSE", str(pause))


def trials_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def checkpoints_of(folder, trial=0):
    with folder.reader() as reader:
        return [row for row in reader.artifacts(trial=trial) if row.kind == "checkpoint"]


def numbers_of(folder, trial=0):
    """The whole curve, and the value: what must not differ by a bit."""
    with folder.reader() as reader:
        points = reader.points(trial=trial)
        curve = zip(points.names, points.epochs, points.steps, points.values, strict=True)
        row = reader.trials()[trial]
        return list(curve), row.value, row.best_epoch, dict(row.metrics)


def weights_of(folder, trial=0):
    from safetensors.torch import load

    from nbautoml.store import load_artifact

    with folder.reader() as reader:
        kept = [row for row in reader.artifacts(trial=trial) if row.kind == "weights"]
    return {name: tensor.tolist() for name, tensor in load(load_artifact(kept[-1])).items()}


def log_of(folder):
    with folder.reader() as reader:
        return "\n".join(line.text for line in reader.logs())


def wait_for_checkpoints(folder, n=1):
    return until(lambda: len(checkpoints_of(folder)) >= n, what=f"{n} checkpoints")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same trial, undisturbed."""
    folder = Runs(tmp_path_factory.mktemp("whole")).submit(slow(0), **MORE)
    assert wait_for_end(folder) == "finished"
    client.forget_warm()
    return folder


def assert_as_if_nothing_had_happened(folder, whole):
    assert numbers_of(folder) == numbers_of(whole)
    assert weights_of(folder) == weights_of(whole)


def test_a_killed_workers_trial_goes_on_from_its_checkpoint(runs, whole):
    folder = runs.submit(slow(), **MORE)
    wait_for_checkpoints(folder)
    kill(trials_of(folder)[0].worker)
    until(lambda: trials_of(folder)[0].attempt == 2, what="the next attempt")
    assert wait_for_end(folder) == "finished"
    assert_as_if_nothing_had_happened(folder, whole)
    assert trials_of(folder)[0].attempt == 2


def test_weights_of_a_trial_that_goes_on_can_be_taken_out(runs):
    more = {**MORE, "fixed": {**MORE["fixed"], "epochs": 60}}
    folder = runs.submit(slow(), **more)
    run = Run(folder, runs.home)
    with pytest.raises(NbAutomlError, match="has no checkpoint yet"):
        until(lambda: trials_of(folder), what="a trial") and run.model(0, run_code=True)
    wait_for_checkpoints(folder)
    module = run.model(0, run_code=True)
    assert trials_of(folder)[0].state == "running"
    Run(folder, runs.home).stop()
    assert wait_for_end(folder) == "stopped"
    trained = dict(module.named_parameters())
    torch.manual_seed(0)
    fresh = dict(type(module)().named_parameters())
    assert all(not torch.equal(trained[name], fresh[name]) for name in trained)
    assert int(module.layers[1].num_batches_tracked) > 0
    assert not module.training


def test_nothing_of_a_checkpoint_is_left_when_its_trial_is_over(runs):
    folder = runs.submit(slow(), **MORE)
    wait_for_checkpoints(folder)
    assert wait_for_end(folder) == "finished"
    assert checkpoints_of(folder) == []
    assert [
        path.name for path in folder.artifacts_dir.iterdir() if "weights" not in path.name
    ] == []


def test_a_killed_supervisors_trial_goes_on_from_its_checkpoint(runs, whole):
    import psutil

    folder = runs.submit(slow(), **MORE)
    wait_for_checkpoints(folder)
    processes = family(supervisor_pid(folder))
    kill(processes[0].pid)
    psutil.wait_procs(processes, timeout=15)
    epochs_before = trials_of(folder)[0].epoch
    (folder.artifacts_dir / "trial-00000-checkpoint-0badc0de.safetensors").write_bytes(b"half a")
    client.resume(runs.home, folder)
    assert wait_for_end_of_resumed(folder) == "finished"
    assert epochs_before > 0
    assert_as_if_nothing_had_happened(folder, whole)
    assert not (folder.artifacts_dir / "trial-00000-checkpoint-0badc0de.safetensors").exists()


def wait_for_end_of_resumed(folder):
    until(lambda: state_of(folder) in {"finished", "failed"}, what="the end")
    return state_of(folder)


def test_an_interrupted_runs_trial_goes_on_from_its_checkpoint(runs, whole):
    folder = runs.submit(slow(), **MORE)
    wait_for_checkpoints(folder)
    client.send(folder, Interrupt())
    assert wait_for_end(folder) == "interrupted"
    assert trials_of(folder)[0].epoch > 0, "its curve is there while it waits"
    client.resume(runs.home, folder)
    assert wait_for_end_of_resumed(folder) == "finished"
    assert_as_if_nothing_had_happened(folder, whole)


def flip(data):
    return data[:1000] + bytes([data[1000] ^ 4]) + data[1001:]


@pytest.mark.parametrize("damage", [lambda data: data[:-7], flip], ids=["cut short", "one bit"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(runs, whole, damage):
    folder = runs.submit(slow(), **MORE)
    wait_for_checkpoints(folder, 2)
    client.send(folder, Interrupt())
    assert wait_for_end(folder) == "interrupted"
    older, newest = checkpoints_of(folder)
    path = folder.artifacts_dir / newest.path
    path.write_bytes(damage(path.read_bytes()))
    client.resume(runs.home, folder)
    assert wait_for_end_of_resumed(folder) == "finished"
    assert f"checkpoint of epoch {newest.details['epoch']} is not used" in log_of(folder)
    assert f"goes on after epoch {older.details['epoch']}" in log_of(folder)
    assert_as_if_nothing_had_happened(folder, whole)


def test_without_a_whole_checkpoint_the_trial_starts_anew(runs, whole):
    folder = runs.submit(slow(), **MORE)
    wait_for_checkpoints(folder, 2)
    client.send(folder, Interrupt())
    assert wait_for_end(folder) == "interrupted"
    for row in checkpoints_of(folder):
        (folder.artifacts_dir / row.path).unlink()
    client.resume(runs.home, folder)
    assert wait_for_end_of_resumed(folder) == "finished"
    assert "the trial starts anew" in log_of(folder)
    assert_as_if_nothing_had_happened(folder, whole)


def test_members_of_a_stack_go_on_in_another_one(runs):
    folder = runs.submit(
        slow(0),
        space=Space({"lr": Float(1e-3, 1e-2, log=True)}),
        fixed={"epochs": 100_000, "batch_size": 512},
        budget=Budget(n_trials=4),
        execution=Execution(executor="vectorized", n_workers=1),
    )
    until(lambda: all(checkpoints_of(folder, n) for n in range(4)), what="all checkpoints")
    first = curves_of(folder)
    kill(trials_of(folder)[0].worker)
    until(lambda: log_of(folder).count("goes on after epoch") == 4, what="going on")
    far = max(len(losses) for _, losses in first.values()) + 3
    until(lambda: min(row.epoch for row in trials_of(folder)) > far, what="further epochs")
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"
    for trial, (epochs, losses) in curves_of(folder).items():
        assert epochs == list(range(1, len(epochs) + 1))
        n_early = len(first[trial][1])
        assert losses[:n_early] == pytest.approx(first[trial][1], rel=1e-3, abs=1e-3)


def curves_of(folder):
    with folder.reader() as reader:
        found = [reader.points(trial=trial, name="loss") for trial in range(4)]
    return {trial: (points.epochs, points.values) for trial, points in enumerate(found)}
