"""Ways take turns, and stop in time."""

from __future__ import annotations

import pytest
from turns import Clock, TimeOverError, alternate


def test_ways_take_turns_and_the_first_ones_are_not_kept() -> None:
    called: list[str] = []
    ways = {name: lambda name=name: called.append(name) or float(len(called)) for name in "ab"}

    found = alternate(ways, repeats={"a": 2, "b": 1}, n_warm=1)

    assert called == ["a", "b", "a", "b", "a"]
    assert found == {"a": [3.0, 5.0], "b": [4.0]}


def test_no_turn_begins_that_would_end_too_late() -> None:
    clock = Clock(3600.0)

    def slow() -> float:
        clock._until -= 3000.0  # as if it had taken so long
        return 1.0

    found = alternate({"slow": slow, "fast": lambda: 2.0}, repeats=5, clock=clock)

    assert found["slow"] == [1.0, 1.0]
    assert clock.taken() == ["Repeats cut short by the time limit: slow 2 of 5, fast 2 of 5."]
    assert clock.taken() == []


def test_nothing_begins_once_time_is_over() -> None:
    with pytest.raises(TimeOverError, match="time was over"):
        alternate({"a": lambda: 1.0}, repeats=1, clock=Clock(0.0))


def test_a_first_turn_that_took_all_the_time_is_no_figure() -> None:
    clock = Clock(3600.0)

    def slow() -> float:
        clock._until -= 3600.0
        return 1.0

    with pytest.raises(TimeOverError, match="first turn only"):
        alternate({"slow": slow}, repeats=5, n_warm=1, clock=clock)
    assert clock.taken() == []
