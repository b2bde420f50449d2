"""Datasets and loaders are read once, in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)

X = torch.arange(40, dtype=torch.float32).reshape(20, 2)
Y = torch.tensor([0, 1] * 10)


class Squares(Dataset):
    """Twenty samples, made as they are asked for."""

    def __init__(self, sample=lambda at: (X[at], int(Y[at])), n=20):
        self.sample = sample
        self.n = n
        self.asked = []

    def __len__(self):
        return self.n

    def __getitem__(self, at):
        self.asked.append(at)
        return self.sample(at)


def first_values(part):
    return sorted(part.all()[0][:, 0].tolist())


def all_values(data):
    return sorted(first_values(data.train) + first_values(data.valid))


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(X, Y),
        Squares(),
        Squares(lambda at: (X[at].numpy(), np.int64(Y[at]))),
        Squares(lambda at: (X[at].tolist(), Y[at])),
        Squares(lambda at: (X[at], ["no", "yes"][Y[at]])),
        DataLoader(Squares(), batch_size=7, shuffle=True),
        DataLoader(TensorDataset(X, Y)),
    ],
    ids=["tensors", "indexed", "arrays", "lists", "text labels", "loader", "loader of tensors"],
)
def test_samples_arrive(opened, dataset):
    data = opened(dataset)
    assert all_values(data) == X[:, 0].tolist()
    assert data.task == "binary"


def test_each_sample_is_read_once(snap):
    dataset = Squares()
    snap(dataset)
    assert dataset.asked == list(range(20))


def test_that_transforms_are_applied_once_is_told(snap):
    assert any("a random transform is applied once" in note for note in snap(Squares()).notes)


def test_anything_indexed_like_a_dataset_will_do(opened):
    class Plain:
        def __len__(self):
            return 20

        def __getitem__(self, at):
            return X[at], Y[at]

    assert all_values(opened(Plain())) == X[:, 0].tolist()


def test_pair_of_datasets_is_training_and_validation(opened):
    data = opened((Squares(), Squares(n=6)))
    assert (data.train.n, data.valid.n) == (20, 6)


def test_random_split_is_taken_as_it_is(opened):
    train, valid = random_split(TensorDataset(X, Y), [15, 5], torch.Generator().manual_seed(1))
    data = opened((train, valid))
    assert first_values(data.train) == sorted(X[train.indices][:, 0].tolist())
    assert first_values(data.valid) == sorted(X[valid.indices][:, 0].tolist())


def test_subset_of_any_dataset_is_taken(opened):
    data = opened(Subset(Squares(), range(10)))
    assert all_values(data) == X[:10, 0].tolist()


def test_pair_of_loaders_over_one_dataset_keeps_its_rows_apart(opened):
    dataset = Squares()
    pair = (
        DataLoader(dataset, sampler=SubsetRandomSampler(range(4, 20))),
        DataLoader(dataset, sampler=SubsetRandomSampler(range(4))),
    )
    data = opened(pair)
    assert first_values(data.valid) == X[:4, 0].tolist()
    assert first_values(data.train) == X[4:, 0].tolist()


def test_loaders_batch_size_is_told_not_used(snap):
    notes = " ".join(snap(DataLoader(Squares(), batch_size=7)).notes)
    assert "batch_size (7)" in notes


@pytest.mark.parametrize(
    ("sample", "layout"),
    [
        (lambda at: ((X[at], X[at] + 1), Y[at]), "tuple"),
        (lambda at: ({"a": X[at], "b": X[at] + 1}, Y[at]), "dict"),
    ],
    ids=["tuple", "dict"],
)
def test_samples_of_several_inputs(opened, sample, layout):
    data = opened(Squares(sample))
    inputs, _ = data.train.all()
    first, second = inputs.values() if layout == "dict" else inputs
    assert data.spec.layout == layout
    torch.testing.assert_close(first + 1, second)


def test_targets_may_be_arrays(opened):
    data = opened(Squares(lambda at: (X[at], X[at] / 2)))
    inputs, target = data.valid.all()
    torch.testing.assert_close(inputs / 2, target)


def test_targets_of_several_labels(opened):
    data = opened(Squares(lambda at: (X[at], [at % 2, 1, at % 3 == 0])))
    assert (data.task, data.n_outputs) == ("multilabel", 3)


def test_equal_samples_and_arrays_are_one_snapshot(snap):
    assert snap(Squares()).digest == snap((X, Y)).digest


def test_nothing_is_left_beside_the_snapshot(snap, home):
    spec = snap(Squares(lambda at: (X[at].double(), X[at].double())))
    assert [path.name for path in home.iterdir()] == [spec.digest]
    assert sorted(path.name for path in (home / spec.digest).iterdir()) == [
        "meta.json",
        "train_0.npy",
        "train_target.npy",
    ]
