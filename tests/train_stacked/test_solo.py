"""Trials one by one without autograd: what `fit` gives, or a refusal before anybody was told anything."""

from __future__ import annotations

import pytest
import torch
from fits import Ear
from torch import nn

from nbautoml.errors import DivergedError
from nbautoml.train import TrialCancelled
from nbautoml.train.stacked import BrokenStack, CannotStack
from nbautoml.train.stacked.groups import Group
from nbautoml.train.stacked.steps import Steps


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.head(nn.functional.adaptive_avg_pool2d(x + self.second(x), 1).flatten(1))


NETS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 3)),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(36, 3)),
    "residual": Residual,
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_a_fit_without_autograd_is_the_fit(bench, images, name):
    how = {"batch_size": 20, "epochs": 10, "optimizer": "adam", "lr": 0.003}
    trials = [bench.trial(NETS[name], seed=seed, **how) for seed in (0, 1)]
    ways = bench.solo(images)
    alone, found = bench.alone(trials, images), [bench.by_solo(ways, trial) for trial in trials]
    bench.assert_equal(alone, found, rel=1e-3 if name == "batch norm" else 1e-4)
    assert "gradients without autograd" in found[0].result.notes


def test_a_structure_is_tried_out_once(bench, images, monkeypatch):
    opened = []
    init = Group.__init__
    monkeypatch.setattr(Group, "__init__", lambda *a, **k: (opened.append(1), init(*a, **k))[1])
    ways = bench.solo(images)
    for seed in range(3):
        bench.by_solo(ways, bench.trial(NETS["cnn"], seed=seed, batch_size=20, epochs=10))
    assert len(opened) == 1


class Watched(nn.Sequential):
    n_built = 0

    def __init__(self, last):
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.Linear(8, last))
        type(self).n_built += 1


def test_what_is_not_known_is_refused_before_a_word_and_not_built_again(bench, images, monkeypatch):
    opened = []
    monkeypatch.setattr(Group, "__init__", lambda *a, **k: opened.append(1))
    ways, ear = bench.solo(images), Ear()
    Watched.n_built = 0
    trial = bench.trial(lambda: Watched(3), listener=ear, batch_size=20, epochs=10)
    for _ in range(2):
        with pytest.raises(CannotStack):
            bench.by_solo(ways, trial)
    assert Watched.n_built == 1
    assert not opened  # nor was a step made to find out
    assert not ear.steps
    assert not ear.epochs


def test_a_fit_of_a_few_steps_is_not_worth_it(bench, images):
    with pytest.raises(CannotStack, match="few steps"):
        bench.by_solo(bench.solo(images), bench.trial(NETS["mlp"], batch_size=50, epochs=2))


def test_a_large_model_is_left_to_autograd(bench, images):
    def large():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 15_000), nn.Linear(15_000, 3))

    with pytest.raises(CannotStack, match="weights"):
        bench.by_solo(bench.solo(images), bench.trial(large, batch_size=20, epochs=10))


def test_what_ends_a_fit_is_raised(bench, images):
    class Stopped(Ear):
        def on_batch(self):
            raise TrialCancelled

    trial = bench.trial(NETS["mlp"], listener=Stopped(), batch_size=20, epochs=10)
    with pytest.raises(TrialCancelled):
        bench.by_solo(bench.solo(images), trial)
    trial = bench.trial(NETS["mlp"], batch_size=20, epochs=10, lr=1e30)
    with pytest.raises(DivergedError):
        bench.by_solo(bench.solo(images), trial)


def test_a_step_that_raises_says_so_and_is_not_tried_again(bench, images, monkeypatch):
    def broken(self, *_):
        raise RuntimeError("no such kernel")

    ways, trial = bench.solo(images), bench.trial(NETS["mlp"], batch_size=20, epochs=10)
    bench.by_solo(ways, trial)
    monkeypatch.setattr(Steps, "take", broken)
    with pytest.raises(BrokenStack, match="no such kernel"):
        bench.by_solo(ways, trial)
    with pytest.raises(CannotStack):
        bench.by_solo(ways, trial)


def test_what_is_built_is_seen_before_the_first_step(bench, images):
    seen = []
    member = bench.member(0, bench.trial(NETS["mlp"], batch_size=20, epochs=10))
    bench.solo(images).fit(member, "", on_built=lambda: seen.append(len(member.listener.steps)))
    assert seen == [0]
