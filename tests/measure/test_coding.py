"""Coded weights: what is counted are bytes from which the weights come back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbautoml.errors import UsageError
from nbautoml.measure import decode_weights, encode_weights, stored_size


@st.composite
def weights(draw):
    """Tensors of any kind, with few or many zeros and few or many different values."""
    seed = draw(st.integers(0, 2**31))
    shape = draw(st.lists(st.integers(0, 40), max_size=3))
    n_values = draw(st.sampled_from([1, 2, 16, 255, 256, 257, 5000]))
    share = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]))
    random = torch.Generator().manual_seed(seed)
    table = torch.randn(n_values, generator=random)
    found = table[torch.randint(n_values, shape, generator=random)]
    return (found * (torch.rand(shape, generator=random) < share)).to(dtype)


@settings(max_examples=150, deadline=None)
@given(st.lists(weights(), min_size=1, max_size=3))
def test_every_tensor_comes_back_as_it_was(tensors):
    named = {str(at): tensor for at, tensor in enumerate(tensors)}
    again = decode_weights(encode_weights(named), named)
    for name, tensor in named.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor)


def test_no_form_is_longer_than_the_numbers_and_one_byte():
    dense = torch.randn(50, 50)
    assert len(encode_weights({"w": dense})) == 4 * 2500 + 1


def test_zeros_and_few_values_take_little_and_no_less_than_their_entropy():
    random = torch.Generator().manual_seed(0)
    n, n_kept, n_values = 235_200, 4_000, 16
    flat = torch.zeros(n)
    kept = torch.randperm(n, generator=random)[:n_kept]
    flat[kept] = torch.linspace(-1, 1, n_values)[
        torch.randint(n_values, (n_kept,), generator=random)
    ]
    p = n_kept / n
    places_bits = n * -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    least = (places_bits + n_kept * math.log2(n_values)) / 8
    assert least < len(encode_weights({"w": flat})) < 1.05 * least + 4 * n_values + 200


def test_shared_values_without_zeros_take_their_bits():
    random = torch.Generator().manual_seed(0)
    flat = torch.linspace(-1, 1, 32)[torch.randint(32, (64_000,), generator=random)]
    assert 5 / 8 * 64_000 < len(encode_weights({"w": flat})) < 5 / 8 * 64_000 * 1.01 + 200


def test_whole_numbers_and_what_is_no_number_come_back():
    odd = {
        "seen": torch.tensor(12),
        "mask": torch.tensor([True, False]).repeat(50),
        "nan": torch.tensor([0.0, float("nan"), float("inf")]).repeat(50),
        "none": torch.zeros(0, 4),
        "complex": torch.randn(4, 3, dtype=torch.complex128),
    }
    again = decode_weights(encode_weights(odd), odd)
    for name, tensor in odd.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_a_pruned_weight_that_was_negative_is_a_zero_like_any_other():
    weight = -torch.rand(1000) * (torch.arange(1000) % 50 == 0)  # negative zeros
    assert len(encode_weights({"w": weight})) < 200


def test_tied_weights_are_written_once():
    weight = torch.randn(30, 30)
    tied = {"words": weight, "out": weight}
    data = encode_weights(tied)
    assert len(data) == 4 * 900 + 1
    assert torch.equal(decode_weights(data, tied)["out"], weight)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""]
)
def test_what_does_not_fit_is_refused(change):
    weight = torch.zeros(1000)
    weight[::10] = torch.randn(100)
    data = change(encode_weights({"w": weight}))
    with pytest.raises(UsageError, match=r"do not fit w of \(1000,\)|left over"):
        decode_weights(data, {"w": weight})


def test_a_part_of_a_tensor_beside_it_is_a_tensor_of_its_own():
    weight = torch.randn(30, 30)
    both = {"whole": weight, "first": weight[:1], "turned": weight.t()}
    again = decode_weights(encode_weights(both), both)
    for name, tensor in both.items():
        assert torch.equal(again[name], tensor)


def test_the_size_is_a_measurement():
    found = stored_size({"w": torch.zeros(1000)})
    assert (found.unit, found.n) == ("B", 1)
    assert found.value < 20
    assert "deflated" in found.method
