"""Each form that data may have arrives as the arrays that it held."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_iris

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.array([0, 1] * 10)


def rows_of(data):
    """All rows, training and validation, sorted by their first value."""
    inputs = torch.cat([data.train.all()[0], data.valid.all()[0]])
    return inputs[inputs[:, 0].argsort()].numpy()


@pytest.mark.parametrize(
    "value",
    [
        (X, Y),
        [X, Y],
        (torch.tensor(X), torch.tensor(Y)),
        (torch.tensor(X, requires_grad=True), Y),
        (X.tolist(), Y.tolist()),
        (tuple(map(tuple, X.tolist())), tuple(Y.tolist())),
        ([torch.tensor(row) for row in X], Y),
        (list(X), list(Y)),
        (X.astype(object), Y.astype(object)),
        (X.astype(np.float64), Y),
        (X.astype(np.float16), Y.astype(np.uint8)),
        (X.astype(">f8"), Y.astype(">i4")),
        (np.asfortranarray(X), Y[:, None]),
        (torch.tensor(X, dtype=torch.bfloat16), Y),
        (scipy.sparse.csr_matrix(X), Y),
        (torch.tensor(X).to_sparse(), Y),
        (pd.DataFrame(X), pd.Series(Y)),
        (pd.DataFrame(X, index=range(100, 120)), pd.Series(Y, index=range(5, 25))),
        (X, pd.Series(Y, dtype="Int64")),
        (X, pd.DataFrame({"label": Y})),
        (X, pd.Categorical(Y)),
        (X, pd.Index(Y)),
        (scipy.sparse.coo_matrix(X), pd.Series(Y)),
    ],
    ids=lambda value: "-".join(type(item).__name__ for item in value),
)
def test_rows_arrive_unchanged(opened, value):
    data = opened(value)
    np.testing.assert_allclose(rows_of(data), X)
    assert data.task == "binary"
    assert data.spec.inputs[0].dtype == "float32"


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("make", [torch.Tensor.to_sparse_csr, scipy.sparse.coo_matrix, torch.clone])
def test_rows_of_any_container_are_dropped_with_their_label(opened, make):
    labels = pd.Series(["a", "b", None, "a"] * 5)
    data = opened((make(torch.tensor(X)), labels))
    np.testing.assert_array_equal(rows_of(data), X[labels.notna()])


def test_nested_tensors_are_refused(snap, data_error):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    assert "tensor that cannot be read" in data_error(lambda: snap((nested, [0, 1]))).message


def test_labels_stay_with_their_rows(opened):
    data = opened((X, Y))
    inputs, target = data.train.all()
    np.testing.assert_array_equal(target, [Y[int(first) // 2] for first in inputs[:, 0]])


def test_given_validation_set_is_used_as_it_is(opened):
    data = opened((X, Y, X[:3] + 0.5, Y[:3]))
    np.testing.assert_array_equal(data.valid.all()[0], X[:3] + 0.5)
    assert (data.train.n, data.valid.n, data.spec.n_valid_given) == (20, 3, 3)
    assert data.spec.description.endswith("20 train / 3 validation, as given")


def test_pairs_of_pairs_are_training_and_validation(opened):
    data = opened(((X, Y), (X[:4], Y[:4])))
    assert (data.train.n, data.valid.n) == (20, 4)


def test_several_inputs_as_a_tuple(opened):
    data = opened(((X, X[:, :1] + 0.5), Y))
    first, second = data.train.all()[0]
    assert data.spec.layout == "tuple"
    assert [item.name for item in data.spec.inputs] == ["x0", "x1"]
    torch.testing.assert_close(first[:, :1] + 0.5, second)


def test_several_inputs_as_a_dict(opened):
    image = np.zeros((20, 3, 4, 4), np.uint8)
    data = opened(({"image": image, "meta": X}, Y))
    inputs, _ = next(data.train.batches(5))
    assert {name: tuple(part.shape) for name, part in inputs.items()} == {
        "image": (5, 3, 4, 4),
        "meta": (5, 2),
    }
    assert "inputs image (3 x 4 x 4), meta (2 features)" in data.spec.description


def test_dict_inputs_of_validation_may_come_in_another_order(opened):
    data = opened(({"a": X, "b": X + 1}, Y, {"b": X[:4] + 1, "a": X[:4]}, Y[:4]))
    inputs, _ = data.valid.all()
    torch.testing.assert_close(inputs["a"] + 1, inputs["b"])


def test_frames_among_several_inputs_are_encoded(opened):
    frame = pd.DataFrame({"hue": ["red", "blue"] * 10})
    data = opened(({"table": frame, "x": X}, Y))
    assert data.spec.inputs[0].shape == (2,)


def test_scikit_learns_bunch_is_taken(snap):
    spec = snap(load_iris())
    assert spec.classes == ("setosa", "versicolor", "virginica")


def test_single_column_of_floats_becomes_a_feature(snap):
    spec = snap((X[:, 0], Y))
    assert spec.inputs[0].shape == (1,)
    assert "X: one value a row, shaped (20, 1)" in spec.notes


def test_whole_numbers_stay_for_embeddings(opened):
    data = opened((np.arange(20), Y))
    assert data.train.all()[0].dtype == torch.int64
    assert data.spec.inputs[0].shape == ()


def test_pixels_stay_bytes_on_disk_and_arrive_scaled(opened, home):
    images = np.full((20, 1, 2, 2), 255, np.uint8)
    images[0] = 51
    data = opened((images, Y))
    stored = np.load(home / data.spec.digest / "train_0.npy")
    both = torch.cat([data.train.all()[0], data.valid.all()[0]])
    assert stored.dtype == np.uint8
    assert both.dtype == torch.float32
    assert sorted(set(both.flatten().tolist())) == pytest.approx([0.2, 1.0])


def test_input_may_be_its_own_target(opened):
    images = np.random.default_rng(0).integers(0, 255, (20, 1, 2, 2), dtype=np.uint8)
    data = opened((images, images), task="regression")
    inputs, target = data.train.all()
    assert data.task == "regression"
    torch.testing.assert_close(inputs, target)


def test_treatments_are_told(snap):
    notes = snap((X.astype(np.float64), Y[:, None])).notes
    assert notes == ("y: shape (20, 1) squeezed to (20,)", "X: float64 becomes float32")


def test_features_of_wide_spread_are_told(snap):
    wide = X.copy()
    wide[:, 1] *= 1e4
    assert "column 1 spread widely" in " ".join(snap((wide, Y)).notes)


def test_a_target_of_wide_spread_is_told(snap):
    prices = np.random.default_rng(0).normal(size=len(X))
    assert snap((X, prices), task="regression").notes == ("y: float64 becomes float32",)
    told = snap((X, prices * 3e5 / prices.std()), task="regression").notes[-1]
    assert told.startswith("y: spreads widely (standard deviation 3e+05)")
    assert "divide by 100000, say" in told


def test_memory_maps_of_the_user_are_copied_not_moved(opened, tmp_path):
    path = tmp_path / ".writing-mine" / "x.npy"
    path.parent.mkdir()
    np.save(path, X)
    data = opened((np.load(path, mmap_mode="r"), Y))
    assert path.exists()
    np.testing.assert_array_equal(rows_of(data), X)
