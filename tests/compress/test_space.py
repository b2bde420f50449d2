"""The space of a search, and its points as techniques."""

from __future__ import annotations

import pytest

from nbautoml.compress import Distillation, LowRank, Pruning, Quantization, Sharing
from nbautoml.compress.nearby import nearby, switched
from nbautoml.compress.presets import presets
from nbautoml.compress.space import (
    BY_TORCHAO,
    QUANTIZED,
    SEARCHED,
    is_trained,
    original_point,
    space_for,
    techniques_of,
)
from nbautoml.compress.table import TECHNIQUES, technique_from_json, techniques_from
from nbautoml.errors import RecipeError
from nbautoml.spec import Float, Int

GROUPS = [["conv1"], ["conv2", "fc1"]]
SPACE = space_for(GROUPS, n_epochs=8, forms=QUANTIZED)
SETTINGS = {"groups": GROUPS, "techniques": []}


def test_the_original_is_a_point_and_no_technique() -> None:
    point = original_point(SPACE)
    assert SPACE.contains(point)
    assert techniques_of(point, SETTINGS) == ()


def test_every_preset_is_a_point_and_does_something() -> None:
    points = presets(SPACE, 8)
    assert len(points) >= 6
    for point in points:
        assert SPACE.explain(point) == ""
        assert techniques_of(point, SETTINGS)


def test_without_layers_that_may_narrow_nothing_is_pruned() -> None:
    space = space_for([], n_epochs=8, forms=())
    assert "pruning" not in space
    assert all(space.contains(point) for point in presets(space, 8))


def test_each_layer_gets_the_share_of_its_group() -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.6, "epochs": 3,
    }  # fmt: skip
    (pruning,) = techniques_of(params, SETTINGS)
    assert isinstance(pruning, Pruning)
    assert pruning.ratios == {"conv1": 0.2, "conv2": 0.6, "fc1": 0.6}
    assert pruning.epochs == 3


def test_the_last_step_that_trains_does_so_at_the_scaled_rate() -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.6,
        "distillation": "on", "temperature": 2.0, "epochs": 3, "lr_scale": 5.0,
    }  # fmt: skip
    pruning, teacher = techniques_of(params, SETTINGS, lr=0.002)
    assert isinstance(pruning, Pruning)
    assert isinstance(teacher, Distillation)
    assert (pruning.lr, teacher.lr) == (None, pytest.approx(0.01))


def test_what_is_quantised_alone_has_no_rate_to_scale() -> None:
    assert "lr_scale" not in space_for(GROUPS, n_epochs=8, forms=QUANTIZED, among=["quantize"])


def test_points_beside_a_good_one_are_points_that_differ_from_it() -> None:
    (good,) = [point for point in presets(SPACE, 8) if point.get("sparsity_1") == 0.87]
    points = nearby(good, SPACE)
    assert all(SPACE.explain(point) == "" for point in points)
    bold, careful, *alone, wider = points
    assert bold["sparsity_1"] > careful["sparsity_1"] > 0.87 > wider["sparsity_1"]
    assert bold["lr_scale"] > good["lr_scale"] == wider["lr_scale"]
    shares = [(point["sparsity_1"] > 0.87, point["sparsity_2"] > 0.87) for point in alone]
    assert shares == [(True, False), (False, True)]


def test_with_a_teacher_the_others_do_not_train() -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.6,
        "low_rank": "on", "energy": 0.9, "first": "factorize",
        "distillation": "on", "temperature": 2.0, "quantization": "int8_static",
        "calibration": "entropy", "per": "tensor", "epochs": 3,
    }  # fmt: skip
    low_rank, pruning, teacher, quantized = techniques_of(params, SETTINGS)
    assert isinstance(low_rank, LowRank)
    assert isinstance(pruning, Pruning)
    assert (low_rank.epochs, pruning.epochs) == (0, 0)
    assert teacher == Distillation(2.0, epochs=3)
    assert quantized == Quantization("int8", mode="static", calibration="entropy", per="tensor")


def test_given_techniques_come_from_the_settings() -> None:
    steps = [Pruning(0.3, granularity="weights"), Sharing(8)]
    settings = {**SETTINGS, "techniques": [step.to_json() for step in steps]}
    assert techniques_of({"version": "compressed"}, settings) == tuple(steps)
    assert techniques_of({"version": "original"}, settings) == ()


@pytest.mark.parametrize("word", SEARCHED)
def test_named_techniques_alone_vary_and_each_has_a_preset(word: str) -> None:
    space = space_for(GROUPS, n_epochs=8, forms=QUANTIZED, among=[word], has_blocks=True)
    made = {
        type(step)
        for point in presets(space, 8)
        for step in techniques_of(point, SETTINGS)
        if space.explain(point) == ""
    }
    assert made == {TECHNIQUES[word].config}


