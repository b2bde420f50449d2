"""What a search tries after the known settings: forms of good models, promotions, neighbours."""

from __future__ import annotations

from typing import Any

import pytest

from nbautoml.compress.course import TRAIN_S, Course, Done
from nbautoml.compress.families import shaping_of
from nbautoml.compress.limits import Limits
from nbautoml.compress.space import QUANTIZED, original_point, space_for
from nbautoml.spec import Objective, Space

SPACE = space_for([["conv1"], ["fc1"]], n_epochs=8, forms=QUANTIZED, among=("prune", "quantize"))
OBJECTIVES = (
    Objective("accuracy", "maximize"),
    Objective("latency_ms", "minimize"),
    Objective("size_bytes", "minimize"),
)
ORIGIN = original_point(SPACE)
PRUNED = {
    **ORIGIN, "pruning": "channels", "criterion": "l2", "sparsity_1": 0.5, "sparsity_2": 0.5,
    "epochs": 8,
}  # fmt: skip
FEW_PASSES = {**PRUNED, "sparsity_1": 0.7, "epochs": 2}


def course(*, is_counted: bool = False, space: Space = SPACE) -> Course:
    made = Course(space, OBJECTIVES, Limits(max_drop=0.02), 8, is_counted=is_counted)
    tell(made, ORIGIN, (0.98, 1.0, 1000.0))
    return made


def tell(told: Course, params: dict[str, Any], values: Any, *, train_s=0.0, seconds=1.0) -> None:
    number = len(told._rows)
    told.planned(params)
    told.learned(Done(number, params, values, {TRAIN_S: train_s}), seconds)


def forms_drawn(told: Course, values: dict[str, Any], n: int = 20) -> list[str]:
    """Forms of `PRUNED` that are asked for, each answered with its values; other points fail."""
    drawn = []
    for _ in range(n):
        point = told.next_point() or {}
        if shaping_of(point) == shaping_of(PRUNED):
            drawn.append(point["quantization"])
            tell(told, point, values[point["quantization"]])
        else:
            told.planned(point)
    return drawn


GAINS = {
    "int8_static": (0.975, 0.3, 140.0),
    "int8_dynamic": (0.975, 0.6, 130.0),
    "int8_weights": (0.975, 0.5, 125.0),
    "int4_weights": (0.97, 0.5, 70.0),
    "fp16": (0.975, 0.5, 250.0),
}


def test_a_good_model_is_tried_in_its_other_forms_without_another_training() -> None:
    told = course()
    tell(told, PRUNED, (0.975, 0.5, 500.0))
    assert set(forms_drawn(told, GAINS)) == set(GAINS)  # int8_aware would be another training


def test_a_form_that_is_known_to_give_nothing_is_not_tried_again() -> None:
    told = course()
    other = {**PRUNED, "sparsity_2": 0.4}
    tell(told, other, (0.975, 0.6, 600.0))
    for form, ratio in {"int8_dynamic": 2.0, "int8_weights": 0.25}.items():
        tell(told, {**other, "quantization": form}, (0.975, 0.6 * max(1.0, ratio), 600 * ratio))
    tell(told, PRUNED, (0.976, 0.5, 500.0))
    drawn = forms_drawn(told, GAINS)
    assert "int8_dynamic" not in drawn  # larger and slower than the same in 32 bits
    assert "int8_weights" in drawn


def test_a_form_that_only_fails_is_given_up() -> None:
    told = course()
    tell(told, PRUNED, (0.975, 0.5, 500.0))
    for _ in range(2):
        told.failed({**FEW_PASSES, "quantization": "int8_static"})
    assert "int8_static" not in forms_drawn(told, GAINS)


def test_a_model_beyond_the_limits_is_not_tried_in_other_forms() -> None:
    told = course()
    tell(told, PRUNED, (0.90, 0.5, 500.0))
    point = told.next_point()
    assert point is None or shaping_of(point) != shaping_of(PRUNED)


def test_where_models_are_counted_every_other_one_is_a_form() -> None:
    told = course(is_counted=True)
    tell(told, PRUNED, (0.975, 0.5, 500.0))
    kinds = []
    for _ in range(4):
        point = told.next_point() or {**FEW_PASSES, "sparsity_1": 0.1}
        kinds.append(shaping_of(point) == shaping_of(PRUNED))
        tell(told, point, GAINS.get(point["quantization"], (0.9, 0.9, 900.0)))
    assert kinds in ([True, False, True, False], [False, True, False, True])


