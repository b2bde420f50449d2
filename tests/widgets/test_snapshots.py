"""Snapshots: true to the record, and small whatever the record holds."""

from __future__ import annotations

import json
import math

import pytest

from nbautoml.events import LogLine, ParamsSuggested, RunStateChanged, StepsDone
from nbautoml.spec.budget import Budget
from nbautoml.spec.objective import Objective
from nbautoml.widgets.bounding import to_saved
from nbautoml.widgets.checking import problem_with
from nbautoml.widgets.decimate import decimate
from nbautoml.widgets.eta import estimate_eta
from nbautoml.widgets.protocol import Snapshot
from nbautoml.widgets.snapshot import LIMIT_BYTES, build_snapshot


def saved_size(snapshot) -> int:
    return len(json.dumps(to_saved(snapshot), ensure_ascii=False).encode())


def test_new_run_has_an_empty_snapshot(new_record):
    snapshot = build_snapshot(new_record().folder)
    assert problem_with(snapshot, Snapshot) == ""
    assert snapshot["trials"]["number"] == []
    assert snapshot["header"]["best"] is None


def test_run_without_a_record_reads_as_queued(home):
    from nbautoml.spec import Space
    from nbautoml.spec.recipe import Recipe, Target

    recipe = Recipe(
        kind="tune",
        name="early",
        run_id="",
        target=Target(role="objective", symbol="objective", capsule_hash="0" * 64),
        data=None,
        space=Space({}),
        fixed={},
        objectives=(Objective("value", "minimize"),),
        budget=Budget(n_trials=3),
    )
    snapshot = build_snapshot(home.create_run(recipe, None))
    assert snapshot["header"]["state"] == "queued"


def test_rows_are_those_of_the_record(record):
    record.plan(0, {"lr": 0.123456789, "optimizer": "sgd", "momentum": 0.5})
    record.start(0)
    record.epoch(0, 1)
    record.end(0, 0.987654321)
    trials = build_snapshot(record.folder)["trials"]
    assert trials["state"] == ["complete"]
    assert trials["value"] == [0.987654]
    assert trials["params"]["lr"] == [0.123457]
    assert trials["params"]["hidden"] == [None]


def test_columns_follow_the_space_and_then_the_metrics(record):
    record.plan(0)
    record.start(0)
    record.epoch(0, 1)
    keys = [column["key"] for column in build_snapshot(record.folder)["columns"]]
    assert keys[:3] == ["hidden", "optimizer", "lr"]
    assert keys[-3:] == ["accuracy", "loss", "train_loss"]


def test_parameter_that_was_suggested_later_gets_a_column(record):
    record.plan(0, {})
    record.apply(ParamsSuggested(trial=0, params={"depth": 3}, time=record.tick()))
    columns = {c["key"]: c["kind"] for c in build_snapshot(record.folder)["columns"]}
    assert columns["depth"] == "int"


def test_curves_hold_epochs_and_steps(record):
    record.plan(0)
    record.start(0)
    record.apply(StepsDone(trial=0, name="step_loss", steps=[10, 20], values=[2.0, 1.5]))
    record.epoch(0, 1)
    curves = build_snapshot(record.folder)["curves"]
    lines = {line["name"]: line["x"] for line in curves["lines"]}
    assert lines["step_loss"] == [10, 20]
    assert lines["accuracy"] == [1]
    assert curves["step_names"] == ["step_loss"]


def test_value_that_is_not_finite_becomes_null(record):
    record.plan(0)
    record.start(0)
    record.apply(
        StepsDone(trial=0, name="step_loss", steps=[1, 2, 3], values=[1.0, math.nan, math.inf])
    )
    [line] = build_snapshot(record.folder)["curves"]["lines"]
    assert line["y"] == [1.0, None, None]


def test_failed_trial_tells_its_error(record):
    record.plan(0)
    record.start(0)
    record.end(0, None, "failed", error="the loss became NaN at step 12")
    assert build_snapshot(record.folder)["trials"]["error"] == {
        "0": "the loss became NaN at step 12"
    }


def test_best_is_the_highest_of_complete_trials(record):
    for number, (value, state) in enumerate(
        [(0.5, "complete"), (0.9, "stopped_early"), (0.7, "complete"), (None, "failed")]
    ):
        record.plan(number)
        record.start(number)
        record.end(number, value, state)
    assert build_snapshot(record.folder)["header"]["best"]["trial"] == 2


def test_best_is_the_lowest_when_minimised(new_record):
    record = new_record(objectives=(Objective("loss", "minimize"),)).begin()
    for number, value in enumerate([0.5, 0.2, 0.7]):
        record.plan(number)
        record.start(number)
        record.end(number, value)
    assert build_snapshot(record.folder)["header"]["best"]["value"] == 0.2


def test_trial_that_was_stopped_early_is_the_best_while_there_is_no_other(record):
    record.plan(0)
    record.start(0)
    record.end(0, 0.4, "stopped_early")
    assert build_snapshot(record.folder)["header"]["best"]["trial"] == 0


def test_time_stands_still_once_the_run_is_over(record):
    record.finish()
    first, second = (build_snapshot(record.folder, now=record.now + wait) for wait in (10, 1000))
    assert first["header"]["elapsed_s"] == second["header"]["elapsed_s"]