def test_pruned_and_quantised_models_are_tried_at_other_ratios_bits_calibrations_and_passes() -> (
    None
):
    space = space_for(GROUPS, n_epochs=8, forms=QUANTIZED, among=["prune", "quantize"])
    assert set(space) == {
        "pruning", "criterion", "sparsity_1", "sparsity_2", "quantization", "calibration", "per", "spared",
        "epochs", "lr_scale",
    }  # fmt: skip
    assert {"int8_static", "int4_weights", "fp16"} < set(space["quantization"].options)


def test_a_teacher_may_come_first_and_shares_the_passes() -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.6,
        "distillation": "on", "temperature": 2.0, "student": "shallow", "taught": "first",
        "epochs": 5,
    }  # fmt: skip
    taught, pruning = techniques_of(params, SETTINGS)
    assert taught == Distillation(2.0, epochs=2, student="shallow")
    assert isinstance(pruning, Pruning)
    assert pruning.epochs == 3


OWN = {"hidden": Int(8, 64), "depth": Int(1, 3), "drop": Float(0.0, 0.5, when=("depth", 3))}


def test_a_student_of_the_models_own_class_varies_in_what_its_author_declared() -> None:
    space = space_for(GROUPS, n_epochs=8, forms=(), own=OWN)
    assert "own" in space["student"].options
    assert space["student_hidden"].when == ("student", ("own",))
    assert space["student_drop"].when == ("student_depth", (3,))
    assert all(space.explain(point) == "" for point in presets(space, 8))


def test_a_student_of_its_own_class_comes_first_and_is_then_pruned_by_the_mean_share() -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.5,
        "distillation": "on", "temperature": 2.0, "student": "own", "student_hidden": 16,
        "taught": "last", "epochs": 6,
    }  # fmt: skip
    settings = {**SETTINGS, "student": {"hidden": 64, "depth": 2}}
    taught, pruning = techniques_of(params, settings)
    assert taught == Distillation(
        2.0, epochs=3, student="own", arguments={"hidden": 16, "depth": 2}
    )
    assert isinstance(pruning, Pruning)
    assert (pruning.sparsity, pruning.ratios, pruning.epochs) == (pytest.approx(0.4), {}, 3)


def test_heads_transfer_and_sparing_vary_where_the_model_has_what_they_are_about() -> None:
    space = space_for(
        GROUPS, n_epochs=8, forms=QUANTIZED, has_heads=True, transfers=["hints"], own=OWN
    )
    assert {"heads", "transfer"}.isdisjoint(SPACE)
    assert space["heads"].options == ("thinner", "fewer")
    assert space["transfer"].options == ("none", "hints")
    assert "own" not in space["transfer"].when[1]  # it may have no layer of the same name
    for point in presets(space, 8):
        assert space.explain(point) == ""
        assert point.get("heads", "thinner") == "thinner"


def test_ways_of_pruning_teaching_and_rounding_reach_the_techniques() -> None:
    params = {
        "pruning": "channels", "criterion": "taylor", "heads": "fewer", "sparsity_1": 0.2,
        "sparsity_2": 0.6, "distillation": "on", "temperature": 2.0, "transfer": "hints",
        "quantization": "int4_weights", "spared": "on", "epochs": 3,
    }  # fmt: skip
    settings = {**SETTINGS, "limits": {"max_drop": 0.02}}
    pruning, taught, quantized = techniques_of(params, settings)
    assert isinstance(pruning, Pruning)
    assert isinstance(taught, Distillation)
    assert isinstance(quantized, Quantization)
    assert (pruning.criterion, pruning.heads, taught.transfer) == ("taylor", "fewer", "hints")
    assert quantized.max_drop == pytest.approx(0.01)  # half of what may be lost


def test_torchaos_form_is_one_among_the_others() -> None:
    space = space_for(GROUPS, n_epochs=8, forms=(*QUANTIZED, BY_TORCHAO))
    point = {**original_point(space), "quantization": BY_TORCHAO}
    assert space.explain(point) == ""
    assert techniques_of(point, SETTINGS) == (
        Quantization("int8", mode="static", backend="torchao"),
    )


def test_one_thing_is_done_another_way_and_all_else_stays() -> None:
    space = space_for(GROUPS, n_epochs=8, forms=QUANTIZED, has_heads=True, transfers=["hints"])
    start = next(point for point in presets(space, 8) if point.get("sparsity_1") == 0.5)
    points = switched(start, space)
    assert all(space.explain(point) == "" for point in points)
    differing = [
        next(name for name in point if name in start and point[name] != start[name])
        for point in points
    ]
    assert differing == [
        "criterion", "criterion", "criterion", "heads", "first", "distillation", "lr_scale",
        "lr_scale",
    ]  # fmt: skip


