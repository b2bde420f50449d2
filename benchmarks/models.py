"""The models and data that the chapters share."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]


class Mlp(nn.Module):
    """64-64-64-10, for digits."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Cnn(nn.Module):
    """Two convolutions, for MNIST."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 49, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8x8 as rows of 64, from 0 to 1, and their classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 16, torch.tensor(found.target)


def mnist(n: int) -> tuple[Tensor, Tensor] | None:
    """The first ``n`` images of MNIST, from 0 to 1; None where its files are not at hand."""
    from nbautoml.data import load_idx_folder

    folder = Path(os.environ.get("NBAUTOML_MNIST", ROOT / ".." / "shared" / "data" / "mnist"))
    if not folder.is_dir():
        return None
    images, labels = load_idx_folder(folder)
    x = torch.tensor(images[:n], dtype=torch.float32) / 255
    return x, torch.tensor(labels[:n].astype("int64"))
