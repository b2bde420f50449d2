"""The check that holds every kill test (`fault_runs.check_nothing_lost`) finds what it is there to find."""

from __future__ import annotations

import pytest
from fault_runs import check_curves

from nbautoml.store import Points, TrialRow


def points_of(epochs: list[int], steps: list[int]) -> Points:
    n = len(epochs)
    return Points(
        ids=list(range(n)),
        trials=[0] * n,
        names=["loss" if any(epochs) else "step_loss"] * n,
        steps=steps,
        epochs=epochs,
        values=[1.0] * n,
    )


def trial_at(epoch: int, step: int) -> TrialRow:
    return TrialRow(number=0, state="complete", params={}, epoch=epoch, step=step)


def test_whole_curves_are_whole():
    check_curves(trial_at(3, 30), points_of([1, 2, 3], [10, 20, 30]), 3)
    check_curves(trial_at(3, 30), points_of([0] * 6, [5, 10, 15, 20, 25, 30]), 3)


@pytest.mark.parametrize(
    ("epochs", "steps"),
    [
        ([], []),
        ([2, 3], [20, 30]),
        ([1, 2], [10, 20]),
        ([1, 3], [10, 30]),
        ([1, 2, 2, 3], [10, 20, 20, 30]),
        ([1, 3, 2], [10, 30, 20]),
        ([1, 2, 3], [10, 25, 30]),
        ([0, 0], [5, 10]),
        ([0, 0, 0, 0], [15, 20, 25, 30]),
        ([0, 0, 0], [10, 20, 25]),
    ],
    ids=str,
)
def test_a_curve_without_head_or_tail_with_a_hole_or_a_step_twice_is_found(epochs, steps):
    with pytest.raises(AssertionError, match="trial 0"):
        check_curves(trial_at(3, 30), points_of(epochs, steps), 3)