def test_the_presets_try_another_criterion_and_training_with_the_rounding() -> None:
    points = presets(SPACE, 8)
    assert {point["criterion"] for point in points if "criterion" in point} == {"l2", "taylor"}
    assert "int8_aware" in {point["quantization"] for point in points}


@pytest.mark.parametrize("taught", ["first", "last"])
def test_a_shallower_student_is_made_before_anything_is_cut(taught: str) -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.5,
        "distillation": "on", "temperature": 2.0, "student": "shallow", "taught": taught,
        "epochs": 1,
    }  # fmt: skip
    student, pruning = techniques_of(params, SETTINGS)
    assert student == Distillation(2.0, epochs=1, student="shallow")
    assert isinstance(pruning, Pruning)
    assert (pruning.ratios, pruning.epochs) == ({}, 0)


def test_blocks_and_channels_go_together_and_what_is_left_learns_for_long() -> None:
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.5,
        "distillation": "on", "temperature": 3.0, "student": "shallow", "taught": "last",
        "transfer": "hints", "epochs": 8,
    }  # fmt: skip
    student, pruning, rest = techniques_of(params, SETTINGS)
    assert student == Distillation(3.0, epochs=1, student="shallow", transfer="hints")
    assert isinstance(pruning, Pruning)
    assert (pruning.sparsity, pruning.ratios, pruning.epochs) == (pytest.approx(0.4), {}, 0)
    assert rest == Distillation(3.0, epochs=7, transfer="hints")
    halves = techniques_of({**params, "taught": "first"}, SETTINGS)
    assert [step.epochs for step in halves] == [4, 4]


def test_presets_cut_channels_of_a_shallower_student_too() -> None:
    points = presets(space_for(GROUPS, n_epochs=8, forms=QUANTIZED, has_blocks=True), 8)
    shallow = [point for point in points if point.get("student") == "shallow"]
    assert [point["sparsity_1"] for point in shallow] == [0.5, 0.7]
    without = space_for([], n_epochs=8, forms=QUANTIZED, has_blocks=True)
    (alone,) = [point for point in presets(without, 8) if point.get("student") == "shallow"]
    assert "pruning" not in alone


def test_the_presets_differ_and_try_every_kind_of_student() -> None:
    points = presets(space_for(GROUPS, n_epochs=8, forms=QUANTIZED, has_blocks=True), 8)
    assert len({repr(sorted(point.items())) for point in points}) == len(points)
    assert {point["student"] for point in points if "student" in point} == {
        "same", "half", "shallow",
    }  # fmt: skip


@pytest.mark.parametrize("has_blocks", [True, False])
def test_a_shallower_student_is_sought_where_the_model_has_blocks(has_blocks: bool) -> None:
    space = space_for(GROUPS, n_epochs=8, forms=(), has_blocks=has_blocks)
    assert ("shallow" in space["student"].options) is has_blocks
    assert "half" in space["student"].options


@pytest.mark.parametrize("word", TECHNIQUES)
def test_every_technique_reads_back_from_json(word: str) -> None:
    (step,) = techniques_from(word)
    assert technique_from_json(step.to_json()) == step


def test_nothing_comes_after_quantisation() -> None:
    with pytest.raises(RecipeError, match="prune stands after quantize"):
        techniques_from("quantize,prune")


def test_a_setting_that_a_technique_does_not_have_is_refused() -> None:
    with pytest.raises(RecipeError, match="a setting of Pruning is 'sparcity'"):
        technique_from_json({"technique": "Pruning", "sparcity": 0.5})


def test_training_with_the_rounding_takes_its_passes_from_the_same_budget():
    alone = {"quantization": "int8_aware", "epochs": 8}
    assert techniques_of(alone, SETTINGS) == (Quantization("int8", mode="aware", epochs=8),)
    both = {**alone, "low_rank": "on", "energy": 0.9}
    low_rank, quantized = techniques_of(both, SETTINGS)
    assert (low_rank.epochs, quantized.epochs) == (6, 2)
    low_rank, quantized = techniques_of({**both, "epochs": 1}, SETTINGS)
    assert (low_rank.epochs, quantized.epochs) == (1, 0)


def test_a_form_that_is_trained_may_win_from_more_passes_and_the_others_not():
    assert is_trained({"quantization": "int8_aware"})
    assert is_trained({"pruning": "channels"})
    assert not is_trained({"quantization": "int8_static", "pruning": "off"})
