"""Pictures of a run."""

from __future__ import annotations

import pytest

from nbautoml.errors import NbAutomlError


def test_history_draws_every_trial_with_a_value(digits):
    ax = digits.plot_history().axes[0]
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 5
    assert ax.get_ylabel() == "accuracy"


def test_curves_highlight_the_best_trial(digits):
    ax = digits.plot_curves().axes[0]
    labels = [line.get_label() for line in ax.lines]
    assert "trial 2, the best" in labels
    assert len(ax.lines) == 5


def test_curves_of_a_quantity_inside_epochs_are_drawn_over_steps(digits):
    assert digits.plot_curves("step_loss").axes[0].get_xlabel() == "step"


def test_curves_of_an_unknown_quantity_name_the_nearest(digits):
    with pytest.raises(NbAutomlError) as caught:
        digits.plot_curves("acuracy")
    assert "did you mean 'accuracy'" in caught.value.hint


def test_importance_has_a_bar_a_parameter(digits):
    ax = digits.plot_importance().axes[0]
    assert {label.get_text() for label in ax.get_yticklabels()} >= {"hidden", "lr"}


def test_parallel_has_a_line_a_trial_and_an_axis_a_parameter(digits):
    ax = digits.plot_parallel().axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "hidden",
        "lr",
        "optimizer",
        "momentum",
    ]


def test_slices_are_one_a_parameter(digits):
    axes = digits.plot_slice("lr", "optimizer").axes
    assert [ax.get_xlabel() for ax in axes] == ["lr", "optimizer"]


def test_a_figure_is_a_picture_as_the_value_of_a_cell(digits):
    assert digits.plot_history()._repr_png_().startswith(b"\x89PNG")


def test_slice_of_an_unknown_parameter_names_the_nearest(digits):
    with pytest.raises(NbAutomlError, match="'hiden' is no parameter"):
        digits.plot_slice("hiden")


def test_pictures_of_a_run_without_values_say_so(record):
    with pytest.raises(NbAutomlError, match="no trial with a value yet"):
        record().run.plot_history()
