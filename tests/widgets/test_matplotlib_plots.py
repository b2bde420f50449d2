"""matplotlib figures: right data, no global state."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from nbautoml.errors import NbAutomlError
from nbautoml.widgets import plots

TRIALS = {
    "number": [0, 1, 2, 3],
    "state": ["complete", "stopped_early", "complete", "failed"],
    "value": [0.5, 0.9, 0.7, None],
    "lr": [0.1, 0.01, 0.001, 0.5],
    "optimizer": ["sgd", "adam", "$x^", "sgd"],
    "momentum": [0.9, None, None, 0.1],
}
POINTS = {
    "trial": [0, 0, 1, 0],
    "name": ["loss", "loss", "loss", "step_loss"],
    "step": [10, 20, 10, 5],
    "epoch": [1, 2, 1, 0],
    "value": [1.0, float("nan"), 0.8, 2.0],
}
PARAMS = ["lr", "optimizer", "momentum"]


def drawn(figure) -> bytes:
    return figure._repr_png_()


def test_history_steps_along_the_best_complete_trials():
    figure = plots.plot_history(TRIALS, metric="accuracy", direction="maximize")
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.5, 0.5, 0.7]


def test_history_goes_down_when_minimised():
    figure = plots.plot_history(TRIALS, direction="minimize")
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.5, 0.5, 0.5]


def test_curves_of_epochs_are_drawn_over_epochs():
    ax = plots.plot_curves(POINTS, name="loss", best=0).axes[0]
    assert ax.get_xlabel() == "epoch"
    assert [list(line.get_xdata()) for line in ax.lines] == [[1], [1, 2]]


def test_curves_of_steps_are_drawn_over_steps():
    assert plots.plot_curves(POINTS, name="step_loss").axes[0].get_xlabel() == "step"


def test_curves_of_some_trials():
    assert len(plots.plot_curves(POINTS, name="loss", trials=[1]).axes[0].lines) == 1


def test_curves_of_an_unknown_name_suggest_the_nearest():
    with pytest.raises(NbAutomlError, match="did you mean 'step_loss'"):
        plots.plot_curves(POINTS, name="step_los")


def test_importance_is_sorted():
    ax = plots.plot_importance({"lr": 0.2, "hidden": 0.7}, metric="accuracy").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["lr", "hidden"]


def test_parallel_draws_a_line_a_trial_with_a_value():
    ax = plots.plot_parallel(TRIALS, PARAMS, direction="maximize", log=["lr"]).axes[0]
    assert sum(len(line.get_xdata()) == 3 for line in ax.lines) == 3


def test_slice_draws_a_plot_a_parameter():
    figure = plots.plot_slice(TRIALS, PARAMS, metric="accuracy", log=["lr"])
    assert [ax.get_xlabel() for ax in figure.axes if ax.get_visible()] == PARAMS
    assert figure.axes[0].get_xscale() == "log"


def test_the_front_is_drawn_against_each_further_objective():
    trials = {
        "number": [0, 1, 2],
        "state": ["complete", "complete", "stopped_early"],
        "values": [(0.9, 50, 3.0), (0.8, 10, 2.0), (0.5, 60, 4.0)],
    }
    figure = plots.plot_front(trials, ["accuracy", "n_parameters", "$loss"], front=[0, 1])
    assert drawn(figure)
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("n_parameters", "accuracy")
    assert list(left.lines[0].get_xdata()) == [10, 50]
    assert list(right.lines[0].get_xdata()) == [2.0, 3.0]


def test_frames_serve_as_tables():
    frame = pd.DataFrame(TRIALS)
    assert drawn(plots.plot_parallel(frame, PARAMS))
    assert drawn(plots.plot_history(frame))


@pytest.mark.parametrize(
    "figure",
    [
        lambda t: plots.plot_history(t),
        lambda t: plots.plot_parallel(t, PARAMS),
        lambda t: plots.plot_slice(t, PARAMS, log=["lr"]),
        lambda t: plots.plot_importance({}),
    ],
)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_figures_can_be_drawn_of_few_trials(figure, n):
    assert drawn(figure({name: column[:n] for name, column in TRIALS.items()})).startswith(
        b"\x89PNG"
    )


def test_names_are_no_mathematics():
    trials = {**TRIALS, "$\\frac": [1, 2, 3, 4]}
    assert drawn(plots.plot_slice(trials, ["$\\frac"], metric="$x_", title="$"))


def test_pyplot_is_never_loaded():
    code = (
        "import sys\nfrom nbautoml.widgets import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.plot_importance({'lr': 1.0})._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
