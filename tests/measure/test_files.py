"""A file beside another: sizes are theirs, times come in pairs, and nonsense is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.errors import ModelError, UsageError
from nbautoml.measure import export_onnx, measure_onnx, paired_ratio

EXAMPLE = torch.zeros(3, 8)


@pytest.fixture(scope="module")
def small():
    return export_onnx(nn.Linear(8, 2), EXAMPLE)


@pytest.fixture(scope="module")
def large():
    return export_onnx(nn.Sequential(nn.Linear(8, 500), nn.Linear(500, 500)), EXAMPLE)


def test_a_file_alone_has_its_size_and_its_latency_by_batch_size(small):
    found = measure_onnx(small, EXAMPLE, batch_sizes=(1, 5), seconds=0.01)
    assert found["onnx_bytes"].value == len(small)
    assert {"onnx_1_p50", "onnx_1_p95", "onnx_5_p50", "onnx_5_p95"} < set(found)
    assert "batch of 5" in found["onnx_5_p95"].method
    assert not any(name.startswith(("beside", "ratio")) for name in found)


def test_beside_another_file_each_turn_gives_a_ratio(small, large):
    found = measure_onnx(small, EXAMPLE, batch_sizes=(4,), seconds=0.01, beside=large)
    assert found["beside_bytes"].value == len(large)
    assert found["ratio_4"].n == found["onnx_4_p50"].n == found["beside_4_p50"].n
    assert found["ratio_4"].unit == "times"


def test_a_busy_moment_that_slows_both_calls_of_a_turn_leaves_the_ratio():
    assert paired_ratio([1.0, 100.0, 1.0], [4.0, 400.0, 4.0]).value == 0.25
    assert paired_ratio([1.0, 100.0, 1.0], [4.0, 400.0, 4.0]).spread == 0


def test_a_batch_of_no_rows_is_refused(small):
    with pytest.raises(UsageError, match="batch_sizes holds 0"):
        measure_onnx(small, EXAMPLE, batch_sizes=(0,))


def test_what_is_no_onnx_file_is_refused():
    with pytest.raises(ModelError, match="does not take the model"):
        measure_onnx(b"nothing of the kind", EXAMPLE)
