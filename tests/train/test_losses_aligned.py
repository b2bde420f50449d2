"""Losses by name and by callable, over the forms in which modules answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nbautoml.errors import RecipeError
from nbautoml.spec.fit import LOSSES as NAMES
from nbautoml.spec.objective import TASKS
from nbautoml.train.losses import LOSS_TABLE, class_weights, default_loss, loss_for

N = 12


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def test_every_loss_that_may_be_named_is_there():
    assert set(LOSS_TABLE) == set(NAMES)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_loss_that_suits_it(task):
    assert task in LOSS_TABLE[default_loss(task)].tasks


def test_one_score_and_two_scores_give_the_same_binary_loss(random):
    two = torch.randn(N, 2, generator=random)
    target = torch.arange(N) % 2
    one = (two[:, 1] - two[:, 0]).unsqueeze(1)
    for name in ("bce", "cross_entropy"):
        for smoothing in (0.0, 0.2):
            loss = loss_for("binary", name, label_smoothing=smoothing)
            assert loss(one, target).item() == pytest.approx(loss(two, target).item(), abs=1e-6)


def test_smoothed_nll_is_smoothed_cross_entropy(random):
    scores, target = torch.randn(N, 4, generator=random), torch.arange(N) % 4
    nll = loss_for("multiclass", "nll", label_smoothing=0.3)(scores.log_softmax(1), target)
    entropy = loss_for("multiclass", "cross_entropy", label_smoothing=0.3)(scores, target)
    assert nll.item() == pytest.approx(entropy.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "theirs"), [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", F.huber_loss)]
)
def test_a_column_of_numbers_is_not_broadcast_against_a_row(name, theirs, random):
    output, target = torch.randn(N, 1, generator=random), torch.randn(N, generator=random)
    assert loss_for("regression", name)(output, target) == theirs(output[:, 0], target)


def test_several_numbers_a_sample_are_compared_one_by_one(random):
    output, target = torch.randn(N, 3, generator=random), torch.randn(N, 3, generator=random)
    assert loss_for("regression")(output, target) == F.mse_loss(output, target)


def test_a_class_for_each_pixel(random):
    output = torch.randn(2, 3, 4, 4, generator=random)
    target = torch.randint(0, 3, (2, 4, 4), generator=random)
    assert loss_for("multiclass")(output, target) == F.cross_entropy(output, target)


def test_a_module_as_loss_gets_aligned_tensors(random):
    output, target = torch.randn(N, 1, generator=random), torch.arange(N) % 2
    own = loss_for("binary", nn.BCEWithLogitsLoss())(output, target)
    assert own == F.binary_cross_entropy_with_logits(output[:, 0], target.float())
    numbers = torch.randn(N, generator=random)
    own = loss_for("regression", nn.SmoothL1Loss())(output, numbers)
    assert own == F.smooth_l1_loss(output[:, 0], numbers)


def test_unknown_loss_names_the_nearest_and_those_that_suit():
    with pytest.raises(RecipeError) as caught:
        loss_for("multiclass", "cross_entrop")
    assert "'cross_entropy'" in caught.value.hint
    assert "mse" not in caught.value.hint


def test_loss_of_another_task_is_refused():
    with pytest.raises(RecipeError, match="'mse' does not suit a multiclass task"):
        loss_for("multiclass", "mse")


@pytest.mark.parametrize("loss", ["mse", nn.L1Loss()])
def test_smoothing_without_labels_is_refused(loss):
    with pytest.raises(RecipeError, match="label_smoothing is"):
        loss_for("regression", loss, label_smoothing=0.1)


def test_rows_weigh_as_torch_weighs_them_when_a_batch_is_all_rows(random):
    scores, target = torch.randn(N, 3, generator=random), torch.arange(N) % 7 % 3
    weights = class_weights(torch.bincount(target, minlength=3), 1.0)
    ours = loss_for("multiclass", weights=weights)(scores, target)
    assert ours.item() == pytest.approx(F.cross_entropy(scores, target, weight=weights).item())
    assert (weights * torch.bincount(target, minlength=3)).sum().item() == pytest.approx(N)


def test_one_score_and_two_are_weighed_alike(random):
    two = torch.randn(N, 2, generator=random)
    one, target = (two[:, 1] - two[:, 0]).unsqueeze(1), torch.arange(N) % 2
    for name in ("bce", "cross_entropy"):
        for smoothing in (0.0, 0.2):
            loss = loss_for(
                "binary", name, label_smoothing=smoothing, weights=torch.tensor([0.3, 2.0])
            )
            assert loss(one, target).item() == pytest.approx(loss(two, target).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("task", "loss"), [("regression", "mse"), ("regression", nn.L1Loss()), ("multilabel", None)]
)
def test_weights_without_classes_are_refused(task, loss):
    with pytest.raises(RecipeError, match="class_balance is set"):
        loss_for(task, loss, weights=torch.ones(2))
