"""The trainer against a loop that is written by hand, as torch's documentation does it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nbautoml.train.layout import NOTE

BATCH, EPOCHS, SEED = 10, 5, 11

OPTIMIZERS = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.8),
    "nesterov": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.8, nesterov=True),
    "adam": lambda weights: torch.optim.Adam(weights, lr=0.1, betas=(0.8, 0.99)),
    "adamw": lambda weights: torch.optim.AdamW(
        weights, lr=0.1, betas=(0.8, 0.99), weight_decay=0.0
    ),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, lr=0.1, momentum=0.8),
    "adagrad": lambda weights: torch.optim.Adagrad(weights, lr=0.1),
}
SETTINGS = {"lr": 0.1, "momentum": 0.8, "betas": (0.8, 0.99), "batch_size": BATCH, "epochs": EPOCHS}


def by_hand(build, data, optimizer_of, *, loss=F.cross_entropy, clip=None, scheduler_of=None):
    """50 steps: 96 rows make 10 batches of 10 (the last of 6), 5 times over."""
    X, y = data.train.all()
    torch.manual_seed(SEED)
    model = build()
    optimizer = optimizer_of(model.parameters())
    scheduler = scheduler_of(optimizer) if scheduler_of else None
    step = 0
    for epoch in range(1, EPOCHS + 1):
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + 2 * epoch)
        order = torch.randperm(len(y), generator=generator)
        model.train()
        for start in range(0, len(y), BATCH):
            step += 1
            torch.manual_seed(SEED * 1_000_003 + 2 * step + 1)
            rows = order[start : start + BATCH]
            optimizer.zero_grad()
            loss(model(X[rows]), y[rows]).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    assert step == 50
    return model


def assert_same_weights(result, model, *, at_most=1e-6):
    assert result.n_steps == 50
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(result.state_dict[name], weight, rtol=0, atol=at_most)


@pytest.fixture
def last_epoch_wins(run_fit):
    """A fit whose kept weights are those of the last epoch, by an objective that only grows."""

    class Growing(nn.Module):
        n = 0.0

        def forward(self, output, target):
            if torch.is_grad_enabled():
                return F.cross_entropy(output, target)
            Growing.n -= 1.0
            return output.sum() * 0 + Growing.n

    def run(build, data, **settings):
        return run_fit(build, data, seed=SEED, loss=Growing(), **{**SETTINGS, **settings})

    return run


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_give_the_weights_of_a_loop_by_hand(name, blobs, mlp, last_epoch_wins):
    result = last_epoch_wins(mlp, blobs, optimizer=name)
    assert_same_weights(result, by_hand(mlp, blobs, OPTIMIZERS[name]))


@pytest.mark.parametrize(
    ("name", "usual"), [("rmsprop", torch.optim.RMSprop), ("momentum", partial(torch.optim.SGD, momentum=0.9))]
)  # fmt: skip
def test_momentum_that_is_not_given_is_the_usual_one(name, usual, blobs, mlp, last_epoch_wins):
    result = last_epoch_wins(mlp, blobs, optimizer=name, lr=0.01, momentum=None)
    assert_same_weights(result, by_hand(mlp, blobs, lambda weights: usual(weights, lr=0.01)))


def test_dropout_draws_from_the_seed_of_the_step(blobs, mlp, last_epoch_wins):
    def build():
        return mlp(dropout=0.4)

    result = last_epoch_wins(build, blobs, optimizer="sgd")
    assert_same_weights(result, by_hand(build, blobs, OPTIMIZERS["sgd"]))


def test_weight_decay_is_coupled_in_adam_and_not_in_adamw(blobs, mlp, last_epoch_wins):
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        result = last_epoch_wins(mlp, blobs, optimizer=name, lr=0.01, weight_decay=0.1)
        model = by_hand(
            mlp,
            blobs,
            lambda weights, kind=kind: kind(weights, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1),
        )
        assert_same_weights(result, model)


def test_gradients_are_clipped_by_norm(blobs, mlp, last_epoch_wins):
    result = last_epoch_wins(mlp, blobs, optimizer="sgd", clip=0.05)
    assert_same_weights(result, by_hand(mlp, blobs, OPTIMIZERS["sgd"], clip=0.05))


def test_labels_are_smoothed_in_training(blobs, mlp, run_fit):
    result = run_fit(
        mlp, blobs, seed=SEED, optimizer="sgd", label_smoothing=0.2, **{**SETTINGS, "lr": 0.01}
    )
    model = by_hand(
        mlp,
        blobs,
        lambda weights: torch.optim.SGD(weights, lr=0.01),
        loss=lambda output, target: F.cross_entropy(output, target, label_smoothing=0.2),
    )
    assert result.best_epoch == EPOCHS
    assert_same_weights(result, model)


def test_validation_loss_is_not_smoothed(blobs, mlp, run_fit):
    kwargs = {"seed": SEED, "optimizer": "sgd", "lr": 1e-9, "epochs": 1}
    plain = run_fit(mlp, blobs, **kwargs)
    smoothed = run_fit(mlp, blobs, label_smoothing=0.3, **kwargs)
    assert smoothed.metrics["loss"] == pytest.approx(plain.metrics["loss"], abs=1e-6)
    assert smoothed.metrics["train_loss"] != pytest.approx(plain.metrics["train_loss"], abs=1e-4)


def test_a_schedule_is_followed_step_by_step(blobs, mlp, last_epoch_wins):
    result = last_epoch_wins(mlp, blobs, optimizer="momentum", schedule="cosine")
    model = by_hand(
        mlp,
        blobs,
        OPTIMIZERS["momentum"],
        scheduler_of=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50),
    )
    assert_same_weights(result, model)


class Images(nn.Module):
    """A convolution whose activations are flattened in a way that any layout bears."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 10)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


class Viewed(Images):
    def forward(self, x):
        x = self.conv(x).relu()
        return self.fc(x.view(len(x), -1))


@pytest.fixture
def images(digits, open_value):
    X, y = digits.train.all()
    return open_value(
        (X[:96].reshape(-1, 1, 8, 8), y[:96], X[96:150].reshape(-1, 1, 8, 8), y[96:150])
    )


def test_channels_last_changes_no_weights_beyond_rounding(images, last_epoch_wins):
    result = last_epoch_wins(Images, images, optimizer="sgd", lr=0.01)
    assert NOTE in result.notes
    model = by_hand(Images, images, lambda weights: torch.optim.SGD(weights, lr=0.01))
    assert_same_weights(result, model, at_most=1e-5)


def test_kept_weights_are_contiguous_whatever_the_layout(images, run_fit):
    result = run_fit(Images, images)
    assert result.state_dict["conv.weight"].is_contiguous()


def test_a_module_that_views_activations_is_left_in_its_own_layout(images, run_fit):
    result = run_fit(Viewed, images, optimizer="sgd")
    assert NOTE not in result.notes
