"""Successive halving over a stack: whoever is stopped makes room at once, so that the stack stays full."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import nbautoml
from nbautoml.events import (
    PlanChosen,
    RunControl,
    StepsDone,
    Task,
    TrialEnded,
    TrialRequeued,
    TrialSpec,
)
from nbautoml.spec import Choice, Float, Objective, Space
from nbautoml.store import Home
from nbautoml.study import Study
from nbautoml.tune.measured import Measured
from nbautoml.tune.planner import Contest
from nbautoml.tune.stacks import train_stacks

WIDTH, N_TRIALS, EPOCHS = 6, 30, 9


class Small(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)


class StudyContext:
    """A worker's context that answers from a study of its own, and notes who trained in each epoch."""

    device, n_threads, is_retired = "cpu", 1, False

    def __init__(self, folder: Path, home: Path) -> None:
        self.run_folder, self.home_data = folder, Home(home).data_dir
        space = Space({"lr": Float(1e-5, 3e-2, log=True)})
        accuracy = [Objective("accuracy", "maximize")]
        self.study = Study(
            space, accuracy, sampler="random", stopper="asha", seed=3, max_epochs=EPOCHS
        )
        self.n_given, self.rounds, self.ended, self.answers = 0, [], [], []

    def more(self, n):
        given = []
        while len(given) < n and self.n_given < N_TRIALS:
            number, params = self.study.ask()
            self.n_given += 1
            given.append(TrialSpec(number=number, params=params, seed=number))
        self.rounds.append((set(), self.n_given))  # asked for between two epochs
        return tuple(given)

    def report(self, trial, epoch, value):
        if trial in self.rounds[-1][0]:
            self.rounds.append((set(), self.n_given))
        self.rounds[-1][0].add(trial)
        should_stop = self.study.report(trial, epoch, value)
        return RunControl.STOP_EARLY if should_stop else RunControl.GO_ON

    def post(self, trial, epoch, value):
        self.answers.append((trial, self.report(trial, epoch, value)))

    def verdict(self, trial):
        asked, answer = self.answers.pop(0)
        assert asked == trial
        return answer

    def emit(self, event):
        if isinstance(event, TrialEnded):
            self.ended.append(event)
            self.study.tell(event.trial, event.state, event.values)

    def check(self, trial):
        return RunControl.GO_ON

    def retire(self):
        raise AssertionError("nothing was wrong")


