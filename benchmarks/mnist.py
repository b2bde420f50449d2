"""MNIST's images, copies of them that are moved or distorted a little, and two networks for them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from nbautoml.data import load_idx_folder

__all__ = ["MNIST", "LeNet5", "LeNet300", "Rows", "accuracy", "distorted", "images", "moved"]

HERE = Path(__file__).resolve().parent
MNIST = Path(os.environ.get("NBAUTOML_MNIST", HERE.parent / ".." / "shared" / "data" / "mnist"))
N_VALID = 5000
MOVES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


Rows = tuple[Tensor, Tensor]


def images(n: int | None) -> tuple[Rows, Rows, Rows]:
    """Rows to train on, to choose by, and to report on; the first ``n`` of each."""

    def read(part: str) -> Rows:
        x, y = load_idx_folder(MNIST, part)
        return torch.tensor(x, dtype=torch.float32) / 255, torch.tensor(y.astype("int64"))

    (x, y), test = read("train"), read("test")
    cut = len(x) - N_VALID
    return (x[:cut][:n], y[:cut][:n]), (x[cut:][:n], y[cut:][:n]), (test[0][:n], test[1][:n])


def moved(rows: Rows) -> Rows:
    """The images and copies of them, each moved by `MOVES` (rows, columns); the edge is black."""
    x, y = rows
    wide = nn.functional.pad(x, (1, 1, 1, 1))
    side = x.shape[-1]
    copies = [
        wide[..., 1 - down : 1 - down + side, 1 - right : 1 - right + side] for down, right in MOVES
    ]
    return torch.cat(copies), y.repeat(len(MOVES))


N_COPIES = 4
MOST_DEGREES, MOST_SHARE, MOST_PIXELS = 8.0, 0.08, 1.5  # of turning, of stretch and shear, of moves


def distorted(rows: Rows) -> Rows:
    """The images and copies of them, turned, stretched, sheared and moved by chance, a little each."""
    x, y = rows
    generator = torch.Generator().manual_seed(0)

    def drawn(most: float) -> Tensor:
        return most * (2 * torch.rand(len(x), generator=generator) - 1)

    def copied() -> Tensor:
        turn = drawn(math.radians(MOST_DEGREES))
        wide, high, shear = 1 + drawn(MOST_SHARE), 1 + drawn(MOST_SHARE), drawn(MOST_SHARE)
        right, down = (drawn(2 * MOST_PIXELS / x.shape[-1]) for _ in range(2))
        first = torch.stack([turn.cos() * wide, shear - turn.sin(), right], 1)
        second = torch.stack([turn.sin(), turn.cos() * high, down], 1)
        parts = zip(x.split(5000), torch.stack([first, second], 1).split(5000), strict=True)
        return torch.cat(
            [
                nn.functional.grid_sample(
                    some,
                    nn.functional.affine_grid(how, list(some.shape), align_corners=False),
                    align_corners=False,
                )
                for some, how in parts
            ]
        )

    return torch.cat([x, *(copied() for _ in range(N_COPIES))]), y.repeat(1 + N_COPIES)


class LeNet300(nn.Module):
    """LeNet-300-100: two hidden layers, 266,200 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(),
            nn.Linear(100, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class LeNet5(nn.Module):
    """LeNet-5 as Caffe has it: 430,500 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def accuracy(module: nn.Module, rows: Rows) -> float:
    """In per cent."""
    module.eval()
    with torch.no_grad():
        answers = torch.cat([module(some).argmax(1) for some in rows[0].split(1000)])
    return 100 * float((answers == rows[1]).double().mean())
