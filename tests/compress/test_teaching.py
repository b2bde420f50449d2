"""Distillation and penalties: the formulas, and that they do what they are for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.compress import Distillation, Penalty, Pruning, apply_techniques
from nbautoml.compress.penalties import shrink_
from nbautoml.compress.softened import Student, distillation_loss, soft_targets_loss
from nbautoml.compress.structured import narrowed
from nbautoml.compress.students import own_student
from nbautoml.compress.table import techniques_from
from nbautoml.compress.transfer import Transfer, attention_map, watched_layers
from nbautoml.errors import CompressError, RecipeError
from nbautoml.testing.small_networks import NETWORKS
from nbautoml.train.losses import loss_for


def test_soft_targets_are_torchs_divergence_times_the_squared_temperature():
    torch.manual_seed(0)
    output, taught, temperature = torch.randn(6, 5), torch.randn(6, 5), 3.0
    expected = temperature**2 * F.kl_div(
        F.log_softmax(output / temperature, 1),
        F.softmax(taught / temperature, 1),
        reduction="batchmean",
    )
    found = soft_targets_loss(output, taught, temperature, "multiclass")
    torch.testing.assert_close(found, expected)


def test_soft_labels_are_the_divergence_of_yes_and_no():
    torch.manual_seed(0)
    output, taught = torch.randn(6), torch.randn(6)
    both = [torch.stack([x, torch.zeros(6)], 1) for x in (output, taught)]
    expected = soft_targets_loss(both[0], both[1], 2.0, "multiclass")
    torch.testing.assert_close(soft_targets_loss(output, taught, 2.0, "binary"), expected)


def test_a_student_weighs_target_and_teacher_and_is_judged_by_the_target_alone():
    torch.manual_seed(0)
    module, teacher, x, y = nn.Linear(4, 3), nn.Linear(4, 3), torch.randn(5, 4), torch.arange(5) % 3
    student = Student(module, teacher)
    smoothed = loss_for("multiclass", label_smoothing=0.2)
    loss = distillation_loss(
        student, smoothed, F.cross_entropy, temperature=2.0, weight=0.25, task="multiclass"
    )
    told = smoothed(module(x), y)
    soft = soft_targets_loss(module(x), teacher(x), 2.0, "multiclass")
    torch.testing.assert_close(loss(student.train()(x), y), 0.25 * soft + 0.75 * told)
    torch.testing.assert_close(loss(student.eval()(x), y), F.cross_entropy(module(x), y))


def test_labels_are_smoothed_and_classes_weighed_while_a_teacher_is_listened_to(bench_for):
    inputs = torch.rand(60, 8, generator=torch.Generator().manual_seed(0))
    rare = (torch.arange(60) % 5 == 0).long()
    student = nn.Sequential(nn.Linear(8, 2))
    bench = bench_for(student, inputs, rare)

    def taught(**more):
        own = dataclasses.replace(bench, settings=dataclasses.replace(bench.settings, **more))
        made = apply_techniques(student, [Distillation(2.0, epochs=1, weight=0.5)], own)
        return torch.cat([weight.flatten() for weight in made.module.parameters()])

    plain = taught()
    assert torch.equal(plain, taught())
    assert not torch.equal(plain, taught(label_smoothing=0.3))
    assert not torch.equal(plain, taught(class_balance=1.0))


def test_a_teacher_is_neither_trained_nor_saved():
    student = Student(nn.Linear(4, 3), nn.Linear(4, 3))
    assert set(student.state_dict()) == {"module.weight", "module.bias"}


def test_attention_maps_are_scaled_sums_of_squares():
    values = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    found = attention_map(values, 1)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    flat = values.square().sum(1).reshape(2, 12)
    torch.testing.assert_close(found, flat / flat.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("kind", ["hints", "attention"])
def test_layers_that_say_the_same_have_nothing_to_transfer(kind, build):
    module, teacher = build("residual"), build("residual")
    example = NETWORKS["residual"].example(4)
    transfer = Transfer(module, teacher, kind, example)
    module(example), teacher(example)
    assert float(transfer.loss().detach()) == pytest.approx(0, abs=1e-10)
    with torch.no_grad():
        module.stem[0].weight.neg_().mul_(torch.rand(module.stem[0].weight.shape))
    module(example)
    assert float(transfer.loss().detach()) > 0
    transfer.close()
    assert not module.stem[0]._forward_hooks


def test_the_answers_layer_is_not_watched(build):
    names = watched_layers(build("cnn"), build("cnn"), NETWORKS["cnn"].example(4), "hints")
    assert names == ["first", "second", "hidden"]


def test_attention_of_a_network_without_positions_is_refused(build, bench_for):
    bench = bench_for(build("mlp"), NETWORKS["mlp"].example(48))
    with pytest.raises(CompressError, match="attention"):
        apply_techniques(build("mlp"), [Distillation(transfer="attention")], bench)


@pytest.mark.parametrize("transfer", ["none", "hints", "attention"])
def test_a_narrow_student_comes_nearer_to_its_teacher(transfer, build, bench_for):
    teacher, example = build("cnn"), NETWORKS["cnn"].example(400)
    with torch.no_grad():
        teacher.out.weight.mul_(10)
        teacher.out.bias.sub_(teacher(example).mean(0))
    bench = bench_for(teacher, example, teacher(example).argmax(1))
    technique = Distillation(transfer=transfer, student="quarter", epochs=10, lr=0.02)
    student = apply_techniques(teacher, [technique], bench).module

    def far(module: nn.Module) -> float:
        with torch.no_grad():
            return float(soft_targets_loss(module(example), teacher(example), 4.0, "multiclass"))

    untaught = narrowed(teacher, example[:4], 0.25)
    assert student.second.weight.shape == untaught.second.weight.shape
    assert far(student) < far(untaught)


def test_a_module_that_is_its_own_teacher_has_only_the_targets_to_learn(build, bench_for):
    module = build("cnn")
    bench = bench_for(module, NETWORKS["cnn"].example(48))
    moved = []
    for weight in (0.0, 1 - 1e-6):
        technique = Distillation(weight=weight, transfer="hints", epochs=1)
        student = apply_techniques(module, [technique], bench).module
        moved.append(float((student.hidden.weight - module.hidden.weight).detach().abs().max()))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-6


def test_a_module_that_would_learn_from_itself_alone_is_refused_unless_it_has_changed():
    nothing = Distillation(weight=1.0, transfer="hints")
    with pytest.raises(RecipeError, match="there is nothing to learn") as told:
        techniques_from([nothing])
    assert 'student="own"' in told.value.hint
    assert techniques_from([Pruning(0.5), nothing])[1] is nothing


def test_a_born_again_student_is_as_wide_as_its_teacher_and_begins_from_nothing(build, bench_for):
    teacher, example = build("mlp"), NETWORKS["mlp"].example(200)
    bench = bench_for(teacher, example, teacher(example).argmax(1))
    again = Distillation(student="own", arguments={"hidden": 16}, epochs=8, lr=0.1)
    student = apply_techniques(teacher, [again], bench).module
    assert repr(student) == repr(teacher)
    untaught = own_student(teacher, {"hidden": 16}, bench.seed)

    def agreement(module: nn.Module) -> float:
        with torch.no_grad():
            return float((module(example).argmax(1) == teacher(example).argmax(1)).float().mean())

    assert agreement(student) > agreement(untaught) + 0.2


def test_l2_is_theta_minus_alpha_lambda_theta_in_each_step(bench_for):
    class Unused(nn.Module):
        """What gets no gradient moves by the penalty alone."""

        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x):
            return self.used(x)

    module = Unused()
    bench = bench_for(module, torch.randn(40, 8))
    n_steps = 2 * -(-bench.data.train.n // 16)
    piece = apply_techniques(module, [Penalty("l2", strength=0.5, epochs=2, lr=0.1)], bench)
    expected = module.unused.weight.detach() * (1 - 0.1 * 0.5) ** n_steps
    torch.testing.assert_close(piece.module.unused.weight.detach(), expected)
    assert torch.equal(piece.module.unused.bias, module.unused.bias)


def test_l1_stops_at_zero():
    weight = torch.tensor([0.3, -0.05, 0.0])
    for _ in range(2):
        shrink_([weight], "l1", 0.1)
    torch.testing.assert_close(weight, torch.tensor([0.1, 0.0, 0.0]))
