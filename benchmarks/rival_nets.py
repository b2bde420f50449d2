"""Networks and data of `rivals`: four networks, each trained by nbautoml before anyone makes it smaller.

Rows of three kinds: to train on, to choose by, and to report on alone. The digits are scikit-learn's
(1,797 real images of 8 by 8); a recurrent network and a transformer read them row by row, as eight
steps of eight values. MNIST-1D is made by its package: 40 values a digit, shifted, stretched, noisy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NETS", "Net", "Rows", "parted"]

Rows = tuple[Tensor, Tensor]


class DigitsMLP(nn.Module):
    """Two hidden layers of 256."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SeriesCNN(nn.Module):
    """Three convolutions along a series of 40 values, as the paper of MNIST-1D has them, 64 wide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 64, 5, stride=2, padding=1)
        self.conv2 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.head = nn.Linear(320, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x.unsqueeze(1)))
        x = torch.relu(self.conv3(torch.relu(self.conv2(x))))
        return self.head(x.flatten(1))


class RowsLSTM(nn.Module):
    """An LSTM over the rows of an image, its last state to the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 96, batch_first=True)
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class RowsTransformer(nn.Module):
    """Two encoder layers over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(8, 64)
        self.place = nn.Parameter(0.02 * torch.randn(8, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.enter(x) + self.place).mean(1))


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network, its data, and how long it is trained.

    Attributes:
        build: the class.
        rows: reads all rows.
        epochs: passes of the first training.
        tune_epochs: passes of a fine-tuning, of whoever fine-tunes.
        lr: of both.
    """

    build: type[nn.Module]
    rows: Callable[[], tuple[Any, Any]]
    epochs: int
    tune_epochs: int
    lr: float


def digits() -> tuple[Any, Any]:
    """Images as 64 values between 0 and 1."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32"), y


def digit_rows() -> tuple[Any, Any]:
    """Images as eight steps of eight values."""
    x, y = digits()
    return x.reshape(-1, 8, 8), y


def series() -> tuple[Any, Any]:
    """MNIST-1D, made anew from its seed.

    Raises:
        ImportError: its package is not installed.
    """
    from mnist1d.data import get_dataset_args, make_dataset

    found = make_dataset(get_dataset_args())
    x = [*found["x"], *found["x_test"]]
    return torch.tensor(x, dtype=torch.float32).numpy(), [*found["y"], *found["y_test"]]


NETS: Mapping[str, Net] = {
    "MLP, digits": Net(build=DigitsMLP, rows=digits, epochs=20, tune_epochs=16, lr=0.002),
    "CNN, MNIST-1D": Net(build=SeriesCNN, rows=series, epochs=20, tune_epochs=12, lr=0.002),
    "LSTM, rows of digits": Net(
        build=RowsLSTM, rows=digit_rows, epochs=30, tune_epochs=16, lr=0.004
    ),
    "transformer, rows of digits": Net(
        build=RowsTransformer, rows=digit_rows, epochs=20, tune_epochs=12, lr=0.002
    ),
}


def parted(net: Net, seed: int) -> tuple[Rows, Rows, Rows]:
    """Rows to train on (three fifths), to choose by and to report on, mixed by the seed."""
    x, y = net.rows()
    inputs, targets = torch.as_tensor(x), torch.as_tensor(y).long()
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    first, second = 3 * len(order) // 5, 4 * len(order) // 5
    parts = order[:first], order[first:second], order[second:]
    train, valid, test = ((inputs[part], targets[part]) for part in parts)
    return train, valid, test
