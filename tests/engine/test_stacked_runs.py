"""Many trials trained as one inside a run: the same numbers, the same life, and a plan that says why."""

from __future__ import annotations

import itertools

import pytest
from engine_runs import kill, state_of, until, wait_for_end

from nbautoml.engine import client
from nbautoml.events import CancelTrial, Interrupt, Pause, Resume, Stop
from nbautoml.spec import Budget, Choice, Float, Int, Space
from nbautoml.spec.recipe import Execution
from nbautoml.tune.measured import GAIN
from nbautoml.tune.stacking import MAX_WIDTH

LR = Space({"lr": Float(1e-3, 3e-2, log=True)})
STACKED = Execution(executor="vectorized", n_workers=2)
ONE_STACK = Execution(executor="vectorized", n_workers=1)
N_TRAINED = 1437  # rows of digits that are trained on: four fifths
DROPOUT = """
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=32, dropout=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        return self.layers(x)
"""
NORMED = DROPOUT.replace("BatchNorm1d", "LayerNorm")


def trials_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def plan_of(folder):
    with folder.reader() as reader:
        return reader.run()


def curve(folder, trial, name):
    with folder.reader() as reader:
        return reader.points(trial=trial, name=name).values


def test_stacked_trials_have_the_numbers_of_trials_alone(runs):
    more = {"space": LR, "fixed": {"epochs": 3}, "budget": Budget(n_trials=12)}
    alone = runs.submit(DROPOUT, **more, execution=Execution(executor="inline"))
    stacked = runs.submit(DROPOUT, **more, execution=STACKED)
    narrow = runs.submit(DROPOUT, **more, execution=Execution(executor="vectorized", n_workers=1))
    for folder in (alone, stacked, narrow):
        assert wait_for_end(folder) == "finished"
    for ours, theirs, third in zip(*map(trials_of, (stacked, alone, narrow)), strict=True):
        assert ours.params == theirs.params == third.params
        assert ours.value == pytest.approx(theirs.value, abs=0.006)
        assert third.value == pytest.approx(theirs.value, abs=0.006)
        early = [curve(folder, ours.number, "step_loss")[:5] for folder in (stacked, alone)]
        assert early[0] == pytest.approx(early[1], rel=1e-4)


def test_trials_of_other_widths_share_a_stack_and_keep_their_numbers(runs):
    space = Space({**LR, "hidden": Int(5, 60, log=True)})
    more = {"space": space, "fixed": {"epochs": 3}, "budget": Budget(n_trials=14)}
    # A bias before a norm has no gradient but rounding, which Adam would make steps of.
    source = DROPOUT.replace("nn.BatchNorm1d(hidden), ", "")
    alone = runs.submit(source, **more, sampler="random", execution=Execution(executor="inline"))
    stacked = runs.submit(source, **more, sampler="random", execution=STACKED)
    for folder in (alone, stacked):
        assert wait_for_end(folder) == "finished"
    for ours, theirs in zip(*map(trials_of, (stacked, alone)), strict=True):
        assert ours.params == theirs.params
        assert ours.value == pytest.approx(theirs.value, abs=0.006)
        early = [curve(folder, ours.number, "step_loss")[:5] for folder in (stacked, alone)]
        assert early[0] == pytest.approx(early[1], rel=1e-4)
    with stacked.reader() as reader:
        assert not [line.text for line in reader.logs() if "one by one" in line.text]


