"""Tiny networks of the kinds that compression must cope with, each with inputs that it takes.

::

    for name, network in NETWORKS.items():
        module, inputs = network.build(), network.example(4)
        output = call(module, inputs)          # 4 rows; scores of `network.n_classes` classes

They are as small as they can be while their layers still hang together as the large ones do:
sums, concatenations, grouped channels, heads, gates, rows of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn

__all__ = [
    "MLP",
    "NETWORKS",
    "Dense",
    "Depthwise",
    "Encoder",
    "Network",
    "Plain",
    "Reader",
    "Residual",
    "TwoInputs",
    "UNet",
    "WordBag",
]

N_CLASSES = 3
N_WORDS = 20
LENGTH = 6


class MLP(nn.Module):
    """Two hidden layers."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, N_CLASSES),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        scores: torch.Tensor = self.layers(x)
        return scores


class Plain(nn.Module):
    """Two convolutions, flattened into a linear layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.hidden = nn.Linear(2 * width * 4, 16)
        self.out = nn.Linear(16, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = F.max_pool2d(torch.relu(self.first(x)), 2)
        x = F.max_pool2d(torch.relu(self.second(x)), 2)
        scores: torch.Tensor = self.out(torch.relu(self.hidden(x.flatten(1))))
        return scores


def _conv(n_in: int, n_out: int, size: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride=stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
    )


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(n_in, n_out, stride=stride)
        self.second = _conv(n_out, n_out)
        is_same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if is_same else _conv(n_in, n_out, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.second(torch.relu(self.first(x)))
        return torch.relu(inside + self.shortcut(x))


class Residual(nn.Module):
    """Like a ResNet: sums tie the channels of many layers together."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = _conv(1, width)
        self.blocks = nn.Sequential(_Block(width, width, 1), _Block(width, 2 * width, 2))
        self.out = nn.Linear(2 * width, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = self.blocks(torch.relu(self.stem(x)))
        scores: torch.Tensor = self.out(x.mean((2, 3)))
        return scores


class Depthwise(nn.Module):
    """Like a MobileNet: wide, one filter a channel, narrow again, with a shortcut; and a grouped layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        wide = 2 * width
        self.stem = _conv(1, width, stride=2)
        self.expand = _conv(width, wide, 1)
        self.depthwise = _conv(wide, wide, groups=wide)
        self.project = _conv(wide, width, 1)
        self.grouped = _conv(width, wide, groups=2)
        self.out = nn.Linear(wide, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = F.relu6(self.stem(x))
        inside = F.relu6(self.depthwise(F.relu6(self.expand(x))))
        x = torch.relu(self.grouped(x + self.project(inside)))
        scores: torch.Tensor = self.out(x.mean((2, 3)))
        return scores


class Dense(nn.Module):
    """Like a DenseNet: each layer sees what all before it made, side by side."""

    def __init__(self, growth: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, growth, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(growth * n), nn.ReLU(), nn.Conv2d(growth * n, growth, 3, padding=1)
            )
            for n in (1, 2)
        )
        self.transition = _conv(3 * growth, 2 * growth, 1)
        self.out = nn.Linear(2 * growth, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        x = F.avg_pool2d(torch.relu(self.transition(x)), 2)
        scores: torch.Tensor = self.out(x.mean((2, 3)))
        return scores


class UNet(nn.Module):
    """Down, up again, with what was there before beside it; scores for every pixel."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.before = _conv(1, width)
        self.inside = _conv(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.after = _conv(2 * width, width)
        self.out = nn.Conv2d(width, N_CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of pixels: (n, classes, 8, 8)."""
        before = torch.relu(self.before(x))
        inside = torch.relu(self.inside(F.max_pool2d(before, 2)))
        both = torch.cat([before, self.up(inside)], 1)
        scores: torch.Tensor = self.out(torch.relu(self.after(both)))
        return scores


class Reader(nn.Module):
    """An LSTM and what it says at the end of a sequence."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, hidden, batch_first=True)
        self.hidden = nn.Linear(hidden, 16)
        self.out = nn.Linear(16, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        read, _ = self.lstm(x)
        scores: torch.Tensor = self.out(torch.relu(self.hidden(read[:, -1])))
        return scores


class Encoder(nn.Module):
    """A transformer encoder: heads, and a width that runs through all layers."""

    def __init__(self, width: int = 16, n_heads: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(N_WORDS, width)
        self.places = nn.Parameter(torch.randn(LENGTH, width) / 4)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, n_heads, 2 * width, dropout=0.0, batch_first=True)
            for _ in range(2)
        )
        self.out = nn.Linear(width, N_CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = self.words(words) + self.places
        for layer in self.layers:
            x = layer(x)
        scores: torch.Tensor = self.out(x.mean(1))
        return scores


class WordBag(nn.Module):
    """The mean of words' vectors, and a hidden layer."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.words = nn.Embedding(N_WORDS, width)
        self.hidden = nn.Linear(width, 16)
        self.out = nn.Linear(16, N_CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores."""
        scores: torch.Tensor = self.out(torch.relu(self.hidden(self.words(words).mean(1))))
        return scores


class TwoInputs(nn.Module):
    """A picture and some numbers, side by side."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.picture = _conv(1, width, stride=2)
        self.numbers = nn.Linear(4, width)
        self.hidden = nn.Linear(2 * width, 16)
        self.out = nn.Linear(16, N_CLASSES)

    def forward(self, picture: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Scores."""
        seen = torch.relu(self.picture(picture)).mean((2, 3))
        both = torch.cat([seen, torch.relu(self.numbers(numbers))], 1)
        scores: torch.Tensor = self.out(torch.relu(self.hidden(both)))
        return scores


@dataclass(frozen=True, kw_only=True)
class Network:
    """One of them.

    Attributes:
        build: makes the module; what its weights are is up to the global generator.
        example: inputs of so many rows, the same each time: a tensor, or a tuple of them.
        n_classes: of its scores.
    """

    build: Callable[[], nn.Module]
    example: Callable[[int], Any]
    n_classes: int = N_CLASSES


def _normal(*shape: int) -> Callable[[int], torch.Tensor]:
    def example(n: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))

    return example


def _words(n: int) -> torch.Tensor:
    return torch.randint(0, N_WORDS, (n, LENGTH), generator=torch.Generator().manual_seed(0))


def _both(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return _PICTURE(n), _normal(4)(n)


_PICTURE = _normal(1, 8, 8)

NETWORKS: Mapping[str, Network] = {
    "mlp": Network(build=MLP, example=_normal(8)),
    "cnn": Network(build=Plain, example=_PICTURE),
    "residual": Network(build=Residual, example=_PICTURE),
    "depthwise": Network(build=Depthwise, example=_PICTURE),
    "dense": Network(build=Dense, example=_PICTURE),
    "unet": Network(build=UNet, example=_PICTURE),
    "lstm": Network(build=Reader, example=_normal(LENGTH, 4)),
    "transformer": Network(build=Encoder, example=_words),
    "embedding": Network(build=WordBag, example=_words),
    "two_inputs": Network(build=TwoInputs, example=_both),
}
