"""Losses and metrics of a stack against those of one trial."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.train.losses import loss_for
from nbautoml.train.metrics import Tally
from nbautoml.train.stacked.losses import stacked_loss
from nbautoml.train.stacked.metrics import StackedTally

K, B = 3, 40

TASKS = {
    "binary": (lambda: torch.randn(K, B, 1), lambda: torch.randint(0, 2, (B,))),
    "binary of two scores": (lambda: torch.randn(K, B, 2), lambda: torch.randint(0, 2, (B,))),
    "multiclass": (lambda: torch.randn(K, B, 4), lambda: torch.randint(0, 4, (B,))),
    "multiclass with places": (
        lambda: torch.randn(K, B, 4, 5),
        lambda: torch.randint(0, 4, (B, 5)),
    ),
    "multilabel": (lambda: torch.randn(K, B, 3), lambda: torch.randint(0, 2, (B, 3)).float()),
    "regression": (lambda: torch.randn(K, B, 1), lambda: torch.randn(B)),
    "regression of two": (lambda: torch.randn(K, B, 2), lambda: torch.randn(B, 2)),
}
CLASSES = {"binary": 2, "multiclass": 4, "multilabel": 3, "regression": 1}
LOSSES = [
    ("binary", None), ("binary", "cross_entropy"), ("binary of two scores", None),
    ("binary of two scores", "nll"), ("multiclass", None), ("multiclass", "nll"),
    ("multiclass with places", None), ("multiclass with places", "nll"), ("multilabel", None),
    ("regression", None), ("regression", "mae"), ("regression", "huber"), ("regression of two", None),
]  # fmt: skip


@pytest.mark.parametrize(("case", "name"), LOSSES)
@pytest.mark.parametrize("smoothing", [(0.0, 0.0, 0.0), (0.0, 0.1, 0.3)])
def test_losses_and_their_gradients(case, name, smoothing):
    task = case.split(maxsplit=1)[0]
    if task == "regression" and any(smoothing):
        pytest.skip("nothing to smooth")
    torch.manual_seed(0)
    make_output, make_target = TASKS[case]
    output = make_output().requires_grad_()
    target = torch.stack([make_target() for _ in range(K)])
    share = torch.tensor(smoothing) if any(smoothing) else None
    found = stacked_loss(task, name, share)(output, target)
    expected = [
        loss_for(task, name, label_smoothing=smoothing[at])(output[at], target[at])
        for at in range(K)
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    (ours,) = torch.autograd.grad(found.sum(), output, retain_graph=True)
    (theirs,) = torch.autograd.grad(sum(expected), output)
    torch.testing.assert_close(ours, theirs)


WEIGHED = [case for case in LOSSES if case[0].startswith(("binary", "multiclass"))]


@pytest.mark.parametrize(("case", "name"), WEIGHED)
@pytest.mark.parametrize("smoothing", [(0.0, 0.0, 0.0), (0.0, 0.1, 0.3)])
def test_losses_whose_rows_weigh_as_their_classes_do(case, name, smoothing):
    task = case.split(maxsplit=1)[0]
    torch.manual_seed(0)
    make_output, make_target = TASKS[case]
    output = make_output().requires_grad_()
    target = torch.stack([make_target() for _ in range(K)])
    weights = torch.rand(K, CLASSES[task]) + 0.1
    share = torch.tensor(smoothing) if any(smoothing) else None
    found = stacked_loss(task, name, share, weights)(output, target)
    expected = [
        loss_for(task, name, label_smoothing=smoothing[at], weights=weights[at])(
            output[at], target[at]
        )
        for at in range(K)
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    assert not torch.allclose(found, stacked_loss(task, name, share)(output, target))
    (ours,) = torch.autograd.grad(found.sum(), output, retain_graph=True)
    (theirs,) = torch.autograd.grad(sum(expected), output)
    torch.testing.assert_close(ours, theirs)


def test_a_loss_of_the_users_own():
    output, target = torch.randn(K, B, 4), torch.randint(0, 4, (K, B))
    own = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    expected = [own(output[at], target[at]) for at in range(K)]
    torch.testing.assert_close(
        stacked_loss("multiclass", own, None)(output, target), torch.stack(expected)
    )


@pytest.mark.parametrize("case", TASKS)
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_metrics_are_those_of_the_one_by_one_trainer(case, threshold):
    task = case.split(maxsplit=1)[0]
    names = (
        ("loss", "mae", "rmse", "r2")
        if task == "regression"
        else ("loss", "accuracy", "precision", "recall", "f1", "auroc")
    )
    torch.manual_seed(1)
    make_output, make_target = TASKS[case]
    batches = [(make_output(), make_target()) for _ in range(2)]
    n = CLASSES[task]
    stacked = StackedTally(names, task, n, threshold)
    ones = [Tally(names=names, task=task, n_classes=n, threshold=threshold) for _ in range(K)]
    for output, target in batches:
        losses = torch.rand(K)
        stacked.add(output, target, losses)
        for at, tally in enumerate(ones):
            tally.add(output[at], target, losses[at])
    for found, tally in zip(stacked.result(), ones, strict=True):
        assert found == pytest.approx(tally.result(), rel=1e-6, nan_ok=True)


def test_a_metric_that_is_not_defined_is_nan():
    tally = StackedTally(("loss", "auroc"), "binary", 2)
    tally.add(torch.randn(K, B, 1), torch.zeros(B, dtype=torch.long), torch.rand(K))
    assert all(found["auroc"] != found["auroc"] for found in tally.result())
    tally = StackedTally(("r2",), "regression", 1)
    tally.add(torch.randn(K, B), torch.zeros(B), torch.rand(K))
    assert all(found["r2"] != found["r2"] for found in tally.result())


def test_a_confident_loss_is_finite_where_torchs_is():
    output = torch.tensor([[[1e4, 0.0, -1e4]]])
    target = torch.tensor([[0]])
    expected = F.cross_entropy(output[0], target[0])
    torch.testing.assert_close(stacked_loss("multiclass", None, None)(output, target)[0], expected)
