"""Finished trials are trained again in a worker, and give the same numbers, or it is said how far they are."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from contextlib import closing

import psutil
import pytest
from engine_runs import MLP, wait_for_end

from nbautoml.api.run import Run
from nbautoml.api.terminal import main
from nbautoml.api.versions import versions
from nbautoml.capsule import Capsule
from nbautoml.engine.again import Repeated, again
from nbautoml.errors import NbAutomlError
from nbautoml.events import RunStateChanged, TrialEnded, TrialPlanned, TrialStarted
from nbautoml.spec import Budget, Float, Int, Space
from nbautoml.spec.recipe import Execution, Target
from nbautoml.store import Owner

DROPOUT = """
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=16, dropout=0.3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        return self.layers(x)
"""


def finished(runs, source=DROPOUT, n_trials=4, **changes):
    given = {"budget": Budget(n_trials=n_trials), "versions": versions(), **changes}
    folder = runs.submit(source, **given)
    assert wait_for_end(folder) == "finished"
    return Run(folder, runs.home)


@pytest.fixture(scope="module")
def short(shared):
    """Two trials, trained in this process."""
    return finished(
        shared, MLP, n_trials=2, fixed={"epochs": 2}, execution=Execution(executor="inline")
    )


def contents(folder):
    """Every file of a run with what it holds."""
    files = (path for path in folder.path.rglob("*") if path.is_file())
    return {path.relative_to(folder.path): path.read_bytes() for path in files}


def test_trials_are_equal_and_the_run_is_as_it_was(runs):
    run = finished(runs, execution=Execution(executor="process", n_workers=2))
    # The supervisor's last line in its log comes after the run's last state.
    psutil.wait_procs(psutil.Process().children(), timeout=20)
    run.trials  # noqa: B018  a first look opens the record
    before = contents(run.folder)
    found = run.verify()
    assert contents(run.folder) == before
    assert [trial.verdict for trial in found.trials] == ["equal"] * 3
    assert run.best.number in {trial.number for trial in found.trials}
    assert found.reasons == ()
    names = {check.name for check in found.trials[0].checks}
    assert {"accuracy", "loss", "losses of the first 30 steps"} <= names


def test_trials_that_were_stopped_early_are_stopped_again(runs):
    run = finished(
        runs,
        n_trials=14,
        space=Space({"lr": Float(1e-6, 3e-2, log=True)}),
        fixed={"epochs": 4},
        stopper="asha",
        execution=Execution(executor="process"),
    )
    stopped = [int(n) for n in run.trials.query("state == 'stopped_early'").number][:2]
    assert stopped
    found = run.verify(stopped)
    assert [trial.number for trial in found.trials] == stopped
    assert found.is_equal


def test_stacked_trials_agree_to_rounding_and_that_is_expected(runs):
    run = finished(
        runs,
        space=Space({"lr": Float(1e-3, 3e-3)}),
        execution=Execution(executor="vectorized", n_workers=1),
    )
    found = run.verify(2)
    assert found.is_equal, found
    assert found.reasons == ("trained in stacks, and now one by one: expect rounding",)


def test_a_number_that_is_not_the_trials_own_is_found(short, capsys):
    run = short
    recipe = dataclasses.replace(run.recipe, name="told", run_id="")
    told = run.home.create_run(recipe, Capsule.load(run.folder.capsule_dir))
    with run.folder.reader() as reader:
        good, better = reader.trials()
    with closing(told.writer(Owner.this_process())) as writer:
        writer.create(told.recipe())
        for row, metrics in ((good, good.metrics), (better, {**better.metrics, "accuracy": 0.99})):
            writer.apply(
                [
                    TrialPlanned(trial=row.number, params=row.params),
                    TrialStarted(trial=row.number, worker=1),
                    TrialEnded(
                        trial=row.number, state="complete", values=[0.99], metrics=dict(metrics)
                    ),
                ]
            )
        writer.apply([RunStateChanged(state="finished")])
    words = ["verify", "told", "--trials", "0,1", "--json", "--home", str(run.home.path)]
    assert main(words) == 1
    found = json.loads(capsys.readouterr().out)
    checks = [
        {check["name"]: check["verdict"] for check in trial["checks"]} for trial in found["trials"]
    ]
    assert checks[0]["accuracy"] == checks[0]["loss"] == checks[1]["loss"] == "equal"
    assert checks[1]["accuracy"] == "differs"


def test_what_does_not_hang_on_the_seed_differs_and_versions_are_told(runs):
    source = MLP.replace(
        "return self.layers(x)",
        "import os; return self.layers(x) + int.from_bytes(os.urandom(1), 'big') / 99 * x[:, :10]",
    )
    run = finished(runs, source, n_trials=2, versions={**versions(), "torch": "2.11.0"})
    found = run.verify([0])
    assert found.differing == (0,)
    assert any(reason.startswith("torch was 2.11.0, is ") for reason in found.reasons)


def test_estimators_are_cross_validated_again(runs):
    source = """
    from sklearn.ensemble import RandomForestClassifier as Net
    """
    run = finished(
        runs,
        source,
        n_trials=2,
        target=Target(role="estimator", symbol="Net", capsule_hash=""),
        space=Space({"max_depth": Int(2, 5)}),
        fixed={"n_estimators": 5},
    )
    assert [trial.verdict for trial in run.verify().trials] == ["equal", "equal"]


def test_data_that_is_gone_is_told(runs):
    run = finished(runs, MLP, n_trials=1, execution=Execution(executor="inline"))
    digest = run.recipe.data.digest
    (runs.home.data_dir / digest).rename(runs.home.data_dir / "elsewhere")
    with pytest.raises(NbAutomlError, match=digest[:8]):
        run.verify()


def test_who_loses_interest_leaves_no_process(short):
    run = short
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    events = again(run.home, run.folder, [Repeated(number=0, params=run.trial(0).params)])
    next(events)
    events.close()
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert not psutil.wait_procs(left, timeout=10)[1]


def test_process_ends_when_who_asked_is_killed(short):
    run = short
    code = (
        "import sys; from pathlib import Path\n"
        "from nbautoml.engine.again import Repeated, again\n"
        "from nbautoml.store import Home, RunFolder\n"
        f"events = again(Home(Path({str(run.home.path)!r})), RunFolder(Path({str(run.folder.path)!r})),\n"
        f"               [Repeated(number=0, params={run.trial(0).params!r})])\n"
        "next(events); print('going', flush=True); import time; time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout.readline() == "going\n"
        family = psutil.Process(asker.pid).children(recursive=True)
        assert family
        asker.kill()
    assert not psutil.wait_procs(family, timeout=20)[1]
