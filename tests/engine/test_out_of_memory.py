"""Trials that run out of memory: once more in halves, then failed, in a process that is not used again."""

from __future__ import annotations

import gc
import sys

import pytest
from engine_runs import wait_for_end

from nbautoml.spec import Budget, Float, Space
from nbautoml.spec.recipe import Execution, Target

pytestmark = pytest.mark.fault

# Raises as torch does, from forward, while a batch in training is larger than a limit.
GREEDY = """
import os
import weakref
import torch
from torch import nn

ALIVE = []

class Net(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
        print("pid", os.getpid())

    def forward(self, x):
        large = self.layers[0](x)
        ALIVE.append(weakref.ref(large))
        if self.training and len(x) > LIMIT:
            raise ERROR
        return self.layers[1:](large)
"""
OUT = 'torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")'
CPU = 'RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes.")'
LOST = 'RuntimeError("CUDA error: an illegal memory access was encountered")'
LR = Space({"lr": Float(1e-3, 3e-2, log=True)})
ALONE = {"space": LR, "execution": Execution(executor="process", n_workers=1)}


def greedy(limit, error=OUT):
    return GREEDY.replace("LIMIT", str(limit)).replace("ERROR", error)


def trials_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def log_of(folder):
    with folder.reader() as reader:
        return [line.text for line in reader.logs()]


def message_of(folder):
    with folder.reader() as reader:
        return reader.run().message


def values(folder, name):
    with folder.reader() as reader:
        return reader.points(trial=0, name=name).values


ONE = {**ALONE, "fixed": {"batch_size": 64, "epochs": 2}, "budget": Budget(n_trials=1)}


@pytest.fixture(scope="module")
def whole(shared):
    """A trial that fits."""
    folder = shared.submit(greedy(64), **{**ONE, "execution": Execution(executor="inline")})
    assert wait_for_end(folder) == "finished"
    return folder


@pytest.mark.parametrize("error", [OUT, CPU], ids=["device", "host"])
def test_a_trial_that_runs_out_of_memory_is_trained_in_halves_with_the_same_updates(
    runs, whole, error
):
    halves = runs.submit(greedy(32, error), **ONE)
    assert wait_for_end(halves) == "finished"
    assert [row.attempt for row in trials_of(whole) + trials_of(halves)] == [1, 2]
    assert values(halves, "step_loss") == pytest.approx(values(whole, "step_loss"), rel=1e-4)
    assert values(halves, "loss") == pytest.approx(values(whole, "loss"), rel=1e-4)
    assert any("again with half of each batch" in line for line in log_of(halves))


def test_a_trial_that_fits_in_no_way_fails_and_the_next_has_a_fresh_process(runs):
    folder = runs.submit(greedy(1), **ALONE, budget=Budget(n_trials=2), fixed={"epochs": 1})
    assert wait_for_end(folder) == "failed"
    first, second = trials_of(folder)
    assert first.error.startswith("out of memory, also with half the batch")
    assert "raise torch.OutOfMemoryError" in first.traceback
    assert first.worker != second.worker


def test_after_a_cuda_error_the_next_trial_has_a_fresh_process(runs):
    folder = runs.submit(greedy(1, LOST), **ALONE, budget=Budget(n_trials=2), fixed={"epochs": 1})
    assert wait_for_end(folder) == "failed"
    first, second = trials_of(folder)
    assert "CUDA error" in first.error
    assert first.attempt == 1, "a lost device is not tried again"
    assert first.worker != second.worker


def test_twenty_trials_in_a_row_without_memory_end_the_run_with_one_message(runs):
    folder = runs.submit(greedy(1), **ALONE, budget=Budget(n_trials=50), fixed={"epochs": 1})
    assert wait_for_end(folder) == "failed"
    assert message_of(folder).startswith("20 trials in a row ran out of memory")
    assert len(trials_of(folder)) < 25


def test_no_tensor_outlives_the_error_that_it_was_lost_by(runs):
    """Inline, so that this process can look."""
    inline = Execution(executor="inline")
    folder = runs.submit(
        greedy(1), space=LR, execution=inline, budget=Budget(n_trials=2), fixed={"epochs": 1}
    )
    assert wait_for_end(folder) == "failed"
    gc.collect()
    alive = [ref for module in list(sys.modules.values()) for ref in vars(module).get("ALIVE", ())]
    assert alive, "the module was run in this process"
    assert [ref() for ref in alive if ref() is not None] == []


# A loss is called for all members at once: it raises once, in the middle of the training.
WIDE = """
import torch
from torch import nn

N_CALLS = [0]

def own_loss(output, target):
    N_CALLS[0] += 1
    if N_CALLS[0] == 40:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return nn.functional.cross_entropy(output, target)

class Net(nn.Module):
    loss_is = staticmethod(own_loss)

    def __init__(self, hidden=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))

    def forward(self, x):
        return self.layers(x)
"""


def test_a_stack_that_runs_out_of_memory_goes_on_narrower(runs):
    folder = runs.submit(
        WIDE,
        space=LR,
        target=Target(role="module", symbol="Net", capsule_hash="", loss="own_loss"),
        fixed={"epochs": 16, "batch_size": 512},
        budget=Budget(n_trials=4),
        execution=Execution(executor="vectorized", n_workers=1),
    )
    assert wait_for_end(folder) == "finished"
    said = "\n".join(log_of(folder))
    assert "a stack of 4 ran out of memory" in said
    assert "2 at a time instead" in said
    assert {(row.state, row.attempt) for row in trials_of(folder)} == {("complete", 2)}
    with folder.reader() as reader:
        for number in range(4):
            assert reader.points(trial=number, name="loss").epochs == list(range(1, 17))
