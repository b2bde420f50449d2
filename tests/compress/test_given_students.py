"""A student of another class than its teacher's, handed over beside the techniques."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.compress import Distillation, Pruning, Quantization, apply_techniques
from nbautoml.compress.layer_table import layers_table
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.presets import presets
from nbautoml.compress.saved import dump_module, load_module
from nbautoml.compress.space import original_point, space_for, techniques_of
from nbautoml.compress.table import techniques_from
from nbautoml.compress.transfer import watched_layers
from nbautoml.errors import CompressError, RecipeError
from nbautoml.measure import count_weights, export_onnx, largest_difference, open_onnx
from nbautoml.testing.small_networks import NETWORKS

GIVEN = Distillation(student="given", epochs=1)


class Small(nn.Module):
    """One convolution and a layer; its teacher, `Plain`, has two of each."""

    def __init__(self, width: int = 4, n_out: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.last = nn.Linear(4 * width, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.last(nn.functional.adaptive_max_pool2d(x, 2).flatten(1))


@pytest.fixture
def teacher(build):
    return build("cnn")


@pytest.fixture
def bench(teacher, bench_for):
    return bench_for(teacher, NETWORKS["cnn"].example(48))


@pytest.fixture
def student():
    torch.manual_seed(1)
    return Small()


def test_it_takes_the_modules_place_and_learns_from_the_weights_that_it_has(
    teacher, bench, student
):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    frozen = Distillation(student="given", epochs=1, lr=1e-12)
    found = apply_techniques(teacher, [frozen], bench, student=student).module
    torch.testing.assert_close(found.state_dict(), before)
    piece = apply_techniques(teacher, [GIVEN], bench, student=student)
    assert type(piece.module) is Small
    assert not torch.equal(piece.module.first.weight, before["first.weight"])
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    own, whole = (int(count_weights(one).value) for one in (student, teacher))
    told = f"the student Small takes the place of Plain: {own:,} weights instead of {whole:,}"
    assert told in piece.notes


def test_it_comes_nearer_to_its_teacher(teacher, bench_for, student):
    example = NETWORKS["cnn"].example(400)
    with torch.no_grad():
        teacher.out.weight.mul_(10)
        teacher.out.bias.sub_(teacher(example).mean(0))
        answers = teacher(example)
    bench = bench_for(teacher, example, answers.argmax(1))
    technique = Distillation(student="given", epochs=10, lr=0.05)
    taught = apply_techniques(teacher, [technique], bench, student=student).module

    def agreement(module: nn.Module) -> float:
        with torch.no_grad():
            return float((module(example).argmax(1) == answers.argmax(1)).float().mean())

    assert agreement(taught) > agreement(student.eval()) + 0.1


def test_what_follows_is_done_to_the_student(teacher, bench, student):
    pruned = apply_techniques(
        teacher, [GIVEN, Pruning(0.5, scope="layer", epochs=0)], bench, student=student
    ).module
    assert (type(pruned), pruned.first.out_channels) == (Small, 2)
    quantised = apply_techniques(teacher, [GIVEN, Quantization("int8")], bench, student=student)
    assert quantised.bits == {"first": 8, "last": 8}
    example = NETWORKS["cnn"].example(5)
    with torch.no_grad():
        ours, theirs = OnnxModule(quantised.onnx)(example), quantised.module(example)
    assert float((ours - theirs).abs().max()) < 0.05 * float(theirs.abs().max())


def test_it_comes_back_from_its_file_and_exports(teacher, bench, student):
    found = apply_techniques(teacher, [GIVEN], bench, student=student).module
    example, here = NETWORKS["cnn"].example(5), {"Small": Small}
    with torch.no_grad():
        assert torch.equal(load_module(dump_module(found, here), here)(example), found(example))
    exported = open_onnx(export_onnx(found, NETWORKS["cnn"].example(4)))
    assert largest_difference(found, exported, example) < 1e-4


def test_layers_of_the_two_stand_on_one_side_each_unless_name_and_kind_are_the_same(teacher):
    rows = layers_table(teacher, Small(), {}, NETWORKS["cnn"].example(1))["layers"]
    sides = {row["name"]: (row["before"] is not None, row["after"] is not None) for row in rows}
    assert sides == {
        "first": (True, True),
        "second": (True, False),
        "hidden": (True, False),
        "out": (True, False),
        "last": (False, True),
    }
    other = nn.Sequential()
    other.add_module("flat", nn.Flatten())
    other.add_module("first", nn.Linear(64, 3))  # which is a convolution in its teacher
    kinds = [
        (row["kind"], row["before"] is None)
        for row in layers_table(teacher, other, {}, NETWORKS["cnn"].example(1))["layers"]
        if row["name"] == "first"
    ]
    assert kinds == [("Conv2d", False), ("Linear", True)]


def test_layers_inside_are_compared_by_their_names(teacher, bench, student):
    example = NETWORKS["cnn"].example(4)
    for kind in ("hints", "attention"):
        assert watched_layers(student, teacher, example, kind) == ["first"]
        technique = Distillation(student="given", transfer=kind, epochs=1)
        assert type(apply_techniques(teacher, [technique], bench, student=student).module) is Small


def test_without_a_common_layer_both_are_listed(teacher, bench):
    technique = Distillation(student="given", transfer="hints", epochs=1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3))
    with pytest.raises(CompressError, match=r"Sequential has no inner layers") as told:
        apply_techniques(teacher, [technique], bench, student=other)
    assert "Sequential has 1 (4, 8), 2 (4, 3); Plain has first (4, 8, 8, 8)" in told.value.message
    assert 'transfer="none"' in told.value.hint


class Names(nn.Module):
    """Its layers bear names of the teacher's, and mean something else."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(8, 8), nn.Linear(8, 8)
        self.hidden = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.hidden(self.out(self.first(x)).flatten(1))


