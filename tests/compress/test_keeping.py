"""A file is opened again before it counts: what a user gets answers what was judged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.compress.keeping import check_file
from nbautoml.errors import CompressError
from nbautoml.measure import export_onnx, open_onnx

ROWS = torch.rand(8, 4)


class Noisy(nn.Module):
    """Another answer each time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.fc(x)
        return found + torch.randn_like(found)


def file_of(module: nn.Module) -> bytes:
    return export_onnx(module.eval(), ROWS)


def test_the_file_that_was_judged_is_taken():
    data = file_of(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
    check_file(open_onnx(data), data, ROWS)


def test_a_file_that_answers_otherwise_is_refused():
    net = nn.Linear(4, 2)
    judged = file_of(net)
    with torch.no_grad():
        net.bias += 1e-3
    with pytest.raises(CompressError, match="not give the same answers when it is opened again"):
        check_file(open_onnx(judged), file_of(net), ROWS)


def test_a_file_that_draws_random_numbers_is_refused():
    data = file_of(Noisy())
    judged = open_onnx(data)
    judged(ROWS)  # a fresh session begins with the same numbers
    with pytest.raises(CompressError, match="same answers") as told:
        check_file(judged, data, ROWS)
    assert "draws random numbers" in told.value.hint
