"""The front of many points is what its definition says, ties and repeated points included."""

from __future__ import annotations

import random

import pytest

from nbautoml.spec.fronts import dominates, front_of


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("n_levels", [2, 5, 1000])
def test_front_holds_exactly_the_points_that_no_other_dominates(n_objectives, n_levels):
    draw = random.Random(n_objectives * n_levels)
    points = [
        tuple(float(draw.randrange(n_levels)) for _ in range(n_objectives)) for _ in range(200)
    ]
    expected = [
        at for at, own in enumerate(points) if not any(dominates(other, own) for other in points)
    ]
    assert front_of(points) == expected


def test_infinite_values_are_compared_too():
    points = [(float("inf"), 1.0), (2.0, 1.0), (2.0, float("-inf")), (2.0, float("-inf"))]
    assert front_of(points) == [2, 3]


def test_no_points_have_no_front():
    assert front_of([]) == []