def test_a_name_alone_compares_neither_answers_nor_layers_of_another_kind(teacher):
    # "hidden" answers here, "out" there; "first" has channels last here, and first there.
    with pytest.raises(CompressError, match="nothing to compare"):
        watched_layers(Names(), teacher, NETWORKS["cnn"].example(4), "hints")


@pytest.mark.parametrize(
    ("student", "text"),
    [
        (Small(n_out=2), r"Small answers with shape \(4, 2\), and its teacher Plain with \(4, 3\)"),
        (nn.Linear(5, 3), "student Linear does not take its teacher's inputs"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(64, 3)), "answers a tuple"),
    ],
)
def test_one_that_does_not_answer_as_its_teacher_is_refused(student, text, teacher, bench):
    with pytest.raises(CompressError, match=text):
        apply_techniques(teacher, [GIVEN], bench, student=student)


def test_lazy_layers_get_the_same_weights_each_time(teacher, bench):
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    first, second = (
        apply_techniques(teacher, [GIVEN], bench, student=lazy).module for _ in range(2)
    )
    assert type(first[1]) is nn.Linear
    assert torch.equal(first[1].weight, second[1].weight)


def test_a_lesson_without_its_student_is_refused(teacher, bench):
    with pytest.raises(RecipeError, match="no student is given") as told:
        apply_techniques(teacher, [GIVEN], bench)
    assert "student=my_module" in told.value.hint


def test_a_module_in_a_config_is_refused_with_the_way_to_write_it():
    with pytest.raises(RecipeError, match="student is a Small") as told:
        Distillation(student=Small())
    assert 'Distillation(student="given")' in told.value.hint


@pytest.mark.parametrize(
    "second", [GIVEN, Distillation(student="own", arguments={"hidden": 4})], ids=["given", "own"]
)
def test_nothing_is_done_to_a_module_whose_place_is_taken_afterwards(second):
    with pytest.raises(RecipeError, match="what prune does would be lost") as told:
        techniques_from([Pruning(0.5), second])
    assert "put distill first" in told.value.hint


def test_the_word_means_the_student_that_is_there():
    (taught, _) = techniques_from("distill,quantize", student="given")
    assert taught == Distillation(student="given")


SPACE = space_for(
    [["a"], ["b"]], n_epochs=8, forms=("int8_weights",), has_blocks=True, has_given=True
)
SETTINGS = {"groups": [["a"], ["b"]]}


def test_a_search_tries_it_with_all_passes_before_other_trained_models():
    points = presets(SPACE, 8)
    trained = [point for point in points if point["epochs"]]
    assert [point.get("student") for point in trained[:2]] == ["given", "given"]
    assert [point["quantization"] for point in trained[:2]] == ["off", "int8_weights"]
    assert [point["lr_scale"] for point in trained[:2]] == [1.0, 5.0]
    assert all(SPACE.explain(point) == "" for point in points)
    assert original_point(SPACE)["distillation"] == "off"


def test_in_a_search_it_comes_first_and_is_then_pruned_by_the_mean_share():
    params = {
        "pruning": "channels", "criterion": "l2", "sparsity_1": 0.2, "sparsity_2": 0.6,
        "distillation": "on", "temperature": 2.0, "student": "given", "taught": "last",
        "epochs": 6,
    }  # fmt: skip
    taught, pruning = techniques_of(params, SETTINGS)
    assert taught == Distillation(2.0, epochs=3, student="given")
    assert (pruning.sparsity, pruning.ratios, pruning.epochs) == (pytest.approx(0.4), {}, 3)
    assert techniques_from([taught, pruning]) == (taught, pruning)


def test_without_one_a_search_has_none():
    space = space_for([["a"]], n_epochs=8, forms=(), has_blocks=True)
    assert "given" not in space["student"].options
