"""The table of layers before and after: own shares, layers that are not called, two classes side by side."""

from __future__ import annotations

import torch
from torch import nn

from nbautoml.compress.layer_table import layers_table


class WithIdle(nn.Module):
    """One layer that is called, one that is not."""

    def __init__(self):
        super().__init__()
        self.large, self.idle = nn.Linear(4, 4_000), nn.Linear(4, 4)

    def forward(self, x):
        return self.large(x)


def test_a_layer_that_is_not_called_stands_in_the_table_without_a_time():
    table = layers_table(WithIdle(), WithIdle(), {}, torch.zeros(1, 4))["layers"]
    sides = {row["name"]: row["after"] for row in table}
    assert "ms" not in sides["idle"]
    assert sides["large"]["ms"] > 0


class Scaled(nn.Module):
    """A layer with a weight of its own around another layer."""

    def __init__(self):
        super().__init__()
        self.gain, self.fc = nn.Parameter(torch.ones(4)), nn.Linear(4, 6)

    def forward(self, x):
        return self.fc(x * self.gain)


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory, self.out = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.memory(x)[0][:, -1])


def test_the_multiplications_of_an_lstm_stand_in_its_row():
    table = layers_table(Reads(), Reads(), {}, torch.zeros(1, 5, 4))["layers"]
    macs = {row["name"]: row["after"]["macs"] for row in table}
    assert macs == {"memory": 5 * 4 * 6 * (4 + 6), "out": 12}


def test_a_layer_around_another_counts_its_own_share_alone():
    net = nn.Sequential(Scaled(), nn.Linear(6, 2))
    table = layers_table(net, net, {}, torch.zeros(1, 4))["layers"]
    macs = {row["name"]: row["after"]["macs"] for row in table}
    assert macs == {"0": 0, "0.fc": 24, "1": 12}


def test_what_torch_names_otherwise_inside_an_attention_is_a_linear_layer():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    table = layers_table(Attending(), Attending(), {}, torch.zeros(1, 3, 4))["layers"]
    kinds = {row["name"]: row["kind"] for row in table}
    assert kinds == {"attention": "MultiheadAttention", "attention.out_proj": "Linear"}