def test_thousand_trials_fit_whole(big_run):
    snapshot = build_snapshot(big_run)
    assert saved_size(snapshot) <= LIMIT_BYTES
    assert len(snapshot["trials"]["number"]) == 1000
    assert snapshot["n_trials_left_out"] == 0
    assert len({line["trial"] for line in snapshot["curves"]["lines"]}) == 100


def test_thousand_trials_fit_the_declaration(big_run):
    assert problem_with(build_snapshot(big_run), Snapshot) == ""


def test_ten_thousand_trials_are_thinned_and_say_so(huge_run):
    snapshot = build_snapshot(huge_run)
    assert saved_size(snapshot) <= LIMIT_BYTES
    assert len(snapshot["trials"]["number"]) + snapshot["n_trials_left_out"] == 10_000
    assert len(snapshot["trials"]["number"]) > 1000


def test_thinned_table_holds_the_best_and_the_newest(huge_run):
    whole = build_snapshot(huge_run, limit_bytes=None)["trials"]
    complete = [
        (value, number)
        for value, number, state in zip(
            whole["value"], whole["number"], whole["state"], strict=True
        )
        if state == "complete"
    ]
    best = {number for _, number in sorted(complete, reverse=True)[:100]}
    kept = set(build_snapshot(huge_run)["trials"]["number"])
    assert best <= kept
    assert set(range(9_900, 10_000)) <= kept


def test_counts_are_of_all_trials_also_of_those_left_out(huge_run):
    counts = build_snapshot(huge_run)["header"]["counts"]
    assert sum(counts.values()) == 10_000


@pytest.mark.parametrize("limit", [200_000, 60_000, 20_000, 6_000])
def test_limit_is_kept(big_run, limit):
    assert saved_size(build_snapshot(big_run, limit_bytes=limit)) <= limit


def test_long_curves_are_thinned(record):
    record.plan(0)
    record.start(0)
    steps = list(range(5_000))
    record.apply(
        StepsDone(trial=0, name="step_loss", steps=steps, values=[math.sin(s / 50) for s in steps])
    )
    [line] = build_snapshot(record.folder)["curves"]["lines"]
    assert len(line["x"]) <= 100
    assert (line["x"][0], line["x"][-1]) == (0, 4_999)


def test_five_hundred_parameters_and_long_texts_stay_within_the_limit(record):
    for number in range(40):
        record.plan(number, {f"parameter_{i:03}": "x" * 500 for i in range(500)})
        record.apply(LogLine(text="y" * 9_000, time=record.tick()))
        record.start(number)
        record.end(number, None, "failed", error="z" * 2_000)
    assert saved_size(build_snapshot(record.folder)) <= LIMIT_BYTES


def test_log_holds_the_last_fifty_lines(record):
    record.apply(*(LogLine(text=f"line {i}", time=record.tick()) for i in range(80)))
    log = build_snapshot(record.folder)["log"]
    assert [entry["text"] for entry in log] == [f"line {i}" for i in range(30, 80)]


def test_decimation_keeps_a_lone_peak():
    y = [0.0] * 1_000
    y[437] = 9.0
    assert 9.0 in decimate(list(range(1_000)), y, 20)[1]


def test_decimation_gives_at_most_what_was_asked():
    for n in (2, 3, 7, 100):
        assert len(decimate(list(range(1_000)), [float(i % 13) for i in range(1_000)], n)[0]) <= n


def test_eta_spreads_the_rest_over_the_workers():
    common = {"durations_s": [10.0], "running_s": [], "running_shares": [], "wall_left_s": None}
    assert estimate_eta(n_left=8, n_workers=2, **common) == 40.0


def test_eta_before_the_first_end_comes_from_the_epochs():
    eta = estimate_eta(
        durations_s=[],
        running_s=[5.0],
        running_shares=[0.25],
        n_left=1,
        n_workers=1,
        wall_left_s=None,
    )
    assert eta == 35.0


def test_eta_is_unknown_before_anything_happened():
    eta = estimate_eta(
        durations_s=[], running_s=[], running_shares=[], n_left=9, n_workers=1, wall_left_s=None
    )
    assert eta is None


def test_eta_is_at_most_what_the_time_budget_leaves():
    eta = estimate_eta(
        durations_s=[10.0],
        running_s=[],
        running_shares=[],
        n_left=100,
        n_workers=1,
        wall_left_s=30.0,
    )
    assert eta == 30.0


def test_header_says_what_is_left(new_record):
    record = new_record(budget=Budget(n_trials=3)).begin()
    record.plan(0)
    record.start(0)
    record.tick(10 - 0.1)
    record.end(0, 0.5)
    eta = build_snapshot(record.folder, now=record.now)["header"]["eta_s"]
    assert eta == pytest.approx(20, abs=0.2)


def test_paused_run_has_no_eta(record):
    record.plan(0)
    record.start(0)
    record.end(0, 0.5)
    record.apply(RunStateChanged(state="paused", time=record.tick()))
    assert build_snapshot(record.folder)["header"]["eta_s"] is None
