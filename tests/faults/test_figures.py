"""What safety costs: `report` in a trial, many runs at once (F28), and what must be soon (F9, F15, TPE)."""

from __future__ import annotations

import itertools
import json
import random
import time
from dataclasses import dataclass

import optuna
import pytest
import torch
from engine_runs import wait_for_end
from fault_runs import n_points, objective_words

from nbautoml.data import load_named, open_data, snapshot
from nbautoml.errors import ModelError
from nbautoml.spec import Float, Objective, Space
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.recipe import Execution
from nbautoml.study import Study
from nbautoml.train import dry_run

pytestmark = [pytest.mark.timed, pytest.mark.nightly, pytest.mark.timeout(1800)]

TIMED = """
def objective(trial):
    import json, os, time
    seconds, judged = [], []
    for step in range(1, {n} + 1):
        begin = time.perf_counter()
        trial.report(1 / step, step)
        seconds.append(time.perf_counter() - begin)
        assert not trial.should_prune()
        judged.append(time.perf_counter() - begin)
        time.sleep({pause})
    for name, measured in (("reports", seconds), ("judgements", judged)):
        place = os.environ["NBAUTOML_TEST_COMPUTED"] + "." + name
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, (json.dumps(measured) + chr(10)).encode())
        os.close(handle)
    return 1.0
"""


def times_of(acked, what: str = "reports") -> list[float]:
    text = (acked.folder / f"computed.{what}").read_text(encoding="utf-8")
    return [value for line in text.splitlines() for value in json.loads(line)]


@pytest.mark.parametrize("stopper", ["none", "median"])
def test_report_is_timed_inside_a_trial(runs, acked, light, figures, stopper):
    words = objective_words(2, execution=Execution(n_workers=2), stopper=stopper)
    folder = runs.submit(TIMED.format(n=2000, pause=0.001), **words)
    assert wait_for_end(folder) == "finished"
    seconds, judged = times_of(acked), times_of(acked, "judgements")
    assert len(seconds) == len(judged) == 4000
    assert all(0 < told <= with_verdict for told, with_verdict in zip(seconds, judged, strict=True))
    with folder.reader() as reader:
        assert [reader.points(trial=n).epochs for n in (0, 1)] == [list(range(1, 2001))] * 2
    goals = {"report_s_median": 0.0001, "report_s_p99": 0.001}
    figures.within(
        f"report, stopper {stopper}", goals, report_s=seconds, with_should_prune_s=judged
    )


def test_f28_ten_runs_at_once_lose_no_point(runs, acked, light, figures):
    n_reports = 30_000 if n_points(0) >= 200 else 1000  # at 100 a second
    source = TIMED.format(n=n_reports, pause=0.01)
    folders = [
        runs.submit(source, **objective_words(1, execution=Execution(n_workers=1)))
        for _ in range(10)
    ]
    wait_s = 240 + 2 * n_reports * 0.01
    assert {wait_for_end(folder, wait_s=wait_s) for folder in folders} == {"finished"}
    for folder in folders:
        with folder.reader() as reader:
            assert reader.points(trial=0).epochs == list(range(1, n_reports + 1))
    figures.add("F28", runs=10, points=10 * n_reports, lost=0)
    figures.within("F28", {"report_s_p99": 0.005}, report_s=times_of(acked))


CRASH = """
def objective(trial):
    import os
    x = trial.suggest_float("x", -5, 5)
    if trial.number % 2 == 0:
        {how}
    return x
"""
CRASHES = {
    "an exit": "os._exit(0)",
    "a crash in native code": "import ctypes; ctypes.string_at(0)",
    "an error": "raise ValueError(trial.number)",
}


@pytest.mark.parametrize("how", CRASHES)
def test_f9_the_next_trial_starts_soon_after_one_that_crashed(runs, acked, light, figures, how):
    words = objective_words(12, execution=Execution(n_workers=1))
    folder = runs.submit(CRASH.format(how=CRASHES[how]), **words)
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        rows = reader.trials()
    assert [row.state for row in rows] == ["failed", "complete"] * 6
    waited = [after.started_at - before.ended_at for before, after in itertools.pairwise(rows)][::2]
    figures.within(f"F9 {how}", {"next_trial_s_max": 1.0}, next_trial_s=waited)


def test_f15_a_shape_that_does_not_fit_is_told_soon(figures, tmp_path):
    data = open_data(snapshot(load_named("digits"), home_data=tmp_path), tmp_path)
    seconds = []
    for width in range(20, 40):
        begin = time.perf_counter()
        with pytest.raises(ModelError, match="64"):
            dry_run(lambda width=width: torch.nn.Linear(width, 10), data, FitSettings(), "cpu")
        seconds.append(time.perf_counter() - begin)
    figures.within("F15", {"told_s_max": 2.0}, told_s=seconds)


@dataclass(frozen=True)
class Row:
    """A trial as a record has it."""

    number: int
    params: dict[str, float]
    value: float
    state: str = "complete"
    values: tuple[float, ...] = ()


def points_of(n: int) -> list[tuple[dict[str, float], float]]:
    draw = random.Random("5,000 trials")
    points = [{f"x{i}": draw.uniform(-5, 5) for i in range(4)} for _ in range(n)]
    return [(point, sum((value - 1) ** 2 for value in point.values())) for point in points]


def test_a_point_is_drawn_soon_beside_five_thousand_others(figures):
    names, known, n_asks = [f"x{i}" for i in range(4)], points_of(5000), 50
    space = Space({name: Float(-5, 5) for name in names})
    ours = Study(space, (Objective("value", "minimize"),), sampler="tpe", stopper="none")
    begin = time.perf_counter()
    ours.restore(
        Row(number=n, params=point, value=value, values=(value,))
        for n, (point, value) in enumerate(known)
    )
    restored_s = time.perf_counter() - begin
    asks, theirs = [], []
    for _ in range(n_asks):
        begin = time.perf_counter()
        number, drawn = ours.ask()
        asks.append(time.perf_counter() - begin)
        assert list(drawn) == names
        ours.tell(number, "complete", [drawn["x0"] ** 2])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, constant_liar=True)
    )
    kinds = {name: optuna.distributions.FloatDistribution(-5, 5) for name in names}
    for point, value in known:
        study.add_trial(optuna.trial.create_trial(params=point, distributions=kinds, value=value))
    for _ in range(n_asks):
        begin = time.perf_counter()
        trial = study.ask(kinds)
        theirs.append(time.perf_counter() - begin)
        study.tell(trial, trial.params["x0"] ** 2)
    figures.within(
        "TPE at 5,000 trials", {"ask_s_median": 0.010}, ask_s=asks, restored_s=[restored_s]
    )
    figures.within("TPE at 5,000 trials, Optuna in memory", {}, ask_s=theirs)
