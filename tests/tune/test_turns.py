"""Which group of trials a worker trains next."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from nbautoml.tune.turns import LEADERS_SHARE, Turns


def taken(turns, seconds, promise, n):
    """Which groups had the next turns; ``seconds`` says what a turn of each takes."""
    order = []
    for _ in range(n):
        key = turns.next(list(seconds), promise)
        turns.charge(key, seconds[key])
        order.append(key)
    return order


def test_the_most_promising_group_has_its_share_of_the_time():
    seconds = {"small batches": 5.0, "large batches": 1.0, "medium": 2.0}
    order = taken(Turns(), seconds, {"large batches": 0.9, "medium": 0.8}, 400)
    spent = {key: n * seconds[key] for key, n in Counter(order).items()}
    assert abs(spent["large batches"] / sum(spent.values()) - LEADERS_SHARE) < 0.05
    assert abs(spent["small batches"] - spent["medium"]) <= 10.0


def test_while_nothing_is_known_all_are_served_alike():
    order = taken(Turns(), {"a": 1.0, "b": 1.0, "c": 2.0}, {}, 50)
    spent = [Counter(order)["a"], Counter(order)["b"], 2 * Counter(order)["c"]]
    assert max(spent) - min(spent) <= 2


def test_a_group_that_was_overtaken_is_served_like_the_others_from_then_on():
    turns, seconds = Turns(), {"a": 1.0, "b": 1.0, "c": 1.0}
    taken(turns, seconds, {"a": 0.9}, 100)
    after = Counter(taken(turns, seconds, {"a": 0.9, "b": 0.95}, 80))
    assert after["b"] >= 60
    assert abs(after["a"] - after["c"]) <= 2


def test_a_group_alone_has_all_the_time_and_owes_nothing_for_it():
    turns = Turns()
    taken(turns, {"a": 1.0}, {"a": 0.9}, 100)
    assert "a" in taken(turns, {"a": 1.0, "b": 1.0}, {"a": 0.9}, 3)


@settings(deadline=None)  # no times are asserted
@given(
    st.lists(st.floats(0.1, 2.0), min_size=2, max_size=6),
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
)
def test_no_group_starves_whoever_leads(lengths, leaders):
    seconds = dict(enumerate(lengths))
    turns, order = Turns(), []
    for at in itertools.islice(itertools.cycle(leaders), 100):
        order += taken(turns, seconds, {at % len(lengths): 1.0}, 50)
    spent = {key: order.count(key) * seconds[key] for key in seconds}
    least = (1 - LEADERS_SHARE) / len(lengths)
    assert min(spent.values()) > 0.5 * least * sum(spent.values())
