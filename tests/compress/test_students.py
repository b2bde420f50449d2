"""What a class declares that a student of it may have less of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.compress import Distillation, apply_techniques
from nbautoml.compress.students import declared, own_student
from nbautoml.errors import CompressError, RecipeError
from nbautoml.spec import Choice, Float, Int, Space
from nbautoml.testing.small_networks import MLP, NETWORKS

SPACE = Space(
    {
        "hidden": Int(8, 256, log=True),
        "depth": Int(1, 3),
        "act": Choice("relu", "tanh"),
        "drop": Float(0.0, 0.5),
        "lr": Float(1e-4, 0.1, log=True),
    }
)
BEST = {"hidden": 64, "depth": 1, "act": "relu", "drop": 0.1, "n_classes": 3, "lr": 0.01}


def test_a_student_is_never_wider_or_deeper_than_its_teacher():
    found, arguments = declared(SPACE, BEST)
    assert found == {
        "hidden": Int(8, 64, log=True),
        "act": Choice("relu", "tanh"),
        "drop": Float(0.0, 0.5),
    }
    assert arguments == {name: value for name, value in BEST.items() if name != "lr"}


@pytest.mark.parametrize(
    "arguments",
    [
        {**BEST, "hidden": 8},  # as small as can be, and as shallow
        {**BEST, "norm": nn.BatchNorm1d},  # which no recipe can hold
    ],
)
def test_without_anything_that_could_be_smaller_there_is_no_student(arguments):
    assert declared(SPACE, arguments) == ({}, {})


def test_the_seed_decides_a_students_weights_and_the_generator_is_left_alone():
    teacher = MLP()
    state = torch.random.get_rng_state()
    one, again, other = (own_student(teacher, {"hidden": 4}, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.layers[0].weight, again.layers[0].weight)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_an_own_student_learns_from_its_teacher(build, bench_for):
    module = build("mlp")
    bench = bench_for(module, NETWORKS["mlp"].example(48))
    technique = Distillation(student="own", arguments={"hidden": 4}, epochs=2)
    piece = apply_techniques(module, [technique], bench)
    assert piece.module.layers[0].out_features == 4
    assert any("of what it had" in note for note in piece.notes)
    assert module.layers[0].out_features == 16


def test_arguments_that_the_class_does_not_take_are_told(build, bench_for):
    module = build("mlp")
    technique = Distillation(student="own", arguments={"width": 4}, epochs=1)
    with pytest.raises(CompressError, match=r"no student MLP\(width=4\) can be made: TypeError"):
        apply_techniques(module, [technique], bench_for(module, NETWORKS["mlp"].example(48)))


class Answering(nn.Module):
    def __init__(self, n_out: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(8, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


def test_a_student_that_answers_in_another_shape_is_refused(bench_for):
    module = Answering()
    technique = Distillation(student="own", arguments={"n_out": 2}, epochs=1)
    with pytest.raises(CompressError, match=r"answers with shape \(4, 2\)"):
        apply_techniques(module, [technique], bench_for(module, NETWORKS["mlp"].example(48)))


@pytest.mark.parametrize(
    "said", [{"student": "own"}, {"student": "half", "arguments": {"hidden": 4}}]
)
def test_arguments_and_an_own_student_come_together(said):
    with pytest.raises(RecipeError, match="and its arguments are") as told:
        Distillation(**said)
    assert 'arguments={"hidden": 16}' in told.value.hint
