"""The split: seeded, stratified, the same in every worker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from nbautoml.data.splits import split_rows

LABELS = st.lists(st.integers(0, 5), min_size=4, max_size=80)


def test_split_of_a_seed_never_changes():
    train, valid = split_rows(10, 0.3, seed=7)
    assert valid.tolist() == [0, 5, 8]
    assert train.tolist() == [1, 2, 3, 4, 6, 7, 9]


def test_another_seed_is_another_split():
    assert split_rows(100, 0.2, 0)[1].tolist() != split_rows(100, 0.2, 1)[1].tolist()


def test_seeds_beyond_32_bits_are_taken():
    assert len(split_rows(10, 0.2, 2**40 - 1)[1]) == 2


@given(labels=LABELS, fraction=st.floats(0.05, 0.9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=100, database=None)
def test_each_row_is_on_one_side_and_each_class_in_training(labels, fraction, seed):
    codes = np.unique(labels, return_inverse=True)[1]
    train, valid = split_rows(len(codes), fraction, seed, labels=codes)
    assert sorted([*train, *valid]) == list(range(len(codes)))
    assert set(codes[train]) == set(codes)
    assert len(valid) <= np.ceil(len(codes) * fraction)


@given(labels=LABELS, fraction=st.floats(0.05, 0.5))
@settings(deadline=None, max_examples=100, database=None)
def test_no_class_is_more_than_one_row_off_its_share(labels, fraction):
    codes = np.unique(labels, return_inverse=True)[1]
    _, valid = split_rows(len(codes), fraction, 0, labels=codes)
    n_valid = min(len(codes) - 1, np.ceil(len(codes) * fraction))
    counts = np.bincount(codes)
    shares = np.bincount(codes[valid], minlength=len(counts))
    off = shares - counts * n_valid / len(codes)
    # A class that must keep a row for training falls short, and others take its place.
    assert (off[counts > 2] < 2).all()
    assert (off < 2).all()


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.33])
def test_proportions_are_scikit_learns(numbers, fraction):
    codes = numbers.choice(4, size=1000, p=[0.6, 0.25, 0.1, 0.05])
    _, ours = split_rows(1000, fraction, 0, labels=codes)
    _, theirs = train_test_split(
        np.arange(1000), test_size=fraction, stratify=codes, random_state=0
    )
    np.testing.assert_allclose(np.bincount(codes[ours]), np.bincount(codes[theirs]), atol=1)


def test_rows_within_a_class_are_shuffled():
    _, valid = split_rows(1000, 0.2, 0, labels=np.zeros(1000, dtype=np.int64))
    assert valid.max() > 900


def test_workers_get_the_split_that_was_told(opened, numbers):
    value = (numbers.normal(size=(53, 2)), numbers.integers(0, 3, 53))
    first, second = opened(value, seed=3), opened(value, seed=3)
    assert (first.train.n, first.valid.n) == (first.spec.n_train, first.spec.n_valid)
    assert first.valid.all()[0].equal(second.valid.all()[0])


def test_another_seed_splits_the_same_snapshot(opened, numbers):
    value = (numbers.normal(size=(50, 2)), numbers.integers(0, 3, 50))
    first, second = opened(value, seed=0), opened(value, seed=1)
    assert first.spec.digest == second.spec.digest
    assert not first.valid.all()[0].equal(second.valid.all()[0])