def test_plan_says_what_was_measured(runs):
    folder = runs.submit(
        DROPOUT, space=LR, fixed={"epochs": 5}, budget=Budget(n_trials=24), sampler="random"
    )
    assert wait_for_end(folder) == "finished"
    run = plan_of(folder)
    said, alone_s = run.plan_details, run.plan_details["alone_s_per_step"]
    stacked = {int(width): s for width, s in said["stacked_s_per_step"].items()}
    assert alone_s > 0
    assert max(stacked) > 1
    assert min(stacked.values()) > 0
    # Whatever this machine is faster at: the plan is what follows from the figures.
    is_faster = min(stacked.values()) < GAIN * alone_s
    assert said["executor"] == ("vectorized" if is_faster else "process")
    assert (said["width"] > 1) == is_faster
    assert run.plan.startswith(f"vectorized x{said['width']} in" if is_faster else "one by one in")
    n_steps = 5 * -(-N_TRAINED // 32)
    for seconds in (alone_s, *stacked.values()):
        assert f"{2 / (seconds * n_steps):.3g}" in run.plan
    assert [row.state for row in trials_of(folder)] == ["complete"] * 24


def test_the_same_cell_once_more_is_not_measured_again(runs):
    # One worker: of two each measures, and the next run may read what either found.
    asked = {"space": LR, "fixed": {"epochs": 5}, "budget": Budget(n_trials=24)}
    asked["execution"] = Execution(n_workers=1)
    first = runs.submit(DROPOUT, name="digits", **asked)
    assert wait_for_end(first) == "finished"
    again = runs.submit(DROPOUT, name="digits", **asked)
    assert wait_for_end(again) == "finished"
    before, now = plan_of(first), plan_of(again)
    assert f"measured in run digits ({first.id})" in now.plan
    assert "measured in" not in before.plan
    assert now.plan_details["measured_in"] == f"digits ({first.id})"
    for figure in ("executor", "width", "alone_s_per_step", "stacked_s_per_step"):
        assert now.plan_details[figure] == before.plan_details[figure]
    assert [row.value for row in trials_of(again)] == pytest.approx(
        [row.value for row in trials_of(first)], abs=0.006
    )


def in_order(folder):
    """(trial, epoch) in the order in which epochs were recorded."""
    with folder.reader() as reader:
        points = reader.points(name="accuracy")
    return list(zip(points.trials, points.epochs, strict=True))


def test_trials_of_several_structures_form_groups(runs):
    space = Space({"hidden": Choice(8, 16, 24), "lr": Float(1e-3, 1e-2)})
    folder = runs.submit(
        NORMED, space=space, fixed={"epochs": 3}, budget=Budget(n_trials=18), execution=ONE_STACK
    )
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert [row.state for row in rows] == ["complete"] * 18
    # A layer norm isn't padded: each width is a group of its own, whose trials end each epoch together.
    sizes = {row.number: row.params["hidden"] for row in rows}
    turns = itertools.groupby(in_order(folder), lambda item: (sizes[item[0]], item[1]))
    found = [(turn, sorted(trial for trial, _ in items)) for turn, items in turns]
    groups = {size: sorted(n for n in sizes if sizes[n] == size) for size in (8, 16, 24)}
    assert min(map(len, groups.values())) > 1
    assert len(found) == 9
    for (size, _), trials in found:
        assert trials == groups[size]


def test_free_slots_take_new_trials_when_others_are_stopped_early(runs):
    space = Space({"lr": Float(1e-6, 3e-2, log=True)})
    folder = runs.submit(
        DROPOUT,
        space=space,
        fixed={"epochs": 9},
        budget=Budget(n_trials=60),
        stopper="asha",
        execution=ONE_STACK,
    )
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert len(rows) == 60
    assert {row.state for row in rows} == {"complete", "stopped_early"}
    rounds = rounds_of(folder)
    assert rounds[0] == set(range(MAX_WIDTH["cpu"]))
    # Whoever is stopped makes room at once: the stack is full as long as there are trials to hand out.
    last = next(at for at, trials in enumerate(rounds) if 59 in trials)
    assert {len(trials) for trials in rounds[:last]} == {MAX_WIDTH["cpu"]}
    assert last < 9  # before any of the first could have made all its epochs
    begun = {min(at for at, trials in enumerate(rounds) if n in trials) for n in range(60)}
    assert len(begun) > 2


def rounds_of(folder):
    """Who trained in each epoch of a stack: a trial that is told of again begins the next."""
    rounds = [set()]
    for trial, _ in in_order(folder):
        if trial in rounds[-1]:
            rounds.append(set())
        rounds[-1].add(trial)
    return rounds


BY_NUMBERS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x) * (2.0 if x.sum().item() > 0 else 1.0)
"""


@pytest.mark.parametrize("is_asked", [True, False])
def test_what_cannot_be_stacked_is_trained_alone_and_log_and_plan_say_why(runs, is_asked):
    execution = STACKED if is_asked else Execution(n_workers=1)
    folder = runs.submit(BY_NUMBERS, space=LR, budget=Budget(n_trials=6), execution=execution)
    assert wait_for_end(folder) == "finished"
    assert all(row.state == "complete" for row in trials_of(folder))
    with folder.reader() as reader:
        said = {line.text for line in reader.logs()}
    (why,) = {text.removeprefix("one by one: ") for text in said if text.startswith("one by one:")}
    assert is_asked or plan_of(folder).plan.startswith("one by one in 1 worker on cpu: " + why)


def test_nan_in_one_trial_leaves_the_others_alone(runs):
    space = Space({"lr": Choice(0.01, 0.02, 1e30)})
    folder = runs.submit(
        DROPOUT,
        space=space,
        fixed={"epochs": 3, "optimizer": "sgd"},
        budget=Budget(n_trials=12),
        execution=STACKED,
    )
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    bad = [row for row in rows if row.params["lr"] == 1e30]
    assert bad
    assert all(row.state == "failed" and "step" in row.error for row in bad)
    assert all(row.state == "complete" for row in rows if row not in bad)


def test_module_that_raises_tells_of_the_users_line(runs):
    source = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(63, 10)

        def forward(self, x):
            return self.layer(x)  # the culprit
    """
    folder = runs.submit(source, space=LR, budget=Budget(n_trials=8), execution=STACKED)
    assert wait_for_end(folder) == "failed"
    row = trials_of(folder)[0]
    assert "the culprit" in row.traceback


