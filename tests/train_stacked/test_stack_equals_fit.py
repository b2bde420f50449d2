"""A trial gets the same numbers in a stack as on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.spec.fit import OPTIMIZERS


class Mlp(nn.Module):
    def __init__(self, n_in=4, hidden=16, dropout=0.0, n_out=3):
        super().__init__()
        self.fc = nn.Linear(n_in, hidden)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, n_out)

    def forward(self, x):
        return self.out(self.drop(F.relu(self.fc(x.flatten(1)))))


def twelve(bench):
    """All optimisers, and every other setting that may differ within a stack."""
    return [
        bench.trial(
            lambda at=at: Mlp(64, 32, dropout=(0.0, 0.2, 0.5)[at % 3], n_out=10),
            seed=100 + at,
            optimizer=OPTIMIZERS[at % len(OPTIMIZERS)],
            lr=(3e-3, 1e-3)[at % 2],
            batch_size=64,
            epochs=2 + at % 2,
            momentum=(0.9, 0.5)[at % 2],
            betas=((0.9, 0.999), (0.8, 0.99))[at % 2],
            weight_decay=(0.0, 1e-3, 1e-2)[at % 3],
            clip=(None, 0.5)[at % 2],
            schedule=(None, "cosine", "linear", "step", "onecycle")[at % 5],
            warmup=(0.0, 0.2)[at % 2],
            label_smoothing=(0.0, 0.1)[at % 2],
            class_balance=(0.0, 0.5, 1.0)[at % 3],
        )
        for at in range(12)
    ]


@pytest.mark.parametrize("width", [3, 12])
def test_twelve_trials_agree_with_the_one_by_one_trainer(width, bench, digits):
    alone, stacked = bench.both(twelve(bench), digits, width, metric="accuracy")
    bench.assert_equal(alone, stacked)


def test_weights_of_the_best_epoch_are_the_same(bench, blobs):
    trials = [
        bench.trial(lambda: Mlp(dropout=0.3), seed=at, optimizer=name, epochs=3)
        for at, name in enumerate(OPTIMIZERS)
    ]
    alone, stacked = bench.both(trials, blobs, 7)
    bench.assert_same_weights(alone, stacked, 1e-5)


class Convolutional(nn.Module):
    def __init__(self, norm="none"):
        super().__init__()
        # A bias before a norm has no gradient but rounding, which Adam would make steps of.
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=norm == "none")
        norms = {
            "none": nn.Identity,
            "batch": lambda: nn.BatchNorm2d(4),
            "batch without statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
            "group": lambda: nn.GroupNorm(2, 4),
            "instance": lambda: nn.InstanceNorm2d(4, affine=True),
        }
        self.norm = norms[norm]()
        self.second = nn.Conv2d(4, 4, 3, groups=2, stride=2, bias=False)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = F.adaptive_avg_pool2d(F.pad(self.second(x), (1, 1, 1, 1)), 2)
        return self.fc(x.view(len(x), -1) if x.is_contiguous() else x.flatten(1))


NORMS = ["none", "batch", "batch without statistics", "group", "instance"]


@pytest.mark.parametrize("norm", NORMS)
def test_convolutions_and_their_norms(norm, bench, images):
    trials = [
        bench.trial(lambda: Convolutional(norm), seed=at, lr=0.01 / (at + 1)) for at in range(3)
    ]
    alone, stacked = bench.both(trials, images, 3)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


def sequential(*layers):
    return lambda: nn.Sequential(*(layer() for layer in layers))


VECTORS = {
    "batch norm": sequential(lambda: nn.Linear(4, 8, bias=False), lambda: nn.BatchNorm1d(8), nn.GELU, lambda: nn.Linear(8, 3)),
    "layer norm": sequential(lambda: nn.LayerNorm(4), lambda: nn.Linear(4, 8), nn.SiLU, lambda: nn.LayerNorm(8), lambda: nn.Linear(8, 3)),
    "activation with weights": sequential(lambda: nn.Linear(4, 8), lambda: nn.PReLU(8), lambda: nn.Linear(8, 3)),
    "relu in place": sequential(lambda: nn.Linear(4, 8), lambda: nn.ReLU(inplace=True), lambda: nn.Linear(8, 3, bias=False)),
    "bilinear": lambda: Bilinear(),
    "weights of its own": lambda: Scaled(),
    "tied weights": lambda: Tied(),
    "residual": lambda: Residual(),
    "frozen layer": lambda: Frozen(),
    "layer nobody uses": lambda: Idle(),
    "softmax": sequential(lambda: nn.Linear(4, 8), lambda: nn.Softmax(dim=1), lambda: nn.Linear(8, 3)),
    "lazy": sequential(lambda: nn.LazyLinear(8), nn.ELU, lambda: nn.LazyLinear(3)),
    "spectral norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
}  # fmt: skip


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Bilinear(4, 4, 3)

    def forward(self, x):
        return self.fc(x, x)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))
        self.register_buffer("shift", torch.randn(3))

    def forward(self, x):
        ones = torch.zeros(len(x), 3)
        ones += 1.0
        return torch.cat([self.fc(x) * self.scale + self.shift * ones], dim=0)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.out(self.two(self.one(x).tanh()))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.sigmoid(layer(x))
        return self.out(x)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.first(x).relu())


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused, self.out = nn.Linear(4, 8), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(x)


class Averaging(nn.Module):
    """Keeps a running mean in a buffer, and a part that learns nothing."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.fc, self.teacher = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.mean(dim=0).detach())
            self.mean[0] = 0.0
        with torch.no_grad():
            hint = self.teacher(x)
        return self.fc(x - self.mean) + hint


class WritesIntoInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x += 1.0
        return self.fc(x)


VECTORS["running mean"], VECTORS["writes into its input"] = Averaging, WritesIntoInput


@pytest.mark.parametrize("name", VECTORS)
def test_layers_on_vectors(name, bench, blobs):
    trials = [
        bench.trial(VECTORS[name], seed=at, optimizer="adamw", weight_decay=0.1, batch_size=20)
        for at in range(3)
    ]
    alone, stacked = bench.both(trials, blobs, 3)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


class Words(nn.Module):
    def __init__(self, kind="mean"):
        super().__init__()
        self.words = nn.Embedding(12, 8, padding_idx=0)
        self.body = {
            "mean": nn.Identity,
            "lstm": lambda: nn.LSTM(8, 8, num_layers=2, batch_first=True),
            "gru": lambda: nn.GRU(8, 4, batch_first=True, bidirectional=True),
            "rnn": lambda: nn.RNN(8, 8, batch_first=True),
            "attention": lambda: nn.MultiheadAttention(8, 2, batch_first=True),
            "transformer": lambda: nn.TransformerEncoderLayer(
                8, 2, 16, dropout=0.0, batch_first=True
            ),
            "convolution": lambda: nn.Conv1d(6, 6, 3, padding=1),
        }[kind]()
        self.kind = kind
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.words(x)
        if self.kind == "attention":
            x, _ = self.body(x, x, x, need_weights=False)
        elif self.kind in {"lstm", "gru", "rnn"}:
            x, _ = self.body(x)
        else:
            x = self.body(x)
        return self.out(x.mean(dim=1))


KINDS = ["mean", "lstm", "gru", "rnn", "attention", "transformer", "convolution"]


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_recurrent_layers_and_attention(kind, bench, sequences):
    # Not Adam: some biases of attention have no gradient but rounding.
    trials = [
        bench.trial(lambda: Words(kind), seed=at, optimizer="momentum", lr=0.05) for at in range(3)
    ]
    alone, stacked = bench.both(trials, sequences, 3)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


class Noisy(nn.Module):
    """Random in the middle of other functions, and in the order of its calls."""

    def __init__(self, kind="noise"):
        super().__init__()
        self.words, self.drop = nn.Embedding(12, 8), nn.Dropout(0.2)
        self.kind = kind
        self.body = {
            "noise": nn.Identity,
            "alpha dropout": lambda: nn.AlphaDropout(0.3),
            "dropout in place": lambda: nn.Dropout(0.3, inplace=True),
            "attention": lambda: nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True),
            "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            "lstm": lambda: nn.LSTM(8, 8, num_layers=2, dropout=0.3, batch_first=True),
        }[kind]()
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.drop(self.words(x))
        if self.kind == "attention":
            x, _ = self.body(x, x, x)
        elif self.kind == "lstm":
            x, _ = self.body(x)
        elif self.kind == "noise":
            if self.training:
                x = x + 0.1 * torch.randn_like(x) * torch.rand(len(x), 1, 1)
        else:
            x = self.body(x)
        return self.out(self.drop(x.mean(dim=1)))


RANDOM = ["noise", "alpha dropout", "dropout in place", "attention", "transformer", "lstm"]


@pytest.mark.parametrize("kind", RANDOM)
def test_random_numbers_in_any_function(kind, bench, sequences):
    trials = [
        bench.trial(lambda: Noisy(kind), seed=at, optimizer="momentum", lr=0.05) for at in range(3)
    ]
    alone, stacked = bench.both(trials, sequences, 3)
    bench.assert_equal(alone, stacked)
    bench.assert_same_weights(alone, stacked)


