"""Time by layer: which layers, of how many calls, and nothing left behind."""

from __future__ import annotations

import torch
from torch import nn

from nbautoml.measure import layer_times


class Twice(nn.Module):
    """One layer that is called twice, one that is not, one much larger than the others."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(4, 4), nn.Linear(4, 40_000)
        self.idle = nn.Linear(4, 4)

    def forward(self, x):
        return self.large(self.small(self.small(x)))


def test_layers_that_are_called_have_a_time_and_the_large_one_the_longest():
    found = layer_times({"one": Twice()}, torch.zeros(16, 4))["one"]
    assert set(found) == {"small", "large"}
    assert found["large"] > found["small"] > 0


def test_modules_are_left_as_they_were():
    module, n_threads = Twice().train(), torch.get_num_threads()
    layer_times({"one": module}, torch.zeros(2, 4))
    assert module.training
    assert torch.get_num_threads() == n_threads
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