SLOW = {"space": LR, "fixed": {"epochs": 3000}, "budget": Budget(n_trials=8), "execution": STACKED}


def started(runs, **changes):
    folder = runs.submit(DROPOUT, **{**SLOW, **changes})
    until(lambda: any(row.epoch for row in trials_of(folder)), what="a first epoch")
    return folder


def test_one_trial_of_a_stack_is_cancelled(runs):
    folder = started(runs)
    client.send(folder, CancelTrial(trial=1))
    until(lambda: trials_of(folder)[1].state == "cancelled", what="the cancelled trial")
    assert trials_of(folder)[0].state == "running"
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"


def test_trials_that_fit_into_no_stack_are_shared_by_the_workers(runs):
    space = Space({"hidden": Int(8, 64)})
    folder = runs.submit(
        NORMED, space=space, fixed={"epochs": 60}, budget=Budget(n_trials=12), execution=STACKED
    )
    until(lambda: sum(row.state == "complete" for row in trials_of(folder)) > 3, what="some ends")
    assert sum(row.state == "running" for row in trials_of(folder)) <= 2
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert [row.state for row in rows] == ["complete"] * 12
    assert len({row.worker for row in rows}) == 2


def test_trial_that_waits_is_cancelled_at_once(runs):
    space = Space({"hidden": Int(8, 64)})
    folder = runs.submit(NORMED, **{**SLOW, "space": space})
    until(lambda: any(row.epoch for row in trials_of(folder)), what="a first epoch")
    waiting = [row.number for row in trials_of(folder) if row.state == "waiting"]
    client.send(folder, CancelTrial(trial=waiting[-1]))
    until(lambda: trials_of(folder)[waiting[-1]].state == "cancelled", what="the cancelled trial")
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"


def test_stack_is_paused_and_goes_on(runs):
    folder = started(runs)
    client.send(folder, Pause())
    until(lambda: state_of(folder) == "paused", what="the pause")
    client.send(folder, Resume())
    held = max(row.epoch for row in trials_of(folder))
    until(lambda: max(row.epoch for row in trials_of(folder)) > held + 2, what="more epochs")
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"


def test_killed_worker_costs_its_stack_a_new_attempt(runs):
    folder = started(runs, fixed={"epochs": 60})
    lost = trials_of(folder)[0].worker
    mine = {row.number for row in trials_of(folder) if row.worker == lost}
    kill(lost)
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert len(mine) > 1
    assert all(row.state == "complete" for row in rows)
    assert {row.number for row in rows if row.attempt == 2} >= mine


def test_interrupted_stacks_resume(runs):
    folder = started(runs, fixed={"epochs": 60})
    client.send(folder, Interrupt())
    assert wait_for_end(folder) == "interrupted"
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    rows = trials_of(folder)
    assert sorted(row.number for row in rows) == list(range(8))
    assert all(row.state == "complete" for row in rows)


def test_best_weights_of_a_stack_are_kept(runs):
    folder = runs.submit(
        DROPOUT, space=LR, fixed={"epochs": 4}, budget=Budget(n_trials=12), execution=STACKED
    )
    assert wait_for_end(folder) == "finished"
    best = max(trials_of(folder), key=lambda row: row.value)
    with folder.reader() as reader:
        kept = [row for row in reader.artifacts(trial=best.number) if row.kind == "weights"]
    from safetensors.torch import load

    from nbautoml.store import load_artifact

    assert "layers.0.weight" in load(load_artifact(kept[0]))


def test_learning_samplers_keep_their_stacks_narrow():
    from types import SimpleNamespace

    from nbautoml.tune.stacking import Stacking

    recipe = SimpleNamespace(
        kind="tune",
        target=SimpleNamespace(role="module"),
        objectives=(1,),
        budget=Budget(n_trials=80),
        execution=Execution(),
    )
    assert Stacking.of(recipe, "random", 80).width == MAX_WIDTH["cuda"]  # workers know their device
    assert Stacking.of(recipe, "tpe", 80).width == 10
    assert Stacking.of(recipe, "tpe", 3).width == 1


@pytest.mark.slow
def test_a_trial_that_hangs_in_a_stack_ends_alone(runs):
    source = """
    import time
    from torch import nn

    class Net(nn.Module):
        def __init__(self, kind=0):
            super().__init__()
            if kind == 3:
                time.sleep(600)
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            return self.layer(x)
    """
    folder = runs.submit(
        source,
        space=Space({"kind": Choice(0, 1, 2, 3)}),
        fixed={"epochs": 1, "batch_size": 512},  # quick: what is slow here shall be the hang alone
        sampler="grid",
        budget=Budget(n_trials=4, trial_seconds=3.0),
        execution=Execution(executor="vectorized", n_workers=1),
    )
    assert wait_for_end(folder) == "finished"
    rows = {row.params["kind"]: row for row in trials_of(folder)}
    assert rows.pop(3).error == "took longer than 3 s"
    assert [row.state for row in rows.values()] == ["complete"] * 3
