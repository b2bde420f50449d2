"""A run of several objectives in its user's hands: table, front, picture, study, code, comparison."""

from __future__ import annotations

import pytest

from nbautoml.api.listing import RunList
from nbautoml.api.texts import run_line
from nbautoml.errors import NbAutomlError
from nbautoml.events import EpochEnded, TrialEnded, TrialPlanned, TrialStarted
from nbautoml.spec import Objective

BOTH = (Objective("accuracy", "maximize"), Objective("n_parameters", "minimize"))
# Trial 2 is beaten by trial 0 in both; trial 4 was stopped before anything can be said of it.
VALUES = [(0.8, 100.0), (0.9, 300.0), (0.7, 200.0), (0.95, 900.0), (0.99, 1.0)]


@pytest.fixture
def both(record):
    made = record("both", objectives=BOTH)
    for number, values in enumerate(VALUES):
        metrics = dict(zip(("accuracy", "n_parameters"), values, strict=True))
        params = {"hidden": 16 + number, "lr": 0.001 * 2**number, "optimizer": "adam"}
        state = "stopped_early" if number == 4 else "complete"
        made.writer.apply(
            [
                TrialPlanned(trial=number, params=params, time=2.0),
                TrialStarted(trial=number, worker=1, time=3.0),
                EpochEnded(trial=number, epoch=1, step=2, metrics=metrics, time=4.0),
                TrialEnded(
                    trial=number, state=state, values=list(values), metrics=metrics, time=5.0
                ),
            ]
        )
    made.state("finished")
    return made.run


def test_the_table_says_who_is_on_the_front(both):
    table = both.trials
    assert list(table["on_front"]) == [True, True, False, True, False]
    assert list(table["accuracy"]) == [values[0] for values in VALUES]
    assert list(table["n_parameters"]) == [values[1] for values in VALUES]
    assert list(both.front["number"]) == [3, 1, 0]


def test_with_one_objective_there_is_no_such_column(digits):
    assert "on_front" not in digits.trials
    assert list(digits.front["number"]) == [digits.best.number]


def test_a_list_of_runs_has_the_best_of_each_objective(both):
    assert both.info.bests == {"accuracy": 0.95, "n_parameters": 100.0}
    assert "accuracy 0.95, n_parameters 100" in repr(RunList([both.info], both.home))
    assert "best of each accuracy 0.95, n_parameters 100" in run_line(both.info, both.recipe)


def test_a_list_of_runs_has_the_value_alone_where_there_is_one_objective(digits):
    assert digits.info.bests == {}
    assert "accuracy" not in repr(RunList([digits.info], digits.home)).splitlines()[1]


def test_the_front_is_drawn(both):
    ax = both.plot_front().axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("n_parameters", "accuracy")
    assert list(ax.lines[0].get_xdata()) == [100.0, 300.0, 900.0]


def test_a_run_of_one_objective_points_at_its_history(digits):
    with pytest.raises(NbAutomlError, match="has one objective, accuracy") as caught:
        digits.plot_front()
    assert "plot_history" in caught.value.hint


def test_there_is_no_single_best_and_the_error_names_the_front(both):
    with pytest.raises(NbAutomlError, match="2 objectives and no single best") as caught:
        _ = both.best_model
    assert "both.front" in caught.value.hint


def test_optunas_study_has_the_same_front(both, tmp_path):
    study = both.study
    assert sorted(trial.number for trial in study.best_trials) == [0, 1, 3]
    assert study.metric_names == ["accuracy", "n_parameters"]
    url = f"sqlite:///{tmp_path / 'both.db'}"
    assert both.to_optuna(url) == "both"


@pytest.mark.parametrize(
    "plot", ["plot_history", "plot_curves", "plot_importance", "plot_parallel", "plot_slice"]
)
def test_the_other_pictures_show_the_first_objective(both, plot):
    assert getattr(both, plot)()._repr_png_().startswith(b"\x89PNG")


def test_the_report_has_both_objectives_and_the_front(both, tmp_path):
    page = both.report(tmp_path / "both.html").read_text(encoding="utf-8")
    assert "n_parameters" in page
    assert "trials 3, 1, 0: no other beats them" in page