def test_a_point_of_few_passes_gets_all_of_them_once() -> None:
    told = course()
    tell(told, FEW_PASSES, (0.95, 0.4, 400.0))
    promoted = {**FEW_PASSES, "epochs": 8}
    points = []
    for _ in range(6):
        point = told.next_point()
        points.append(point)
        told.planned(point or {})
    assert points.count(promoted) == 1


@pytest.mark.parametrize(
    ("train_s", "seconds", "n_passes"),
    [(2.0, 3.0, 2), (0.2, 2.6, 8), (1.0, 3.0, 4)],
    ids=["passes cost most", "passes cost nothing", "four take as long as all else"],
)
def test_few_passes_come_first_only_where_it_is_the_passes_that_cost(
    train_s: float, seconds: float, n_passes: int
) -> None:
    told = course()
    assert told.cheap_epochs == 2
    tell(told, FEW_PASSES, (0.95, 0.4, 400.0), train_s=train_s, seconds=seconds)
    assert told.cheap_epochs == n_passes


def test_without_quantisation_in_the_space_there_are_no_other_forms() -> None:
    space = space_for([["conv1"], ["fc1"]], n_epochs=8, forms=(), among=("prune",))
    told = course(space=space)
    pruned = {name: value for name, value in PRUNED.items() if name in space}
    tell(told, pruned, (0.975, 0.5, 500.0))
    point = told.next_point()
    assert point is not None
    assert point["sparsity_1"] > 0.5


def sized(told: Course) -> list[float]:
    """How much of the channels the next points leave that go between what is known."""
    point = told._sized()
    return [] if point is None else [round(1 - point[f"sparsity_{at}"], 3) for at in (1, 2)]


def cut(left: float, **how: Any) -> dict[str, Any]:
    return {**PRUNED, "sparsity_1": 1 - left, "sparsity_2": 1 - left, "lr_scale": 10.0, **how}


def test_what_is_left_is_of_as_many_blocks_as_the_best_has() -> None:
    space = space_for([["a"], ["b"]], n_epochs=8, forms=(), has_blocks=True)
    origin = original_point(space)
    pruned = {**origin, "pruning": "channels", "criterion": "l2", "epochs": 8}
    taught = {"distillation": "on", "temperature": 2.0, "student": "shallow", "taught": "last"}

    def narrowed(share: float) -> dict[str, Any]:
        return {**pruned, "sparsity_1": share, "sparsity_2": share, "lr_scale": 10.0}

    told = course(space=space)
    tell(told, narrowed(0.8), (0.98, 0.5, 500.0))
    tell(told, narrowed(0.82), (0.7, 0.4, 450.0))
    assert sized(told) == []  # there is no room between the two
    tell(told, {**narrowed(0.5), **taught}, (0.98, 0.2, 300.0))
    point = told._sized() or {}
    assert (point["student"], point["sparsity_1"]) == ("shallow", 0.625)
    assert told._sized_otherwise() is None  # of the others still no room
    tell(told, narrowed(0.95), (0.98, 0.1, 50.0))  # the best has all blocks now
    assert (told._sized_otherwise() or {})["student"] == "shallow"


def test_what_is_left_goes_half_way_between_good_and_too_little() -> None:
    told = course()
    tell(told, cut(0.4), (0.975, 0.4, 400.0))
    assert sized(told) == [0.3, 0.3]  # nothing is known to be too little
    tell(told, cut(0.1), (0.90, 0.1, 100.0))
    assert sized(told) == [0.2, 0.2]
    tell(told, cut(0.2), (0.97, 0.2, 200.0))
    assert sized(told) == [0.141, 0.141]


def test_where_nothing_is_good_yet_more_is_left() -> None:
    told = course()
    tell(told, cut(0.2), (0.90, 0.2, 200.0))
    assert sized(told) == [0.3, 0.3]


def test_it_ends_where_the_next_one_would_hardly_differ() -> None:
    told = course()
    tell(told, cut(0.20), (0.975, 0.2, 200.0))
    tell(told, cut(0.19), (0.90, 0.19, 190.0))
    assert sized(told) == []


@pytest.mark.parametrize("how", [{"lr_scale": 1.0}, {"epochs": 2}], ids=["rate", "passes"])
def test_what_was_tuned_at_too_low_a_rate_or_too_shortly_is_not_known_to_be_too_little(how) -> None:
    told = course()
    tell(told, cut(0.4, epochs=2), (0.975, 0.4, 400.0))  # good with few passes is good
    tell(told, cut(0.35, **how), (0.90, 0.35, 350.0))
    assert sized(told) == [0.3, 0.3]


