"""Small modules of the usual kinds, for contracts: each takes rows of 64 values (8 x 8 digits).

Their names are all that a capsule needs; nothing here knows nbautoml.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["KINDS", "Convolutions", "Dropouts", "Norms", "Recurrent"]


class Dropouts(nn.Module):
    """Two hidden layers, each with dropout."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(32, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of ten classes."""
        scores: torch.Tensor = self.layers(x)
        return scores


class Convolutions(nn.Module):
    """Two convolutions with pooling and dropout of whole channels."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(dropout),
            nn.Conv2d(6, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.out = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of ten classes."""
        scores: torch.Tensor = self.out(self.layers(x.reshape(-1, 1, 8, 8)))
        return scores


class Norms(nn.Module):
    """Batch norm, whose running statistics the validation uses, and layer norm."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU())
        self.drop = nn.Dropout(dropout)
        self.second = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.SiLU())
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of ten classes."""
        x = self.drop(self.first(x))
        scores: torch.Tensor = self.out(x + self.second(x))
        return scores


class Recurrent(nn.Module):
    """An LSTM that reads a digit row by row."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of ten classes."""
        read, _ = self.lstm(x.reshape(-1, 8, 8))
        scores: torch.Tensor = self.out(self.drop(read[:, -1]))
        return scores


KINDS = {
    "dropout": Dropouts, "convolutions": Convolutions, "norms": Norms, "recurrent": Recurrent,
}  # fmt: skip
