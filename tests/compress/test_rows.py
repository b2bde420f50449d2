"""Rows that a search does not see: which, and that they decide which model is picked."""

from __future__ import annotations

import pytest
import torch

from nbautoml.compress.rows import FEWEST, n_held_out, split_rows
from nbautoml.data import open_data, snapshot


@pytest.fixture(params=["resident", "streamed"])
def data(request, home_data):
    """1600 rows that are their own numbers, half of them to validate on."""
    X = torch.arange(1600, dtype=torch.float32).reshape(-1, 1)
    spec = snapshot((X, X[:, 0]), home_data=home_data, task="regression", valid_fraction=0.5)
    limit = None if request.param == "resident" else 0
    return open_data(spec, home_data, device_limit_bytes=limit)


def numbers(part) -> set[int]:
    return {int(number) for inputs, _ in part.batches(64) for number in inputs}


def test_half_of_many_validation_rows_is_held_out_and_nothing_twice(data):
    whole = numbers(data.valid)
    seen, held = split_rows(data, n_held_out(data.valid.n), seed=3)
    assert held is not None
    assert (seen.valid.n, held.valid.n) == (400, 400)
    assert numbers(seen.valid) | numbers(held.valid) == whole
    assert not numbers(seen.valid) & numbers(held.valid)
    assert numbers(seen.train) == numbers(data.train)


def test_inputs_and_targets_stay_together(data):
    seen, _ = split_rows(data, 400, seed=3)
    order = torch.tensor([7, 2, 399])
    for inputs, target in seen.valid.batches(2, order=order):
        assert torch.equal(inputs[:, 0], target.reshape(-1))


def test_the_seed_decides_which(data):
    one, again, other = (split_rows(data, 400, seed=seed)[0] for seed in (1, 1, 2))
    assert numbers(one.valid) == numbers(again.valid)
    assert numbers(one.valid) != numbers(other.valid)


def test_of_few_rows_none_is_held_out(data):
    assert n_held_out(FEWEST - 1) == 0
    assert split_rows(data, 0, seed=1) == (data, None)
