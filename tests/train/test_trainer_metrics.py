"""Metrics against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from nbautoml.errors import DataError, RecipeError
from nbautoml.spec.objective import METRICS, TASKS, Objective, metrics_for
from nbautoml.train.loop import metric_names
from nbautoml.train.metrics import Tally, default_metrics, from_scores

N = 60


def measured(output, target, task, n_classes, *, n_batches=3, **how):
    names = metrics_for(task)
    tally = Tally(names=names, task=task, n_classes=n_classes, **how)
    for part, wanted in zip(output.chunk(n_batches), target.chunk(n_batches), strict=True):
        tally.add(part, wanted, torch.tensor(float(len(part))))
    found = tally.result()
    assert tuple(found) == names
    return found


@pytest.fixture
def random():
    return torch.Generator().manual_seed(3)


def test_multiclass_metrics_are_scikit_learns(random):
    output = torch.randn(N, 4, generator=random)
    target = torch.randint(0, 4, (N,), generator=random)
    found = measured(output, target, "multiclass", 4)
    guess = output.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(target, guess))
    for name, theirs in (
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        assert found[name] == pytest.approx(theirs(target, guess, average="macro", zero_division=0))
    probabilities = output.double().softmax(1)
    assert found["auroc"] == pytest.approx(
        sk.roc_auc_score(target, probabilities, multi_class="ovr", average="macro")
    )


def test_a_class_that_never_occurs_does_not_count(random):
    output = torch.randn(N, 5, generator=random)
    output[:, 4] = -9.0  # never guessed either
    target = torch.randint(0, 4, (N,), generator=random)
    found = measured(output, target, "multiclass", 5)
    theirs = sk.f1_score(target, output.argmax(1), average="macro", zero_division=0)
    assert found["f1"] == pytest.approx(theirs)
    assert not math.isnan(found["auroc"])


@pytest.mark.parametrize("form", ["one score", "a column", "two scores"])
def test_binary_metrics_are_macro_and_the_same_for_each_form_of_output(form, random):
    two = torch.randn(N, 2, generator=random)
    score = two[:, 1] - two[:, 0]
    target = torch.randint(0, 2, (N,), generator=random)
    output = {"one score": score, "a column": score[:, None], "two scores": two}[form]
    found = measured(output, target, "binary", 2)
    guess = (score > 0).long()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(target, guess))
    assert found["f1"] == pytest.approx(sk.f1_score(target, guess, average="macro"))
    assert found["precision"] == pytest.approx(sk.precision_score(target, guess, average="macro"))
    assert found["recall"] == pytest.approx(sk.recall_score(target, guess, average="macro"))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(target, score))


def test_multilabel_metrics_are_scikit_learns(random):
    output = torch.randn(N, 3, generator=random)
    target = (torch.rand(N, 3, generator=random) > 0.6).float()
    found = measured(output, target, "multilabel", 3)
    guess = output > 0
    assert found["accuracy"] == pytest.approx((guess == (target > 0)).float().mean().item())
    assert found["f1"] == pytest.approx(sk.f1_score(target, guess, average="macro"))
    assert found["recall"] == pytest.approx(sk.recall_score(target, guess, average="macro"))
    assert found["precision"] == pytest.approx(sk.precision_score(target, guess, average="macro"))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(target, output, average="macro"))


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 3)])
def test_regression_metrics_are_scikit_learns(shape, random):
    target = torch.randn(*shape, generator=random)
    output = target + 0.3 * torch.randn(*shape, generator=random)
    found = measured(output, target, "regression", 1)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(target, output))
    assert found["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(target, output)))
    assert found["r2"] == pytest.approx(sk.r2_score(target, output), abs=1e-6)


def test_r2_of_a_far_off_target_keeps_its_digits(random):
    target = 1e6 + torch.randn(N, generator=random).double()
    output = target + 0.1
    found = from_scores(("r2",), output, target, "regression", 1)
    assert found["r2"] == pytest.approx(sk.r2_score(target, output), abs=1e-6)


def test_auroc_tells_large_scores_apart():
    output = torch.tensor([10.0, 20.0, 30.0, 40.0])
    target = torch.tensor([0, 0, 1, 1])
    assert from_scores(("auroc",), output, target, "binary", 2) == {"auroc": 1.0}


def test_loss_is_the_mean_over_samples_not_over_batches():
    tally = Tally(names=("loss",), task="regression", n_classes=1)
    tally.add(torch.zeros(3), torch.zeros(3), torch.tensor(1.0))
    tally.add(torch.zeros(1), torch.zeros(1), torch.tensor(5.0))
    assert tally.result() == {"loss": 2.0}


def test_probabilities_are_cut_at_one_half():
    output, target = torch.tensor([0.2, 0.6, 0.4, 0.9]), torch.tensor([0, 1, 0, 1])
    assert measured(output, target, "binary", 2, n_batches=1, threshold=0.5)["accuracy"] == 1.0


def test_what_is_not_defined_is_nan():
    one_class = torch.zeros(4, dtype=torch.int64)
    found = from_scores(("auroc",), torch.randn(4), one_class, "binary", 2)
    assert math.isnan(found["auroc"])
    flat = from_scores(("r2", "mae"), torch.ones(4), torch.zeros(4), "regression", 1)
    assert math.isnan(flat["r2"])
    assert flat["mae"] == 1.0


def test_an_objective_that_is_not_defined_on_the_data_says_so(open_value, mlp, run_fit):
    X = np.random.RandomState(0).normal(size=(40, 4)).astype("float32")
    data = open_value((X, X[:, 0], X[:8], np.ones(8, "float32")))
    with pytest.raises(DataError, match="r2 is not defined on the validation rows"):
        run_fit(lambda: mlp(4, 1), data, metric="r2")


@pytest.mark.parametrize("task", TASKS)
def test_default_metrics_suit_their_task(task):
    for metric in metrics_for(task):
        names = default_metrics(task, metric)
        assert metric in names
        assert set(names) <= set(metrics_for(task))


def test_a_metric_of_another_task_is_refused():
    with pytest.raises(RecipeError, match="'rmse' does not suit a binary task"):
        metric_names("binary", Objective("accuracy", "maximize"), ("rmse",))


def test_every_metric_is_measured_in_a_fit_and_train_loss_with_it(two_classes, mlp, run_fit):
    names = metrics_for("binary")
    result = run_fit(lambda: mlp(4, 1), two_classes, metrics=names)
    assert set(result.metrics) == {"train_loss", *names}
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert set(names) <= set(METRICS)


def test_validation_metrics_belong_to_the_weights_that_are_kept(blobs, mlp, run_fit):
    result = run_fit(mlp, blobs, metric="accuracy", epochs=4, optimizer="adam", lr=0.05)
    model = mlp()
    model.load_state_dict(result.state_dict)
    model.eval()
    X, y = blobs.valid.all()
    with torch.no_grad():
        accuracy = (model(X).argmax(1) == y).float().mean().item()
    assert result.value == pytest.approx(accuracy)
