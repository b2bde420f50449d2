"""Random small modules under random settings: stacked as alone, or refused."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nbautoml.spec.fit import OPTIMIZERS, SCHEDULES
from nbautoml.train.stacked import CannotStack

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.LeakyReLU, nn.Softplus, nn.Hardswish)


class Layers(nn.Module):
    def __init__(self, plan, rate):
        super().__init__()
        layers, width = [], 4
        for size, activation, norm, drops in plan:
            layers.append(nn.Linear(width, size, bias=norm != "batch"))
            if norm:
                layers.append(nn.BatchNorm1d(size) if norm == "batch" else nn.LayerNorm(size))
            layers.append(ACTIVATIONS[activation]())
            if drops:
                layers.append(nn.Dropout(rate))
            width = size
        self.layers, self.out = nn.ModuleList(layers), nn.Linear(width, 3)
        self.skip = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        first = x
        for layer in self.layers:
            x = layer(x)
        return self.out(x) + self.skip * first.sum(dim=1, keepdim=True)


layers = st.lists(
    st.tuples(
        st.integers(2, 9),
        st.integers(0, len(ACTIVATIONS) - 1),
        st.sampled_from(["", "batch", "layer"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
trials = st.lists(
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 10**6),
            "rate": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
            "optimizer": st.sampled_from(OPTIMIZERS),
            "lr": st.sampled_from([1e-4, 3e-3]),
            "epochs": st.integers(1, 3),
            "weight_decay": st.sampled_from([0.0, 0.01]),
            "clip": st.sampled_from([None, 0.1]),
            "momentum": st.sampled_from([0.0, 0.5, 0.9]),
            "betas": st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)]),
            "schedule": st.sampled_from([None, *SCHEDULES]),
            "warmup": st.sampled_from([0.0, 0.3]),
            "label_smoothing": st.sampled_from([0.0, 0.2]),
            "class_balance": st.sampled_from([0.0, 0.7]),
        }
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=15, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    plan=layers, several=trials, width=st.integers(1, 4), batch_size=st.sampled_from([16, 19, 96])
)
def test_random_modules_train_alike(bench, blobs, plan, several, width, batch_size):
    made = []
    for item in several:
        given_settings = {key: item[key] for key in item.keys() - {"seed", "rate"}}
        made.append(
            bench.trial(
                lambda rate=item["rate"]: Layers(plan, rate),
                seed=item["seed"],
                batch_size=batch_size,
                **given_settings,
            )
        )
    try:
        alone, stacked = bench.both(made, blobs, width)
    except CannotStack as refusal:
        raise AssertionError(refusal.reason) from refusal
    bench.assert_equal(alone, stacked)


class Pictures(nn.Module):
    """Convolutions, each with or without a norm, a pooling and dropout of whole channels."""

    def __init__(self, plan, rate):
        super().__init__()
        layers, width, size = [], 1, 8
        for channels, activation, norm, pools in plan:
            layers.append(nn.Conv2d(width, channels, 3, padding=1, bias=norm != "batch"))
            if norm:
                layers.append(
                    nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)
                )
            layers.append(ACTIVATIONS[activation]())
            if pools and size > 2:
                layers.append(nn.AvgPool2d(2))
                size //= 2
            width = channels
        self.layers, self.drop = nn.Sequential(*layers), nn.Dropout2d(rate)
        self.out = nn.Linear(width * size * size, 3)

    def forward(self, x):
        return self.out(self.drop(self.layers(x)).flatten(1))


class Words(nn.Module):
    """An embedding, read by a recurrent layer or averaged."""

    def __init__(self, size, recurrent, rate):
        super().__init__()
        self.embedding = nn.Embedding(12, size)
        self.read = recurrent(size, size, batch_first=True) if recurrent else None
        self.drop, self.out = nn.Dropout(rate), nn.Linear(size, 3)

    def forward(self, x):
        x = self.embedding(x)
        x = x.mean(1) if self.read is None else self.read(x)[0][:, -1]
        return self.out(self.drop(x))


convolutions = st.lists(
    st.tuples(
        st.integers(2, 5),
        st.integers(0, len(ACTIVATIONS) - 1),
        st.sampled_from(["", "batch", "group"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=2,
)
steady = settings(
    max_examples=6, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def assert_trained_alike(bench, data, several, width, build):
    made = [
        bench.trial(
            lambda rate=item["rate"]: build(rate),
            seed=item["seed"],
            **{key: item[key] for key in item.keys() - {"seed", "rate"}},
        )
        for item in several
    ]
    bench.assert_equal(*bench.both(made, data, width))


@steady
@given(plan=convolutions, several=trials, width=st.integers(1, 4))
def test_random_convolutions_train_alike(bench, images, plan, several, width):
    assert_trained_alike(bench, images, several, width, lambda rate: Pictures(plan, rate))


@steady
@given(
    size=st.integers(2, 6),
    recurrent=st.sampled_from([None, nn.LSTM, nn.GRU, nn.RNN]),
    several=trials,
    width=st.integers(1, 4),
)
def test_random_readers_of_words_train_alike(bench, sequences, size, recurrent, several, width):
    assert_trained_alike(
        bench, sequences, several, width, lambda rate: Words(size, recurrent, rate)
    )
