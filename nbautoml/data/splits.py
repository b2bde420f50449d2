"""Which rows are trained on and which are validated on: seeded, and the same in every worker."""

from __future__ import annotations

import math

import numpy as np

from nbautoml.data.arrays import Array
from nbautoml.errors import DataError

__all__ = ["check_splittable", "is_stratified", "split_rows"]


def is_stratified(task: str) -> bool:
    """True where classes are kept in proportion.

    >>> is_stratified("binary"), is_stratified("regression")
    (True, False)
    """
    return task in {"binary", "multiclass"}


def split_rows(
    n_rows: int, fraction: float, seed: int, *, labels: Array | None = None
) -> tuple[Array, Array]:
    """Sorted row numbers for training and for validation.

    With labels, each class gives its share of the validation rows (largest remainder), but
    keeps at least one row for training; a class of one row stays in training.

    This is done here and not by scikit-learn because importing that costs a worker more than
    a second, and because the split of a recorded run must never change with a library:
    `RandomState` is the one generator whose stream numpy has frozen.

    Args:
        n_rows: how many rows there are.
        fraction: share of them for validation, rounded up.
        seed: seed of the shuffle.
        labels: class of each row, 0 to k - 1, for a stratified split.

    Raises:
        DataError: fewer than two rows, or a fraction outside of 0 to 1.

    >>> train, valid = split_rows(10, 0.2, seed=0)
    >>> len(train), len(valid)
    (8, 2)
    """
    if not 0 < fraction < 1:
        raise DataError(
            f"valid_fraction is {fraction}, but must lie between 0 and 1",
            hint="0.2 holds back a fifth; or give (X, y, X_val, y_val)",
        )
    check_splittable(n_rows)
    n_valid = min(n_rows - 1, math.ceil(n_rows * fraction))
    order = np.random.RandomState(seed % 2**32).permutation(n_rows)
    if labels is None:
        return np.sort(order[n_valid:]), np.sort(order[:n_valid])
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    rank = np.arange(n_rows) - np.repeat(starts, counts)  # place of a row within its class
    is_valid = rank < np.repeat(_shares(counts, n_valid), counts)
    return np.sort(order[~is_valid]), np.sort(order[is_valid])


def check_splittable(n_rows: int) -> None:
    """Raises a DataError when there are not two rows, one for each side."""
    if n_rows < 2:
        raise DataError(
            f"there is {n_rows} row, too few to split off a validation set",
            hint="give more rows, or (X, y, X_val, y_val)",
        )


def _shares(counts: Array, n_valid: int) -> Array:
    """Validation rows of each class."""
    room = np.maximum(counts - 1, 0)
    wanted = counts * (n_valid / counts.sum())
    shares = np.minimum(np.floor(wanted).astype(np.int64), room)
    by_remainder = np.argsort(shares - wanted, kind="stable")
    while (left := n_valid - int(shares.sum())) > 0:
        open_classes = by_remainder[shares[by_remainder] < room[by_remainder]]
        if len(open_classes) == 0:
            break  # as many as there are classes must stay in training
        shares[open_classes[:left]] += 1
    return np.asarray(shares)
