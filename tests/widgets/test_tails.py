"""Tails: a snapshot and the deltas after it are the run, whatever happens."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbautoml.events import (
    EpochEnded,
    LogLine,
    ParamsSuggested,
    RunStateChanged,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialRequeued,
    TrialStarted,
)
from nbautoml.spec.budget import Budget
from nbautoml.spec.objective import Objective
from nbautoml.store import Owner
from nbautoml.widgets import table
from nbautoml.widgets.checking import problem_with
from nbautoml.widgets.merge import apply_delta
from nbautoml.widgets.protocol import Delta
from nbautoml.widgets.snapshot import Tail, build_snapshot

numbers = st.integers(0, 3)
floats = st.floats(allow_nan=True, allow_infinity=True, width=32)
events = st.one_of(
    st.builds(
        TrialPlanned,
        trial=numbers,
        params=st.fixed_dictionaries(
            {"lr": st.floats(1e-4, 0.1)}, optional={"momentum": st.floats(0, 0.9)}
        ),
    ),
    st.builds(TrialStarted, trial=numbers, worker=st.just(1)),
    st.builds(
        StepsDone,
        trial=numbers,
        name=st.just("step_loss"),
        steps=st.just([1, 2]),
        values=st.lists(floats, min_size=2, max_size=2),
    ),
    st.builds(
        EpochEnded,
        trial=numbers,
        epoch=st.integers(1, 9),
        step=st.integers(1, 99),
        metrics=st.fixed_dictionaries({"accuracy": floats}, optional={"loss": floats}),
    ),
    st.builds(ParamsSuggested, trial=numbers, params=st.just({"depth": 3})),
    st.builds(
        TrialEnded,
        trial=numbers,
        state=st.sampled_from(["complete", "stopped_early", "failed", "cancelled"]),
        values=st.lists(st.floats(-10, 10), min_size=1, max_size=1),
        error=st.sampled_from(["", "broken"]),
    ),
    st.builds(TrialRequeued, trial=numbers, reason=st.just("its worker died")),
    st.builds(LogLine, text=st.text(max_size=20)),
    st.builds(RunStateChanged, state=st.sampled_from(["running", "paused", "finished"])),
)
LOOK = "look"
stories = st.lists(st.one_of(events, st.just(LOOK)), max_size=40)


def comparable(snapshot: Any) -> dict[str, Any]:
    """The parts that must be equal, free of the order in which columns were met."""
    lines = {
        (line["trial"], line["name"]): (line["x"], line["y"])
        for line in snapshot["curves"]["lines"]
    }
    return {
        **{key: snapshot[key] for key in ("run", "seq", "taken_at", "header", "trials", "log")},
        "columns": {column["key"]: column for column in snapshot["columns"]},
        "lines": lines,
    }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=stories, after=stories)
def test_snapshot_and_deltas_equal_a_fresh_snapshot(new_record, before, after):
    record = new_record(f"run{next(_counter)}").begin()
    record.apply(*(event for event in before if event is not LOOK))
    with Tail(record.folder) as tail:
        shown = tail.snapshot(now=record.now)
        for event in [*after, LOOK]:
            if event is not LOOK:
                record.apply(event)
                continue
            delta = tail.delta(now=record.now)
            if delta is not None:
                shown = apply_delta(shown, delta)
        fresh = build_snapshot(record.folder, now=record.now)
        expected = comparable(fresh) | {"taken_at": shown["taken_at"]}
        found = comparable(shown)
        # A client also holds curves of quantities that a snapshot leaves out.
        found["lines"] = {key: found["lines"].get(key) for key in expected["lines"]}
        assert found == expected
        assert set(fresh["curves"]["names"]) <= set(shown["curves"]["names"])


_counter = itertools.count()


@pytest.fixture
def running(record):
    record.plan(0)
    record.start(0)
    record.epoch(0, 1)
    return record


@pytest.fixture
def tail(running):
    with Tail(running.folder) as tail:
        yield tail


def test_nothing_new_is_no_delta(tail):
    assert tail.delta() is None


def test_a_run_that_goes_on_with_more_says_how_many(running, tail):
    running.finish()
    tail.delta()
    recipe = running.folder.recipe()
    running.folder.replace_recipe(replace(recipe, budget=Budget(n_trials=77)))
    running.apply(RunStateChanged(state="running"))
    assert tail.delta()["header"]["n_trials"] == 77


def test_delta_fits_the_declaration(running, tail):
    running.epoch(0, 2)
    assert problem_with(tail.delta(), Delta) == ""


def test_delta_brings_only_rows_that_changed(running, tail):
    running.plan(1)
    assert tail.delta()["trials"]["number"] == [1]


def test_delta_brings_a_column_that_appeared(running, tail):
    running.apply(ParamsSuggested(trial=0, params={"depth": 2}))
    assert "depth" in {column["key"] for column in tail.delta()["columns"]}


def test_delta_has_no_columns_when_none_appeared(running, tail):
    running.epoch(0, 2)
    assert "columns" not in tail.delta()


def test_piece_of_a_line_that_was_there_does_not_begin(running, tail):
    running.epoch(0, 2)
    assert {line["begins"] for line in tail.delta()["lines"]} == {False}


def test_first_piece_of_a_line_begins(running, tail):
    running.plan(1)
    running.start(1)
    running.epoch(1, 1)
    assert {line["begins"] for line in tail.delta()["lines"]} == {True}


def test_line_of_a_trial_that_runs_again_begins_anew(running, tail):
    running.apply(TrialRequeued(trial=0, reason="its worker died"))
    running.start(0)
    running.epoch(0, 1)
    delta = tail.delta()
    assert delta["restarted"] == [0]
    assert {line["begins"] for line in delta["lines"]} == {True}


def test_final_state_is_said(running, tail):
    running.finish()
    assert tail.delta()["final"] is True


def test_owner_that_died_reads_as_interrupted(new_record):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(child.pid).create_time()
    record = new_record(owner=Owner(child.pid, started, Owner.this_process().host)).begin()
    with Tail(record.folder) as tail:
        assert tail.state == "running"
        child.communicate(b"\n")
        delta = tail.delta()
    assert (delta["header"]["state"], delta["base"]) == ("interrupted", delta["seq"])


def test_snapshot_does_not_run_ahead_of_the_deltas(running, tail):
    running.epoch(0, 2)
    [line] = [x for x in tail.snapshot()["curves"]["lines"] if x["name"] == "accuracy"]
    assert line["x"] == [1]


def test_delta_that_is_too_large_sends_for_a_snapshot(running, tail):
    running.trials(0)
    for number in range(1, 400):
        running.plan(number)
    assert tail.delta(limit_bytes=5_000)["base"] == -1


def test_delta_with_many_points_is_thinned(running, tail):
    steps = list(range(15_000))
    running.apply(StepsDone(trial=0, name="step_loss", steps=steps, values=[1.0] * 15_000))
    [line] = tail.delta()["lines"]
    assert 1 < len(line["x"]) <= 100


def test_more_points_than_a_delta_takes_come_with_the_next(running, tail):
    for part in range(3):
        steps = list(range(part * 10_000, (part + 1) * 10_000))
        running.apply(StepsDone(trial=0, name="step_loss", steps=steps, values=[1.0] * 10_000))
    first, second = tail.delta(), tail.delta()
    assert first["lines"][0]["x"][-1] == 19_999
    assert second["lines"][0]["x"][-1] == 29_999
    assert tail.delta() is None


def test_curves_that_are_asked_for_are_finer_than_the_snapshots(running, tail):
    steps = list(range(5_000))
    running.apply(StepsDone(trial=0, name="step_loss", steps=steps, values=[1.0] * 5_000))
    tail.delta()
    [line] = tail.lines([0, 77], "step_loss")
    assert len(line["x"]) == 1_000


def test_reader_is_followed_with_its_recipe(running):
    with running.folder.reader() as reader:
        snapshot = build_snapshot(reader, recipe=running.recipe)
        assert snapshot["trials"]["state"] == ["running"]
        assert reader.run().state == "running"


def test_tail_of_nothing_yet_follows_from_the_first_event(home, new_record):
    recorder = new_record("later")
    with Tail(recorder.folder) as tail:
        recorder.begin()
        recorder.plan(0)
        assert tail.delta()["trials"]["number"] == [0]


@pytest.fixture
def few_held(monkeypatch):
    """Tables of this test hold three of the best and three of the newest."""
    monkeypatch.setattr(table, "_N_EACH", 3)


def ended(number: int, value: float) -> list[Any]:
    return [
        TrialPlanned(trial=number, params={"lr": 0.1}),
        TrialStarted(trial=number, worker=1),
        EpochEnded(trial=number, epoch=1, step=1, metrics={"accuracy": value}),
        TrialEnded(trial=number, state="complete", values=[value], metrics={"accuracy": value}),
    ]


def test_panel_of_many_trials_begins_with_the_best_the_newest_and_the_open(record, few_held):
    record.plan(0)
    record.apply(*(event for n in range(1, 20) for event in ended(n, 1 - n / 100)))
    with Tail(record.folder) as tail:
        shown = tail.snapshot()
    assert shown["trials"]["number"] == [0, 1, 2, 3, 17, 18, 19]
    assert (shown["n_trials_left_out"], shown["header"]["best"]["trial"]) == (13, 1)
    assert shown["header"]["counts"]["complete"] == 19


def test_tail_of_a_long_run_lets_go_of_rows_and_counts_them_all(record, few_held):
    with Tail(record.folder) as tail:
        for n in range(40):
            record.apply(*ended(n, abs(n - 20) / 100))
            tail.delta()
        found, whole = tail.snapshot(), build_snapshot(record.folder, limit_bytes=None)
    assert found["header"] == whole["header"] | {"elapsed_s": found["header"]["elapsed_s"]}
    assert whole["trials"]["number"] == list(range(40))
    n_shown = len(found["trials"]["number"])
    assert {0, 1, 39, 38, 37} < set(found["trials"]["number"])
    assert n_shown <= 12
    assert found["n_trials_left_out"] == 40 - n_shown


def test_trial_that_ends_long_after_the_others_of_its_time_is_told_of(record, few_held):
    record.plan(0)
    record.start(0)
    record.apply(*(event for n in range(1, 30) for event in ended(n, 0.5)))
    with Tail(record.folder) as tail:
        record.apply(TrialEnded(trial=0, state="complete", values=[0.1]))
        assert tail.delta()["trials"]["number"] == [0]
        header = tail.snapshot()["header"]
    assert (header["counts"]["complete"], header["counts"]["running"]) == (30, 0)


def test_front_of_two_objectives_is_found_among_all_trials(new_record, few_held):
    objectives = (Objective("accuracy", "maximize"), Objective("latency_ms", "minimize"))
    record = new_record(objectives=objectives).begin()
    for n in range(20):
        record.apply(TrialPlanned(trial=n, params={}), TrialStarted(trial=n, worker=1))
        values = [0.5 + n / 100, 1.0 + n] if n != 7 else [0.1, 0.5]
        record.apply(TrialEnded(trial=n, state="complete", values=values))
    assert set(build_snapshot(record.folder)["header"]["front"]) == set(range(20))