def test_of_a_training_the_form_that_loses_least_says_whether_so_little_is_enough() -> None:
    told = course()
    small = cut(0.4)
    tell(told, {**small, "quantization": "int4_weights"}, (0.90, 0.4, 60.0))
    tell(told, {**small, "quantization": "int8_weights"}, (0.975, 0.4, 120.0))
    assert sized(told) == [0.3, 0.3]


def test_a_smaller_model_that_lost_a_little_too_much_is_done_another_way() -> None:
    told = course()
    tell(told, cut(0.4), (0.975, 0.4, 400.0))
    missed = cut(0.2)
    tell(told, missed, (0.95, 0.2, 200.0))
    point = told._mended()
    assert point is not None
    differing = [name for name in point if point[name] != missed.get(name)]
    assert differing == ["criterion"]
    told.planned(point)
    again = told._mended()
    assert again is not None
    assert again != point


@pytest.mark.parametrize(
    ("values"), [(0.80, 0.2, 200.0), (0.95, 0.6, 600.0)], ids=["hopeless", "no smaller"]
)
def test_what_would_not_be_the_pick_is_not_mended(values: Any) -> None:
    told = course()
    tell(told, cut(0.4), (0.975, 0.4, 400.0))
    tell(told, cut(0.2), values)
    assert told._mended() is None


def test_what_loses_too_much_in_few_bits_is_tried_in_more() -> None:
    told = course(is_counted=True)
    known = cut(0.5)
    tell(told, {**known, "quantization": "int4_weights"}, (0.975, 0.5, 60.0))
    tell(told, {**known, "quantization": "int8_weights"}, (0.975, 0.5, 120.0))
    tell(told, {**known, "quantization": "off"}, (0.975, 0.5, 500.0))
    for form in ("int8_static", "int8_dynamic", "fp16"):
        tell(told, {**known, "quantization": form}, (0.975, 0.9, 400.0))
    tell(told, {**cut(0.2), "quantization": "int4_weights"}, (0.95, 0.1, 24.0))
    point = told._other_form()
    assert point is not None
    assert (point["sparsity_1"], point["quantization"]) == (0.8, "int8_weights")


def test_where_models_are_counted_a_form_must_promise_a_better_pick() -> None:
    for is_counted in (False, True):
        told = course(is_counted=is_counted)
        for form, size in {"int4_weights": 80.0, "int8_weights": 130.0}.items():
            tell(
                told, {**cut(0.6), "quantization": form}, (0.98 if size > 100 else 0.965, 0.6, size)
            )
        tell(told, {**cut(0.4), "quantization": "int4_weights"}, (0.975, 0.4, 60.0))
        point = told._other_form()
        is_larger = point is not None and point["quantization"] == "int8_weights"
        assert not (is_counted and is_larger)


def refinements(told: Course) -> list[dict[str, Any]]:
    """Points that are asked for until there are no more forms; all of them are worth nothing."""
    seen = []
    while (point := told._other_form()) is not None:
        seen.append(point)
        tell(told, point, (0.9, 2.0, 2000.0))
        assert len(seen) < 20
    return seen


def test_the_form_of_the_best_model_is_tried_another_way() -> None:
    told = course()
    static = {
        **cut(0.4), "quantization": "int8_static", "calibration": "minmax", "per": "channel",
        "spared": "off",
    }  # fmt: skip
    tell(told, static, (0.975, 0.4, 60.0))
    seen = refinements(told)
    assert {**static, "per": "tensor"} in seen
    assert {**static, "calibration": "entropy"} in seen
    assert {**static, "spared": "on"} not in seen  # it keeps to the limit


def test_sensitive_layers_are_spared_where_a_form_loses_too_much() -> None:
    told = course()
    tell(told, cut(0.4), (0.975, 0.4, 400.0))
    missed = {**cut(0.3), "quantization": "int4_weights", "spared": "off"}
    tell(told, missed, (0.95, 0.3, 40.0))
    assert {**missed, "spared": "on"} in refinements(told)


def test_more_bits_promise_no_better_pick_where_models_are_counted() -> None:
    told = course(is_counted=True)
    tell(told, {**cut(0.4), "quantization": "int8_weights"}, (0.975, 0.4, 120.0))
    row = told._rows[1]
    assert told._is_worth(row, "int4_weights", row)
    assert not told._is_worth(row, "fp16", row)
    assert not told._is_worth(row, "off", row)
