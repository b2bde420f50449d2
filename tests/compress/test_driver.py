"""The order in which a compression tries models, without any training."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbautoml.compress import Technique
from nbautoml.compress.driver import CompressDriver
from nbautoml.compress.families import shaping_of
from nbautoml.compress.space import QUANTIZED, original_point, space_for, techniques_of
from nbautoml.events import LogLine, PlanChosen, TrialEnded
from nbautoml.spec import Budget, Objective, Space
from nbautoml.spec.choice import Choice
from nbautoml.spec.recipe import Recipe, Target

GROUPS = [["conv1"], ["fc1"]]
OBJECTIVES = (
    Objective("accuracy", "maximize"),
    Objective("latency_ms", "minimize"),
    Objective("size_bytes", "minimize"),
)
LIMITS = {"max_drop": 0.01, "latency_ms": None, "size_bytes": None, "memory_bytes": None}


def recipe(
    n_trials: int = 24,
    *,
    space: Space | None = None,
    is_staged: bool = True,
    seed: int = 0,
    limits: dict[str, Any] | None = None,
) -> Recipe:
    return Recipe(
        kind="compress",
        name="small",
        run_id="",
        target=Target(role="module", symbol="Net", capsule_hash=""),
        data=None,
        space=space or space_for(GROUPS, n_epochs=8, forms=QUANTIZED),
        fixed={},
        objectives=OBJECTIVES,
        budget=Budget(n_trials=n_trials),
        seed=seed,
        sampler="tpe",
        settings={
            "limits": limits or LIMITS, "epochs": 8, "groups": GROUPS, "is_staged": is_staged,
            "techniques": [],
        },
    )  # fmt: skip


def reader(rows: Any = ()) -> Any:
    return SimpleNamespace(trials=lambda: list(rows))


def figures(params: Any) -> list[float]:
    """A landscape: pruning costs accuracy that passes win back, and saves time."""
    share = params.get("sparsity_1", 0) * (params.get("pruning") == "channels")
    tuned = 0.02 * params.get("epochs", 0) / 8
    quantized = params.get("quantization", "off") != "off"
    size = (1 - 0.9 * share) * (0.3 if quantized else 1.0)
    return [0.98 - max(0.0, 0.03 * share - tuned), 1 - 0.8 * share, 1000 * size]


def played(driver: CompressDriver, *, limit: int = 100) -> list[dict[str, Any]]:
    """Run a driver to its end with one worker; returns the points in order."""
    points = []
    while driver.verdict(0) is None:
        handout = driver.next_handout(n_free=1)
        assert handout is not None
        (trial,) = handout.task.trials
        points.append(dict(trial.params))
        driver.on_event(
            TrialEnded(trial=trial.number, state="complete", values=figures(trial.params))
        )
        assert len(points) <= limit
    return points


def started(**said: Any) -> CompressDriver:
    driver = CompressDriver(recipe(**said))
    driver.restore(reader())
    return driver


def test_models_of_one_training_share_its_seed_and_say_so() -> None:
    driver = started(n_trials=40)
    seeds: dict[str, set[int]] = {}
    numbers: dict[str, list[int]] = {}
    told = []
    while driver.verdict(0) is None:
        handout = driver.next_handout(n_free=1)
        assert handout is not None
        (trial,) = handout.task.trials
        shaping = shaping_of(trial.params)
        seeds.setdefault(shaping, set()).add(trial.seed)
        numbers.setdefault(shaping, []).append(trial.number)
        told += [event.text for event in handout.events if isinstance(event, LogLine)]
        driver.on_event(
            TrialEnded(trial=trial.number, state="complete", values=figures(trial.params))
        )
    assert all(len(found) == 1 for found in seeds.values())
    several = [found for found in numbers.values() if len(found) > 1 and 0 not in found]
    assert several
    assert f"what trial {several[0][0]} was trained to be, in another form" in told


def test_a_run_that_is_resumed_gives_a_training_the_seed_it_had() -> None:
    whole = played(started(n_trials=40))
    shapings = [shaping_of(point) for point in whole]
    at = next(
        at for at, found in enumerate(shapings) if whole[at]["epochs"] and found in shapings[:at]
    )
    first = started(n_trials=40)
    rows = [row_of(number, params) for number, params in enumerate(whole[:at])]
    again = CompressDriver(recipe(n_trials=40))
    again.restore(reader([*rows, row_of(at, whole[at], state="waiting")]))
    handout = again.next_handout(n_free=1)
    assert handout is not None
    (trial,) = handout.task.trials
    assert trial.number == at
    seeds = []
    for params in whole[:at]:
        drawn = first.next_handout(n_free=1)
        assert drawn is not None
        seeds.append(drawn.task.trials[0].seed)
        first.on_event(
            TrialEnded(trial=drawn.task.trials[0].number, state="complete", values=figures(params))
        )
    assert trial.seed == seeds[shapings.index(shapings[at])]


def row_of(number: int, params: dict[str, Any], state: str = "complete") -> Any:
    values = tuple(figures(params)) if state == "complete" else ()
    return SimpleNamespace(
        number=number, state=state, params=params, value=None, values=values, metrics={}, started_at=1.0,
        ended_at=2.0 if values else None, error="",
    )  # fmt: skip


def test_the_original_is_measured_first_and_alone() -> None:
    driver = started()
    first = driver.next_handout(n_free=2)
    assert first is not None
    assert first.task.trials[0].params["pruning"] == "off"
    assert driver.next_handout(n_free=1) is None
    told = driver.on_event(TrialEnded(trial=0, state="complete", values=[0.98, 1.0, 1000.0]))
    (plan,) = told
    assert isinstance(plan, PlanChosen)
    assert plan.details["limits"] == {"accuracy": {"min": 0.97}}
    assert plan.details["baseline"] == {"accuracy": 0.98, "latency_ms": 1.0, "size_bytes": 1000.0}
    second = driver.next_handout(n_free=1)
    assert second is not None
    assert second.task.payload["original"]["latency_ms"] == 1.0


def test_few_passes_come_first_and_all_of_them_last() -> None:
    points = played(started(n_trials=24))
    assert len(points) == 24
    cheap = [point["epochs"] for point in points[1:15]]
    assert max(cheap) == 2
    assert 8 in [point["epochs"] for point in points[15:]]


def test_limits_stand_in_the_search_and_not_only_in_the_choice() -> None:
    """Small models are pruned hard here, which costs accuracy: sought where that is allowed."""

    def share_of_good_ones(max_drop: float) -> float:
        limits = {**LIMITS, "max_drop": max_drop, "size_bytes": 500.0}
        points = [
            point
            for seed in (0, 1)
            for point in played(started(n_trials=80, is_staged=False, limits=limits, seed=seed))[
                40:
            ]
        ]
        good = [p for p in map(figures, points) if p[0] >= 0.979 and p[2] <= 500]
        return len(good) / len(points)

    assert share_of_good_ones(0.001) > share_of_good_ones(1.0) + 0.1


def test_a_point_is_promoted_once() -> None:
    points = played(started(n_trials=40))
    whole = [repr(sorted(p.items())) for p in points if p["epochs"] == 8]
    assert len(whole) == len(set(whole))


def test_more_passes_go_to_what_they_can_change() -> None:
    points = played(started(n_trials=24))[16:]
    assert all(
        any(point[name] != "off" for name in ("pruning", "low_rank", "distillation"))
        for point in points
        if point["epochs"] == 8
    )


def test_the_smallest_model_that_may_be_mended_is_the_first_to_get_all_passes() -> None:
    driver = started(n_trials=24)
    points = played(driver)
    first = next(at for at, p in enumerate(points) if {**p, "epochs": 2} in points[:at])
    before = [
        figures(point)[1] * figures(point)[2]
        for point in points[1:first]
        if point["epochs"] > 0
        and any(point[name] != "off" for name in ("pruning", "low_rank", "distillation"))
    ]
    promoted = {**points[first], "epochs": 2}
    assert figures(promoted)[1] * figures(promoted)[2] == min(before)


def test_a_named_sampler_draws_from_the_whole_space() -> None:
    points = played(started(n_trials=30, is_staged=False))
    assert len({point["epochs"] for point in points[1:]}) > 4


def test_a_student_that_was_given_gets_all_its_passes_at_once() -> None:
    space = space_for(GROUPS, n_epochs=8, forms=QUANTIZED, has_given=True)
    given = [
        point for point in played(started(space=space))[:12] if point.get("student") == "given"
    ]
    assert [point["epochs"] for point in given[:2]] == [8, 8]


def test_named_techniques_are_the_original_and_one_model() -> None:
    space = Space({"version": Choice("original", "compressed")})
    points = played(started(n_trials=2, space=space))
    assert points == [{"version": "original"}, {"version": "compressed"}]


def test_named_techniques_that_fail_fail_the_run() -> None:
    driver = started(n_trials=2, space=Space({"version": Choice("original", "compressed")}))
    driver.next_handout(n_free=1)
    driver.on_event(TrialEnded(trial=0, state="complete", values=[0.98, 1.0, 1000.0]))
    driver.next_handout(n_free=1)
    driver.on_event(TrialEnded(trial=1, state="failed", error="no layer to prune"))
    verdict = driver.verdict(0)
    assert verdict is not None
    assert (verdict.state, verdict.message) == (
        "failed", "nothing was compressed: no layer to prune",
    )  # fmt: skip


def test_a_driver_goes_on_where_an_earlier_one_was() -> None:
    whole = played(started(n_trials=12))
    rows = [row_of(number, params) for number, params in enumerate(whole[:5])]
    again = CompressDriver(recipe(n_trials=12))
    again.restore(reader(rows))
    rest = played(again)
    assert len(rest) == 7
    assert rest[:3] == whole[5:8]  # the presets that were left


def test_the_end_says_what_was_found() -> None:
    driver = started(n_trials=24)
    played(driver)
    verdict = driver.verdict(0)
    assert verdict is not None
    assert verdict.state == "finished"
    assert "smaller" in verdict.message
    assert any("channels" in line and line.endswith(": kept") for line in verdict.lines)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_the_end_says_also_what_failed(is_resumed: bool) -> None:
    space = space_for(GROUPS, n_epochs=8, forms=("int8_static",), among=("quantize",))
    driver = started(n_trials=2, space=space)
    driver.next_handout(n_free=1)
    driver.on_event(TrialEnded(trial=0, state="complete", values=[0.98, 1.0, 1000.0]))
    handout = driver.next_handout(n_free=1)
    assert handout is not None
    params = handout.task.trials[0].params
    driver.on_event(TrialEnded(trial=1, state="failed", error="no kernel\nfor it"))
    if is_resumed:
        driver = CompressDriver(recipe(n_trials=2, space=space))
        failed = row_of(1, params)
        failed.state, failed.error, failed.values = "failed", "no kernel\nfor it", ()
        driver.restore(reader([row_of(0, original_point(space)), failed]))
    verdict = driver.verdict(0)
    assert verdict is not None
    assert verdict.state == "finished"
    assert verdict.lines == ("int8_static: failed, no kernel",)


def test_an_original_that_fails_ends_the_run() -> None:
    driver = started()
    driver.next_handout(n_free=1)
    driver.on_event(TrialEnded(trial=0, state="failed", error="boom"))
    verdict = driver.verdict(0)
    assert verdict is not None
    assert (verdict.state, verdict.message) == (
        "failed", "the original could not be measured: boom",
    )  # fmt: skip


def test_the_same_error_again_and_again_ends_the_run() -> None:
    driver = started()
    driver.next_handout(n_free=1)
    driver.on_event(TrialEnded(trial=0, state="complete", values=[0.98, 1.0, 1000.0]))
    n_floats = 0
    while (verdict := driver.verdict(0)) is None:
        handout = driver.next_handout(n_free=1)
        assert handout is not None
        (trial,) = handout.task.trials
        n_floats += trial.params.get("quantization", "off") == "off"
        driver.on_event(TrialEnded(trial=trial.number, state="failed", error="no kernel"))
    assert verdict.state == "failed"
    assert "5 times in a row" in verdict.message
    assert n_floats == 5


def test_forms_that_all_fail_do_not_end_a_search_of_what_works() -> None:
    driver = started()
    failed, points = Counter[str](), []
    while (verdict := driver.verdict(0)) is None:
        handout = driver.next_handout(n_free=1)
        assert handout is not None
        (trial,) = handout.task.trials
        form = trial.params.get("quantization", "off")
        points.append(trial.params)
        if form == "off":
            ended = TrialEnded(trial=trial.number, state="complete", values=figures(trial.params))
        else:
            failed[form] += 1
            ended = TrialEnded(trial=trial.number, state="failed", error="no kernel")
        driver.on_event(ended)
    assert verdict.state == "finished"
    assert sum(failed.values()) > 5
    # The known settings are tried all the same, in floats.
    assert any(p.get("quantization") == "off" and p.get("sparsity_1") == 0.87 for p in points)


@pytest.mark.parametrize("is_dominated", [True, False])
def test_the_front_so_far_travels_with_each_task(is_dominated: bool) -> None:
    driver = started()
    driver.next_handout(n_free=1)
    driver.on_event(TrialEnded(trial=0, state="complete", values=[0.98, 1.0, 1000.0]))
    driver.next_handout(n_free=1)
    values = [0.97, 1.5, 2000.0] if is_dominated else [0.97, 0.5, 500.0]
    driver.on_event(TrialEnded(trial=1, state="complete", values=values))
    handout = driver.next_handout(n_free=1)
    assert handout is not None
    front = handout.task.payload["front"]
    assert (values in front) is not is_dominated
    assert all(math.isfinite(value) for one in front for value in one)


RECIPES = Path(__file__).parents[1] / "fixtures" / "recipes"


@pytest.mark.parametrize(
    "path", sorted(RECIPES.glob("compress_*.json")), ids=lambda path: path.stem
)
def test_a_recipe_of_an_earlier_version_is_played_to_its_end(path: Path) -> None:
    old = Recipe.from_json(json.loads(path.read_text(encoding="utf-8")))
    driver = CompressDriver(old)
    driver.restore(reader())
    points = played(driver)
    assert len(points) == old.budget.n_trials
    assert all(
        isinstance(technique, Technique)
        for point in points
        for technique in techniques_of(point, old.settings)
    )
    verdict = driver.verdict(0)
    assert verdict is not None
    assert verdict.state == "finished"