class Heard(StudyContext):
    """Notes all that is said."""

    def __init__(self, folder: Path, home: Path) -> None:
        super().__init__(folder, home)
        self.events = []

    def emit(self, event):
        self.events.append(event)
        super().emit(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def heard(tmp_path):
    nbautoml.tune(
        Small, data="digits", space={"lr": nbautoml.Float(1e-5, 3e-2, log=True)}, trials=1,
        epochs=EPOCHS, executor="inline", home=tmp_path, name="halving",
    )  # fmt: skip
    n_threads = torch.get_num_threads()
    yield Heard(next(tmp_path.rglob("recipe.json")).parent, tmp_path)
    torch.set_num_threads(n_threads)


MEASURING = {
    "width": WIDTH, "measure": True, "is_open": True, "n_workers": 1, "n_trials": N_TRIALS,
    "best": None,
}  # fmt: skip


def test_a_stack_that_is_slower_hands_its_trials_back(heard, monkeypatch):
    monkeypatch.setattr(sys.modules[Measured.__module__], "GAIN", 0.0)  # nothing is fast enough
    trials = heard.more(WIDTH)
    train_stacks(Task(handler="", trials=trials, payload=MEASURING), heard)
    assert {event.trial for event in heard.of(TrialRequeued)} == set(range(WIDTH))
    assert not heard.ended
    (plan,) = heard.of(PlanChosen)
    assert plan.details["width"] == 1
    assert plan.text.startswith("one by one in 1 worker on cpu")


def test_a_stack_that_is_faster_goes_on_from_the_steps_that_were_timed(heard, monkeypatch):
    monkeypatch.setattr(sys.modules[Measured.__module__], "GAIN", 1e9)  # anything is
    monkeypatch.setattr(sys.modules[Contest.__module__], "CLEAR", 1e9)
    trials = heard.more(WIDTH)
    train_stacks(Task(handler="", trials=trials, payload=MEASURING), heard)
    assert not heard.of(TrialRequeued)
    assert len(heard.ended) == N_TRIALS
    (plan,) = heard.of(PlanChosen)
    assert plan.details["width"] == WIDTH
    steps = [step for event in heard.of(StepsDone) if event.trial == 0 for step in event.steps]
    assert steps == list(range(1, len(steps) + 1))


def test_a_stack_stays_full_as_long_as_there_are_trials(tmp_path):
    nbautoml.tune(
        Small, data="digits", space={"lr": nbautoml.Float(1e-5, 3e-2, log=True)}, trials=1,
        epochs=EPOCHS, executor="inline", home=tmp_path, name="halving",
    )  # fmt: skip
    folder = next(tmp_path.rglob("recipe.json")).parent
    context = StudyContext(folder, tmp_path)
    n_threads = torch.get_num_threads()
    try:
        task = Task(
            handler="", trials=context.more(WIDTH),
            payload={"width": WIDTH, "measure": False, "n_workers": 1, "best": None},
        )  # fmt: skip
        train_stacks(task, context)
    finally:
        torch.set_num_threads(n_threads)
    states = [event.state for event in context.ended]
    assert len(states) == N_TRIALS
    assert set(states) == {"complete", "stopped_early"}
    # All were handed out before the last rounds, in which slots run dry.
    rounds = [(trials, n_given) for trials, n_given in context.rounds if trials]
    full = [trials for trials, n_given in rounds if n_given < N_TRIALS]
    assert len(full) > 5
    assert {len(trials) for trials in full} == {WIDTH}
    n_epochs = sum(len(trials) for trials, _ in rounds)
    assert n_epochs < 0.6 * N_TRIALS * EPOCHS


class OfThreeSizes(StudyContext):
    """Batch sizes vary, so that trials are of three structures; notes who reported, and who is in hand."""

    def __init__(self, folder: Path, home: Path) -> None:
        super().__init__(folder, home)
        space = Space({"lr": Float(1e-5, 3e-2, log=True), "batch_size": Choice(128, 256, 512)})
        accuracy = [Objective("accuracy", "maximize")]
        self.study = Study(
            space, accuracy, sampler="random", stopper="asha", seed=3, max_epochs=EPOCHS
        )
        self.reports, self.n_held, self.n_back, self.sizes = [], [], 0, {}

    def more(self, n):
        given = super().more(n)
        self.sizes |= {trial.number: trial.params["batch_size"] for trial in given}
        self.n_held.append(self.n_given - len(self.ended) - self.n_back)
        return given

    def report(self, trial, epoch, value):
        self.reports.append((trial, epoch))
        return super().report(trial, epoch, value)

    def emit(self, event):
        self.n_back += isinstance(event, TrialRequeued)
        super().emit(event)


@pytest.fixture
def of_three_sizes(tmp_path):
    nbautoml.tune(
        Small, data="digits", trials=1, epochs=EPOCHS, executor="inline", home=tmp_path,
        space={
            "lr": nbautoml.Float(1e-5, 3e-2, log=True),
            "batch_size": nbautoml.Choice(128, 256, 512),
        },
    )  # fmt: skip
    n_threads = torch.get_num_threads()
    yield OfThreeSizes(next(tmp_path.rglob("recipe.json")).parent, tmp_path)
    torch.set_num_threads(n_threads)


def train_in_stacks(context, **payload):
    given = {"width": 2 * WIDTH, "measure": False, "n_workers": 1, "best": None, **payload}
    task = Task(handler="", trials=context.more(2 * WIDTH), payload=given)
    train_stacks(task, context)


def test_groups_of_trials_take_turns(of_three_sizes):
    train_in_stacks(of_three_sizes)
    reports = of_three_sizes.reports
    first_whole = next(at for at, (_, epoch) in enumerate(reports) if epoch == EPOCHS)
    begun = {of_three_sizes.sizes[trial] for trial, _ in reports[:first_whole]}
    assert begun == {128, 256, 512}


def test_no_trial_is_drawn_before_one_of_those_in_hand_has_ended(of_three_sizes):
    train_in_stacks(of_three_sizes)
    assert of_three_sizes.n_given == N_TRIALS
    assert max(of_three_sizes.n_held) == 2 * WIDTH


def test_where_nothing_is_learnt_each_structure_has_a_full_stack(of_three_sizes):
    train_in_stacks(of_three_sizes, is_blind=True)
    assert of_three_sizes.n_given == N_TRIALS
    assert max(of_three_sizes.n_held) > 2 * WIDTH


def test_a_trial_of_a_structure_of_its_own_trains_beside_the_others(of_three_sizes):
    for size in (128, 128, 512, 128):
        of_three_sizes.study.enqueue({"lr": 1e-3, "batch_size": size})
    payload = {"width": 4, "measure": True, "is_open": True, "n_workers": 1, "n_trials": N_TRIALS}
    task = Task(handler="", trials=of_three_sizes.more(4), payload={**payload, "best": None})
    train_stacks(task, of_three_sizes)
    reports = of_three_sizes.reports
    first_whole = next(at for at, (_, epoch) in enumerate(reports) if epoch == EPOCHS)
    assert 2 in {trial for trial, _ in reports[:first_whole]}