def test_dropout_of_channels_and_of_a_function(bench, images):
    class Dropping(nn.Module):
        def __init__(self, rate):
            super().__init__()
            self.conv, self.rate = nn.Conv2d(1, 4, 3), rate
            self.drop, self.fc = nn.Dropout2d(rate), nn.Linear(144, 3)

        def forward(self, x):
            x = F.dropout(F.relu(self.conv(x)), self.rate, self.training)
            return self.fc(self.drop(x).flatten(1))

    trials = [bench.trial(lambda at=at: Dropping(0.2 * at), seed=at) for at in range(3)]
    bench.assert_equal(*bench.both(trials, images, 3))


def test_a_last_batch_of_one_row_is_left_out_under_batch_norm(bench, blobs):
    build = VECTORS["batch norm"]
    trials = [bench.trial(build, seed=at, batch_size=19) for at in range(2)]
    bench.assert_equal(*bench.both(trials, blobs, 2))


def test_batches_larger_than_the_data(bench, blobs):
    trials = [bench.trial(Mlp, seed=at, batch_size=500) for at in range(2)]
    bench.assert_equal(*bench.both(trials, blobs, 2))


def test_streamed_data_is_stacked_too(bench, open_value):
    random = np.random.RandomState(0)
    X = random.normal(size=(100, 4)).astype("float32")
    data = open_value((X, (X[:, 0] > 0).astype(int)), limit=0)
    assert not data.train.on_device
    trials = [bench.trial(lambda: Mlp(n_out=1), seed=at) for at in range(2)]
    bench.assert_equal(*bench.both(trials, data, 2))


@pytest.mark.parametrize(
    ("task", "n_out", "loss", "metric"),
    [
        ("binary", 1, None, "auroc"),
        ("binary", 2, "cross_entropy", "f1"),
        ("multilabel", 3, None, "auroc"),
        ("regression", 1, None, "r2"),
        ("regression", 1, "huber", "rmse"),
        ("regression", 1, "mae", "mae"),
        ("two values", 2, None, "r2"),
    ],
)
def test_tasks_and_their_losses(task, n_out, loss, metric, bench, open_value):
    random = np.random.RandomState(1)
    X = random.normal(size=(100, 4)).astype("float32")
    target = {
        "binary": (X[:, 0] > 0).astype(int),
        "multilabel": (X[:, :3] > 0.3).astype(int),
        "regression": X @ np.array([1, -2, 0.5, 0], "float32") + 3,
        "two values": X[:, :2] * 2 + 1,
    }[task]
    data = open_value((X, target), task=None if task == "two values" else task)
    smoothing = (0.0, 0.1) if task == "binary" else (0.0, 0.0)
    trials = [
        bench.trial(lambda: Mlp(n_out=n_out), seed=at, loss=loss, label_smoothing=smoothing[at])
        for at in range(2)
    ]
    bench.assert_equal(*bench.both(trials, data, 2, metric=metric))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5])), None])
def test_log_probabilities_and_a_loss_of_the_users_own(loss, bench, blobs):
    class Logs(Mlp):
        def forward(self, x):
            return F.log_softmax(super().forward(x), dim=1)

    name = "nll" if loss is None else None
    smoothing = 0.1 if loss is None else 0.0
    trials = [
        bench.trial(Logs, seed=at, loss=name, label_smoothing=smoothing * at) for at in range(2)
    ]
    bench.assert_equal(*bench.both(trials, blobs, 2, loss=loss))


@pytest.mark.parametrize("layout", ["tuple", "dict"])
def test_modules_with_several_inputs(layout, bench, open_value):
    random = np.random.RandomState(0)
    parts = {name: random.normal(size=(80, 4)).astype("float32") for name in ("first", "second")}
    y = (parts["first"][:, 0] > parts["second"][:, 0]).astype(int)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 1)

        def forward(self, first, second):
            return self.fc(first) - self.fc(second) ** 2

    data = open_value((parts if layout == "dict" else tuple(parts.values()), y))
    bench.assert_equal(*bench.both([bench.trial(Two, seed=at) for at in range(2)], data, 2))


def test_mixed_precision_on_request(bench, blobs):
    trials = [bench.trial(Mlp, seed=at, amp=True, epochs=1) for at in range(2)]
    bench.assert_equal(*bench.both(trials, blobs, 2), rel=2e-2)
