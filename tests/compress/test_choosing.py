"""Which model of a compression is the one that was asked for, and what is said about the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nbautoml.compress.choosing import summary, verdicts
from nbautoml.compress.limits import Limits, pick
from nbautoml.errors import RecipeError
from nbautoml.spec import Objective

OBJECTIVES = (
    Objective("accuracy", "maximize"),
    Objective("latency_ms", "minimize"),
    Objective("size_bytes", "minimize"),
)


def row(number: int, accuracy: float, ms: float, kb: float, **params: Any) -> Any:
    """A finished trial."""
    return SimpleNamespace(
        number=number,
        state="complete",
        values=(accuracy, ms, 1000 * kb),
        metrics={},
        params=params,
        error="",
    )


ORIGIN = row(0, 0.98, 1.0, 800, pruning="off", quantization="off")
FAST = row(1, 0.975, 0.25, 200, pruning="channels", quantization="off")
SLOW = row(2, 0.98, 1.2, 210, pruning="off", quantization="int8_static")
BAD = row(3, 0.90, 0.1, 50, pruning="channels", quantization="int8_static")
ROWS = [ORIGIN, FAST, SLOW, BAD]


def test_the_smallest_within_the_drop_is_picked() -> None:
    found = pick(ROWS, OBJECTIVES, Limits(max_drop=0.01))
    assert found is not None
    assert (found.number, found.broken) == (1, {})


def test_a_slower_model_is_not_taken_for_its_size() -> None:
    tiny = row(4, 0.98, 1.5, 20, pruning="off", quantization="int4_weights")
    found = pick([ORIGIN, tiny], OBJECTIVES, Limits())
    assert found is not None
    assert found.number == 0


def test_a_slower_model_is_taken_where_the_size_is_limited() -> None:
    found = pick([ORIGIN, SLOW], OBJECTIVES, Limits(size_bytes=300_000.0))
    assert found is not None
    assert found.number == 2


def test_a_larger_drop_allows_more() -> None:
    found = pick(ROWS, OBJECTIVES, Limits(max_drop=0.1))
    assert found is not None
    assert found.number == 3


def test_a_drop_of_exactly_the_limit_is_within_it() -> None:
    rows = [row(0, 0.3, 1, 1), row(1, 0.2, 0.5, 0.5)]
    found = pick(rows, OBJECTIVES, Limits(max_drop=0.1))
    assert found is not None
    assert found.number == 1


def test_without_anything_better_the_original_stays() -> None:
    found, text = summary([ORIGIN, SLOW], OBJECTIVES, Limits(max_drop=0.0, latency_ms=1.1))
    assert found is not None
    assert found.number == 0
    assert "the original stays" in text


def test_a_limit_that_cannot_be_met_is_named_and_the_nearest_given() -> None:
    found, text = summary(ROWS, OBJECTIVES, Limits(max_drop=0.01, latency_ms=0.2))
    assert found is not None
    assert found.number == 1
    assert list(found.broken) == ["latency_ms"]
    assert "no model keeps to the limit of latency_ms" in text


def test_a_model_whose_energy_nobody_measured_does_not_keep_to_a_limit_of_it() -> None:
    measured = row(4, 0.98, 0.9, 700, pruning="channels")
    measured.metrics = {"energy_mj": 4.0}
    found = pick([ORIGIN, FAST, measured], OBJECTIVES, Limits(energy_mj=5.0))
    assert found is not None
    assert (found.number, found.broken) == (4, {})


def named(ms: float, *, spread: float = 0.0, accuracy: float = 0.98, kb: float = 800) -> list[Any]:
    """A run of techniques that were named: the original, and what they made of it."""
    rows = [
        row(0, 0.98, 1.0, 800, version="original"),
        row(1, accuracy, ms, kb, version="compressed"),
    ]
    for one in rows:
        one.metrics = {"latency_spread_ms": spread}
    return rows


@pytest.mark.parametrize("ms", [0.99, 1.0, 1.01, 1.02])
def test_what_was_asked_for_by_name_is_the_pick_where_the_clock_sees_no_difference(ms) -> None:
    found = pick(named(ms), OBJECTIVES, Limits())
    assert found is not None
    assert found.number == 1


@pytest.mark.parametrize(
    ("ms", "spread", "number"), [(1.05, 0.0, 0), (1.05, 0.06, 1), (1.3, 0.5, 0)]
)
def test_what_was_asked_for_by_name_may_be_slower_by_the_clocks_spread(ms, spread, number) -> None:
    found = pick(named(ms, spread=spread), OBJECTIVES, Limits())
    assert found is not None
    assert found.number == number


def test_what_was_asked_for_by_name_must_keep_to_the_limits() -> None:
    found = pick(named(1.0, accuracy=0.9), OBJECTIVES, Limits(max_drop=0.01))
    assert found is not None
    assert found.number == 0


def test_a_search_takes_no_equal_model_for_its_name() -> None:
    same = row(1, 0.98, 1.01, 800, pruning="off", distillation="on")
    found = pick([ORIGIN, same], OBJECTIVES, Limits())
    assert found is not None
    assert found.number == 0


def test_the_spread_of_a_latency_is_told_beside_it() -> None:
    _, text = summary(named(0.5, spread=0.0213), OBJECTIVES, Limits())
    assert "2x faster (1 to 0.5 ms, spread 0.021)" in text


def test_what_is_smaller_only_once_it_is_coded_is_told_so() -> None:
    rows = named(1.0)
    for one, stored in zip(rows, (400_000.0, 10_000.0), strict=True):
        one.metrics = {"stored_bytes": stored, "weights": 100_000.0}
    _, text = summary(rows, OBJECTIVES, Limits())
    assert "as large (800 to 800 KB), 40x smaller once entropy coded (400 to 10 KB)" in text


def test_what_has_fewer_weights_is_not_told_twice() -> None:
    rows = named(0.5, kb=80)
    for one, n in zip(rows, (100_000.0, 10_000.0), strict=True):
        one.metrics = {"stored_bytes": 4 * n, "weights": n}
    _, text = summary(rows, OBJECTIVES, Limits())
    assert "coded" not in text


def test_rows_that_the_search_did_not_see_decide() -> None:
    rows = [
        row(0, 0.98, 1.0, 800, pruning="off"),
        row(1, 0.975, 0.25, 200, pruning="channels"),
        row(2, 0.98, 0.2, 100, pruning="channels"),  # lucky
    ]
    for one, accuracy in zip(rows, (0.97, 0.965, 0.93), strict=True):
        one.metrics = {"held_out_accuracy": accuracy}
    found, text = summary(rows, OBJECTIVES, Limits(max_drop=0.01), n_held_out=1200)
    assert found is not None
    assert found.number == 1
    assert "accuracy 0.97 to 0.965" in text
    assert text.endswith("(by 1,200 validation rows that the search did not see)")


def test_a_model_that_is_lucky_on_the_held_out_half_must_keep_the_limit_on_all_rows() -> None:
    rows = [
        row(0, 0.97, 1.0, 800, pruning="off"),
        row(1, 0.94, 0.2, 100, pruning="channels"),  # by the seen half beyond the limit
        row(2, 0.965, 0.3, 200, pruning="channels"),
    ]
    for one, accuracy in zip(rows, (0.97, 0.965, 0.965), strict=True):
        one.metrics = {"held_out_accuracy": accuracy}
    found = pick(rows, OBJECTIVES, Limits(max_drop=0.01))
    assert found is not None
    assert found.number == 2
    texts = {v.name: v.text for v in verdicts(rows[:2], OBJECTIVES, Limits(max_drop=0.01))}
    assert texts["channels"].endswith("not kept, beyond the limit of accuracy")


@pytest.mark.parametrize(
    ("ms", "spread", "number"),
    [(0.255, 0.0, 2), (0.26, 0.0, 1), (0.26, 0.02, 2), (0.27, 0.2, 1)],
    ids=["the clock's 2 %", "beyond it", "within the spread", "no spread excuses 8 %"],
)
def test_of_times_that_the_clock_cannot_tell_apart_the_smaller_file_is_taken(
    ms: float, spread: float, number: int
) -> None:
    rows = [
        row(0, 0.98, 1.0, 800, pruning="off"),
        row(1, 0.975, 0.25, 200, pruning="channels"),
        row(2, 0.975, ms, 198, pruning="channels", quantization="fp16"),
    ]
    for one in rows:
        one.metrics = {"latency_spread_ms": spread}
    found = pick(rows, OBJECTIVES, Limits(max_drop=0.01))
    assert found is not None
    assert found.number == number


def test_nothing_is_picked_before_the_original_is_measured() -> None:
    assert pick([FAST], OBJECTIVES, Limits()) is None


def test_a_metric_that_is_better_when_small_may_grow_by_the_drop() -> None:
    objectives = (Objective("rmse", "minimize"), *OBJECTIVES[1:])
    rows = [row(0, 10.0, 1, 10), row(1, 10.5, 0.5, 5), row(2, 11.5, 0.1, 1)]
    found = pick(rows, objectives, Limits(max_drop=1.0))
    assert found is not None
    assert found.number == 1


def test_slower_quantisation_is_said_to_be_slower() -> None:
    texts = {v.name: v for v in verdicts(ROWS, OBJECTIVES, Limits(max_drop=0.01))}
    assert texts["channels"].is_kept
    assert "4x faster (1 to 0.25 ms), 4x smaller" in texts["channels"].text
    assert not texts["int8_static"].is_kept
    assert "1.2x slower" in texts["int8_static"].text
    assert texts["int8_static"].text.endswith("not kept, slower here")


def test_a_student_of_another_shape_is_named_beside_its_teacher() -> None:
    half = row(4, 0.98, 0.2, 90, distillation="on", student="half", pruning="off")
    texts = {v.name: v.text for v in verdicts([ORIGIN, half], OBJECTIVES, Limits())}
    assert texts["half_student"].startswith("half_student with distillation: 5x faster")
    assert "same_student" not in texts


def test_a_model_of_two_techniques_is_told_once() -> None:
    both = row(4, 0.98, 0.2, 90, pruning="channels", quantization="int8_static")
    found = verdicts([ORIGIN, both], OBJECTIVES, Limits())
    assert [verdict.name for verdict in found] == ["channels"]
    assert found[0].text.startswith("channels with int8_static: 5x faster")
    assert found[0].text.endswith("(trial 4): kept")


def test_each_other_technique_has_its_own_sentence() -> None:
    both = row(4, 0.98, 0.2, 90, pruning="channels", quantization="int8_static")
    found = verdicts(
        [ORIGIN, both, SLOW, row(5, 0.98, 0.9, 700, low_rank="on")], OBJECTIVES, Limits()
    )
    assert [verdict.name for verdict in found] == ["channels", "low_rank"]


def test_a_technique_that_failed_says_why() -> None:
    failed = SimpleNamespace(
        number=4, state="failed", values=(), metrics={}, params={"low_rank": "on"}, error="no layer"
    )
    found = verdicts([*ROWS, failed], OBJECTIVES, Limits())
    assert found[-1].text == "low_rank: failed, no layer"


@pytest.mark.parametrize("said", [{"max_drop": -0.1}, {"latency_ms": 0.0}, {"size_bytes": -1.0}])
def test_impossible_limits_are_refused(said: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=r"is -?\d"):
        Limits(**said)
