"""What a failed run leaves in memory: nothing (section 3 of the user's code that misbehaves)."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

import nbautoml
from nbautoml.spec import Int


class Failing(nn.Module):
    """It makes a large tensor, and raises while its frame holds it."""

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
        self.n_calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        held = torch.ones(2_000_000, device=x.device)
        if self.training and self.n_calls > 3:
            raise ValueError(f"held {held.numel()} numbers")
        return self.layers(x)


def n_bytes(device: str) -> int:
    """Of all tensors that are alive, or what the device says."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    alive = [o for o in gc.get_objects() if type(o) in {torch.Tensor, nn.Parameter}]
    return sum(tensor.numel() * tensor.element_size() for tensor in alive)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
        ),
    ],
)
def test_memory_after_a_failed_run_is_what_it_was_before(tmp_path, device):
    words = {"data": "digits", "executor": "inline", "device": device, "home": tmp_path / "home"}
    words |= {"width": Int(1000, 1024), "epochs": 2, "batch_size": 64, "wait": True}
    sizes = []
    for name in ("first", "second", "third"):  # the data of two runs are kept open
        run = nbautoml.tune(Failing, name=name, trials=3, **words)
        assert run.state == "failed"
        assert "held 2000000 numbers" in run.trial(0).row.error
        del run
        sizes.append(n_bytes(device))
    assert sizes[1] == sizes[2]
    assert sizes[2] < 8_000_000  # none of what was held
