"""Data that cannot be trained on: each ends in a message with what, where, the value, and what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
)

from nbautoml.errors import DataError

N = 20
X = np.arange(2 * N, dtype=np.float32).reshape(N, 2)
Y = np.array([0, 1] * (N // 2))


def having(array, at, value):
    changed = array.astype(type(array.flat[0]) if isinstance(value, float) else object)
    changed[at] = value
    return changed


def frame(**columns):
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": Y, **columns})


def dataset(sample, n=N):
    class Made(Dataset):
        def __len__(self):
            return n

        def __getitem__(self, at):
            return sample(at)

    return Made()


class Endless(Dataset):
    def __getitem__(self, at):
        return X[at], Y[at]


class Stream(IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


class StreamOfKnownLength(Stream):
    def __len__(self):
        return N


class Holey(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, at):
        if at == 3:
            raise ValueError("no such file")
        return X[at], Y[at]


# name: (value, settings, words of the message, words of the hint)
CASES = {
    # rows
    "lengths differ": ((X, Y[:15]), {}, ["X has 20 rows", "y has 15"], "one target"),
    "lengths differ, and the task is not clear": (
        (X, [0.0, 1.0, 2.0, 3.0, 4.0]), {}, ["X has 20 rows", "y has 5"], "one target"
    ),
    "lengths of validation differ": (
        (X, Y, X[:4], Y[:3]), {}, ["X_val has 4 rows", "y_val has 3"], "one target"
    ),
    "lengths of one input differ": (
        ({"a": X, "b": X[:9]}, Y), {}, ["X['b'] has 9 rows", "y has 20"], "one target"
    ),
    "lengths of a series differ": ((X, pd.Series(Y[:5])), {}, ["20 rows", "5"], "one target"),
    "no rows": ((X[:0], Y[:0]), {}, ["is empty"], ""),
    "no rows in a list": (([], []), {}, ["is empty"], ""),
    "no rows in a frame": (frame().iloc[:0], {"target": "y"}, ["DataFrame is empty"], "filter"),
    "no rows for validation": ((X, Y, X[:0], Y[:0]), {}, ["y_val is empty"], ""),
    "no features": ((X[:, :0], Y), {}, ["X has no values", "(20, 0)"], ""),
    "one row": ((X[:1], np.array([0.5])), {"task": "regression"}, ["1 row"], "more rows"),
    "two rows of two classes": ((X[:2], Y[:2]), {}, ["2 rows with 2 classes"], "X_val"),
    # target
    "one class": ((X, Y * 0), {}, ["single class", "20 rows is 0"], "two classes"),
    "one class of text": ((X, ["a"] * N), {}, ["single class", "'a'"], "two classes"),
    "constant target": ((X, Y * 0 + 2.5), {}, ["y is constant", "2.5"], "which column"),
    "constant labels": (
        (X, np.ones((N, 3))), {"task": "multilabel"}, ["y is constant"], "which columns"
    ),
    "NaN label": ((X, having(Y * 1.5, 7, np.nan)), {}, ["1 label", "NaN", "row 7"], "isfinite"),
    "infinite label": ((X, having(Y * 1.5, 7, np.inf)), {}, ["infinite", "row 7"], "isfinite"),
    "label None": ((X, having(Y, 7, None)), {}, ["y has 1 missing value", "7"], "drop"),
    "all labels missing": ((X, pd.Series([None] * N)), {}, ["missing in all 20 rows"], ""),
    "labels of mixed types": ((X, [0, "a"] * 10), {}, ["y mixes types", "10 int", "10 str"], "strings"),
    "labels that are dates": (
        (X, np.arange(N).astype("datetime64[D]")), {}, ["y has dates"], "numbers"
    ),
    "a class a row": ((X, [f"n{i}" for i in range(N)]), {}, ["20 classes in 20 rows"], "regression"),
    "too many classes said": (
        (X, np.arange(N)), {"task": "multiclass"}, ["20 classes in 20 rows"], "regression"
    ),
    "unknown task": ((X, Y), {"task": "multclass"}, ["'multclass'"], "'multiclass'"),
    "three labels for binary": (
        (X, np.arange(N) % 3), {"task": "binary"}, ["3 different labels", "0, 1, 2"], "multiclass"
    ),
    "fractions as classes": (
        (X, Y + 0.5), {"task": "multiclass"}, ["0.5", "not labels"], "regression"
    ),
    "text to regress on": (
        (X, ["a", "b"] * 10), {"task": "regression"}, ["text such as 'a'"], "classes"
    ),
    "one column for multilabel": ((X, Y), {"task": "multilabel"}, ["(20,)"], "leave task out"),
    "numbers for multilabel": ((X, X * 3), {"task": "multilabel"}, ["table of 0 and 1"], ""),
    "table for multiclass": (
        (X, np.stack([Y, Y], 1)), {"task": "multiclass"}, ["(20, 2)"], "multilabel"
    ),
    "target is a single value": ((X, 3), {}, ["y is a single value"], "rows"),
    "target is None": ((X, None), {}, ["y is None"], "array"),
    "label unseen in training": (
        (X, Y, X[:3], np.array([0, 1, 2])), {}, ["y_val has 1 label", "occurs in y: 2"], "add rows"
    ),
    "validation labels of another type": (
        (X, Y, X[:2], ["a", "b"]), {}, ["y_val holds"], "one type"
    ),
    "validation target of another shape": (
        (X, np.stack([Y, 1 - Y * 0], 1), X[:2], Y[:2]), {}, ["y_val has shape ()", "(2,)"], "both"
    ),
    "validation not one-hot": (
        (X, np.eye(2)[Y], X[:2], np.ones((2, 2))), {}, ["y_val is not one-hot"], ""
    ),
    # features
    "NaN feature": (
        (having(X, (3, 1), np.nan), Y), {}, ["X has 1 NaN", "row 3", "column 1"], "fill"
    ),
    "infinite feature": (
        (having(X, (3, 1), np.inf), Y), {}, ["X has 1 infinite", "row 3", "column 1"], "fill"
    ),
    "NaN in an image": (
        (having(np.zeros((N, 1, 2, 2)), (4, 0, 1, 1), np.nan), Y), {}, ["1 NaN", "row 4"], "fill"
    ),
    "NaN in validation": (
        (X, Y, having(X, (2, 0), np.nan), Y), {}, ["X_val has 1 NaN", "column 0"], "fill"
    ),
    "beyond float32": ((X.astype(float) * 1e300, Y), {}, ["X has", "infinite"], "scale"),
    "feature None": ((having(X, (3, 1), None), Y), {}, ["X has 1 missing value"], "fill"),
    "features of mixed types": ((having(X, (3, 1), "a"), Y), {}, ["39 float", "1 str"], "numbers"),
    "beyond float64": (([[10**400]] * N, Y), {}, ["beyond the range of float64"], "scale"),
    "list of mixed types": (([[1, "a"]] * N, Y), {}, ["X mixes types"], "numbers"),
    "objects": ((np.array([object()] * N), Y), {}, ["20 object"], "numbers"),
    "text features": (([["a", "b"]] * N, Y), {}, ["X holds text"], "DataFrame"),
    "complex": ((X + 1j, Y), {}, ["complex", "complex64"], "imag"),
    "complex tensor": ((torch.tensor(X + 1j), Y), {}, ["complex"], "imag"),
    "dates": ((np.arange(N).astype("datetime64[D]"), Y), {}, ["X has dates"], "numbers"),
    "structured": ((np.zeros(N, dtype=[("a", "f4")]), Y), {}, ["neither numbers nor text"], ""),
    "ragged": (([[1.0, 2.0], [3.0]] * 10, Y), {}, ["row 0 has 2", "row 1 has 1"], "pad"),
    "ragged inside": (([[[1.0], [2.0, 3.0]]] * N, Y), {}, ["nested unevenly"], "pad"),
    "ragged tensors": (
        ([torch.zeros(2), torch.zeros(3)] * 10, Y), {}, ["row 0 has (2,)", "row 1 has (3,)"], "pad"
    ),
    "ragged objects": (
        (np.array([np.zeros(2), np.zeros(3)] * 10, dtype=object), Y), {}, ["row 1 has (3,)"], "pad"
    ),
    "0-d array": ((np.array(3.0), Y), {}, ["X is a single value (3.0)"], "rows"),
    "0-d tensor": ((torch.tensor(3.0), Y), {}, ["X is a single value"], "rows"),
    "0-d with a series": ((np.array(3.0), pd.Series(Y)), {}, ["X is a single value"], "rows"),
    "masked": ((np.ma.masked_equal(X, 3), Y), {}, ["masked array (1 values"], "filled"),
    "too large sparse": (
        (scipy.sparse.csr_matrix((N, 10**8)), Y), {}, ["sparse", "16 GB"], "TruncatedSVD"
    ),
    "tensor without values": (
        (torch.empty(N, 2, device="meta"), Y), {}, ["tensor that cannot be read"], "dense"
    ),
    "beyond int64": (
        (np.full((N, 1), 2**63, np.uint64), Y), {}, ["beyond int64", "9223372036854775808"], ""
    ),
    "arrays of no dimension among rows": (
        ([np.zeros(2), np.array(1.0)] * 10, Y), {}, ["row 0 has 2 values", "row 1 has no length"], "pad"
    ),
    "set as features": (({1, 2}, Y), {}, ["X is a set"], "numpy"),
    "validation of other shape": (
        (X, Y, X[:4, :1], Y[:4]), {}, ["X_val has shape (1,)", "X (2,)"], "same features"
    ),
    "validation of other dtype": (
        (X, Y, X[:4].astype(np.uint8), Y[:4]), {}, ["X_val is uint8, X is float32"], "one dtype"
    ),
    "validation of other inputs": (
        ({"a": X}, Y, {"b": X}, Y), {}, ["(dict: b)", "(dict: a)"], "same form"
    ),
    "validation is a frame": ((X, Y, pd.DataFrame(X), Y), {}, ["X_val is a DataFrame"], "same form"),
    # forms
    "nothing": (None, {}, ["the data is None"], "(X, y)"),
    "only features": (X, {}, ["ndarray of shape (20, 2)", "without a target"], "(X, y)"),
    "only dates": (np.arange(N).astype("datetime64[D]"), {}, ["without a target"], "(X, y)"),
    "only a tensor": (torch.tensor(X), {}, ["Tensor of shape (20, 2)"], "(X, y)"),
    "three items": ((X, Y, X), {}, ["tuple of 3 items"], "((X1, X2), y)"),
    "a number": (3, {}, ["a int", "no form of data"], "named set"),
    "a dict": ({"x": X, "y": Y}, {}, ["dict with the keys x, y"], "(inputs, y)"),
    "a generator": ((x for x in X), {}, ["generator", "only once"], "collect"),
    "key that is no name": (({"my image": X}, Y), {}, ["'my image'"], "forward's parameters"),
    "no inputs": (({}, Y), {}, ["X has no inputs"], ""),
    "no inputs in a tuple": (((), Y), {}, ["X has no inputs"], ""),
    "unknown name": ("digit", {}, ["'digit' is neither"], "'digits'"),
    "file instead of folder": (__file__, {}, ["neither a named set nor a folder"], "read_csv"),
    "target of arrays": ((X, Y), {"target": "y"}, ["column ('y') is named", "tuple of 2"], "DataFrame"),
    # frames
    "no target named": (frame(), {}, ["no target column"], "a, b, y"),
    "unknown target": (frame(price=1.0), {"target": "prise"}, ["'prise'"], "'price'"),
    "duplicated columns": (
        pd.concat([frame(), frame()[["a"]]], axis=1), {"target": "y"}, ["'a' (2 times)"], "rename"
    ),
    "levels of columns": (
        pd.concat({"k": frame()}, axis=1), {"target": "y"}, ["2 levels"], "join"
    ),
    "only a target": (frame()[["y"]], {"target": "y"}, ["no columns left"], "features"),
    "column without values": (
        frame(c=np.nan), {"target": "y"}, ["column 'c'", "all 20 are missing"], "drop"
    ),
    "infinite column": (
        frame(c=[np.inf] + [1.0] * 19), {"target": "y"}, ["1 infinite", "column 'c'"], "fill"
    ),
    "column of dates": (
        frame(c=pd.date_range("2020", periods=N)), {"target": "y"}, ["column 'c'", "datetime"], "year"
    ),
    "complex column": (frame(c=1j), {"target": "y"}, ["column 'c'", "complex"], "numbers"),
    "column of mixed objects": (
        frame(c=[1, "a"] * 10), {"target": "y"}, ["column 'c'", "10 int, 10 str"], "numbers"
    ),
    "column of lists": (frame(c=[[1]] * N), {"target": "y"}, ["column 'c'", "20 list"], "numbers"),
    "column of identifiers": (
        pd.DataFrame({"id": [f"n{i}" for i in range(99)], "y": [0.5, 1.5, 2.5] * 33}),
        {"target": "y"}, ["'id'", "99 different values in 99 rows"], "drop",
    ),
    "target missing everywhere": (frame(y=np.nan), {"target": "y"}, ["missing in all 20 rows"], ""),
    "validation frame without a column": (
        (frame(), frame().drop(columns="b")), {"target": "y"}, ["X_val has no column 'b'"], "columns"
    ),
    # datasets
    "dataset without a length": (Endless(), {}, ["Endless without a length"], "__len__"),
    "stream": (Stream(), {}, ["Stream without a length"], "__len__"),
    "stream of known length": (StreamOfKnownLength(), {}, ["iterable dataset"], "__getitem__"),
    "loader of a stream": (DataLoader(Stream()), {}, ["without a length"], "__len__"),
    "empty dataset": (dataset(lambda at: (X[at], 0), n=0), {}, ["is empty"], ""),
    "dataset of dicts": (
        dataset(lambda at: {"ids": X[at], "label": 0}), {}, ["keys ids, label"], "(x, y)"
    ),
    "samples without target": (dataset(lambda at: X[at]), {}, ["got a ndarray"], "(x, y)"),
    "samples of three": (dataset(lambda at: (X[at], 0, 1.0)), {}, ["3 parts"], "(x, y)"),
    "tensors of three": (
        TensorDataset(torch.tensor(X), torch.tensor(X), torch.tensor(Y)), {}, ["3 tensors"], "(x, y)"
    ),
    "samples of varying shape": (
        dataset(lambda at: (np.zeros(at + 1), 0)), {}, ["sample 1 has shape (2,)", "(1,)"], "pad"
    ),
    "samples of varying inputs": (
        dataset(lambda at: ({"a" if at else "b": X[at]}, 0)), {}, ["sample 1", "['a']", "['b']"], ""
    ),
    "samples of varying dtype": (
        dataset(lambda at: (X[at] + 0.5 if at else Y[:2], 0)), {}, ["sample 1 has dtype float32"], ""
    ),
    "sample that is text": (dataset(lambda at: ("text", Y[at])), {}, ["holds text"], "encode"),
    "complex samples": (dataset(lambda at: (X[at] + 1j, 0)), {}, ["complex"], "imag"),
    "sample that is an object": (dataset(lambda at: (object(), 0)), {}, ["a object"], "arrays"),
    "sample that raises": (Holey(), {}, ["sample 3", "ValueError: no such file"], "dataset[3]"),
    "labels missing in samples": (
        dataset(lambda at: (X[at], None if at == 2 else 0)), {}, ["1 missing value"], "drop"
    ),
    "loader with its own collate": (
        DataLoader(dataset(lambda at: (X[at], 0)), collate_fn=list), {}, ["collate"], "__getitem__"
    ),
    "loader with a sampler of its own": (
        DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), sampler=list(range(5))),
        {}, ["picks rows by a list"], "Subset",
    ),
    # settings
    "fraction of nothing": ((X, Y), {"valid_fraction": 0.0}, ["valid_fraction is 0.0"], "fifth"),
    "fraction of all": ((X, Y), {"valid_fraction": 1.0}, ["valid_fraction is 1.0"], "fifth"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_told(snap, home, case):
    value, settings, words, hint = CASES[case]
    with pytest.raises(DataError) as caught:
        snap(value, name="mine", **settings)
    error = caught.value
    assert error.message.startswith("mine: ")
    assert [word for word in words if word not in error.message] == []
    assert hint in error.hint
    assert not home.exists() or list(home.iterdir()) == []


def test_weights_of_a_sampler_are_told_not_used(snap):
    tensors = TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = DataLoader(tensors, sampler=WeightedRandomSampler([1.0] * N, N))
    assert "the sampler's weights are not used" in " ".join(snap(loader).notes)


def test_class_of_one_row_stays_in_training(opened):
    y = ["a", "b"] * 10
    y[3] = "rare"
    data = opened((X, y))
    assert 2 in data.train.all()[1].tolist()
    assert any("class 'rare' has one row only" in note for note in data.spec.notes)


def test_users_own_error_is_kept_as_the_cause(snap, data_error):
    assert isinstance(data_error(lambda: snap(Holey())).__cause__, ValueError)


def test_million_classes_end_in_a_message(snap, data_error):
    y = np.arange(1_000_000)
    error = data_error(lambda: snap((y.astype(np.float32), y), task="multiclass"))
    assert "1000000 classes" in error.message


def test_table_of_a_hundred_thousand_rows_and_two_hundred_columns_comes_back_whole(opened):
    n_rows, n_columns = 100_000, 200
    table = np.arange(n_rows * n_columns, dtype=np.float32).reshape(n_rows, n_columns) % 1009
    target = (np.arange(n_rows) % 3).astype(np.int64)
    data = opened((table, target))
    assert data.spec.n_rows == n_rows
    given = [part.all() for part in (data.train, data.valid)]
    assert sum(len(x) for x, _ in given) == n_rows
    assert {x.shape[1] for x, _ in given} == {n_columns}
    counts = sum(np.bincount(y.numpy().astype(int), minlength=3) for _, y in given)
    assert counts.tolist() == np.bincount(target).tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_a_device_are_taken(snap):
    assert snap((torch.tensor(X, device="cuda"), torch.tensor(Y))).n_rows == N
