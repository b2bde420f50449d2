"""The task that a target states, or that is said."""

from __future__ import annotations

import numpy as np
import pytest

N = 60
X = np.arange(2 * N, dtype=np.float32).reshape(N, 2)


def cycle(*values):
    return np.array([values[i % len(values)] for i in range(N)])


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (cycle(0, 1), "binary", ("0", "1")),
        (cycle(True, False), "binary", ("False", "True")),
        (cycle(0.0, 1.0), "binary", ("0", "1")),
        (cycle(-1, 1), "binary", ("-1", "1")),
        (cycle("no", "yes"), "binary", ("no", "yes")),
        (cycle(0, 1, 2), "multiclass", ("0", "1", "2")),
        (cycle(3, 5, 9), "multiclass", ("3", "5", "9")),
        (cycle("c", "a", "b"), "multiclass", ("a", "b", "c")),
        (np.eye(3)[cycle(0, 1, 2)], "multiclass", ("0", "1", "2")),
        (np.stack([cycle(0, 1), cycle(1, 1, 0)], 1), "multilabel", ("0", "1")),
        (np.stack([cycle(0, 1), cycle(1, 1, 0)], 1).astype(bool), "multilabel", ("0", "1")),
        (cycle(0.5, 1.5, 2.5), "regression", ()),
        (np.arange(N, dtype=np.float64), "regression", ()),
        (np.linspace(0, 1, 2 * N).reshape(N, 2), "regression", ()),
    ],
    ids=str,
)
def test_task_is_inferred(snap, target, task, classes):
    spec = snap((X, target))
    assert (spec.task, spec.classes) == (task, classes)


def test_many_classes_are_inferred_with_ten_rows_each(snap):
    y = np.arange(300) % 30
    assert snap((np.zeros((300, 2)), y)).task == "multiclass"


@pytest.mark.parametrize(
    "target",
    [cycle(1.0, 2.0, 3.0), np.arange(N), np.arange(N) // 2 * 3, np.stack([cycle(1, 2, 3)] * 2, 1)],
    ids=["few whole floats", "a number a row", "many whole numbers", "table of whole numbers"],
)
def test_what_could_be_either_asks_for_the_task(snap, data_error, target):
    error = data_error(lambda: snap((X, target)))
    assert "classes or quantities?" in error.message
    assert "task='regression'" in error.hint


@pytest.mark.parametrize(
    ("target", "task", "shape", "dtype"),
    [
        (cycle(1.0, 2.0, 3.0), "multiclass", (), "int64"),
        (cycle(0, 1), "multiclass", (), "int64"),
        (cycle(1, 2, 3), "regression", (), "float32"),
        (cycle(True, False), "regression", (), "float32"),
        (np.eye(3)[cycle(0, 1, 2)], "multilabel", (3,), "float32"),
        (np.eye(2)[cycle(0, 1)], "binary", (), "int64"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_said_task_overrides(snap, target, task, shape, dtype):
    spec = snap((X, target), task=task)
    assert (spec.task, spec.target_shape, spec.target_dtype) == (task, shape, dtype)


def test_encoding_of_labels_is_told(snap):
    assert "y: labels 'c', 'd' become the classes 0 to 1" in snap((X, cycle("d", "c"))).notes


def test_indices_as_labels_need_no_word(snap):
    assert snap((X, cycle(0, 1, 2))).notes == ()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (cycle(0, 1), "2 classes: binary; 48 train / 12 validation, stratified"),
        (np.linspace(0, 1, N), "one number: regression; 48 train / 12 validation"),
        (np.stack([cycle(0, 1), cycle(1, 1, 0)], 1), "2 labels: multilabel; 48 train"),
        (np.linspace(0, 1, 2 * N).reshape(N, 2), "numbers of shape 2: regression"),
    ],
    ids=["classes", "number", "labels", "numbers"],
)
def test_description_shows_the_task(snap, target, told):
    assert f"60 rows, 2 features, {told}" in snap((X, target)).description


@pytest.mark.parametrize(
    ("target", "n_outputs"),
    [
        (cycle(0, 1), 1),
        (cycle(0, 1, 2), 3),
        (np.stack([cycle(0, 1), cycle(1, 1, 0)], 1), 2),
        (np.linspace(0, 1, N), 1),
        (np.linspace(0, 1, 6 * N).reshape(N, 2, 3), 6),
    ],
    ids=["binary", "multiclass", "multilabel", "regression", "regression of a table"],
)
def test_number_of_outputs(opened, target, n_outputs):
    assert opened((X, target)).n_outputs == n_outputs


def test_labels_are_encoded_alike_in_a_given_validation_set(opened):
    data = opened((X, cycle("b", "a"), X[:3], np.array(["a", "a", "b"])))
    assert data.valid.all()[1].tolist() == [0, 0, 1]


def test_one_class_alone_may_be_validated_on(snap):
    assert snap((X, cycle(0, 1), X[:2], np.array([1, 1]))).n_valid == 2
