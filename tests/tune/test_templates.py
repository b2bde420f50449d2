"""The wider module that trials of several sizes share a stack in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fits import one_thread  # noqa: F401  a fixture
from torch import nn

import nbautoml
from nbautoml.events import Task, TrialSpec
from nbautoml.store import Home
from nbautoml.train import setup
from nbautoml.train.precision import Precision
from nbautoml.tune.stacks import _n_weights, _Worker

SIZES = [(64, 8), (8, 64)]  # 4,770 and 1,746 weights; 8,970 for 64 and 64


class Two(nn.Module):
    def __init__(self, first=8, second=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 10)
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def worker(tmp_path):
    """A worker of a run, and its trials."""
    nbautoml.tune(
        Two, data="digits", space={"first": nbautoml.Int(8, 64), "second": nbautoml.Int(8, 64)},
        trials=1, epochs=1, executor="inline", home=tmp_path, name="two",
    )  # fmt: skip
    trials = tuple(
        TrialSpec(number=at, params={"first": first, "second": second}, seed=at)
        for at, (first, second) in enumerate(SIZES)
    )
    context = SimpleNamespace(
        run_folder=next(tmp_path.rglob("recipe.json")).parent, home_data=Home(tmp_path).data_dir,
        device="cpu", n_threads=1, emit=lambda _event: None,
    )  # fmt: skip
    payload = {"width": 2, "measure": False, "n_workers": 1, "best": None}
    return _Worker(Task(handler="", trials=trials, payload=payload), context), trials


@pytest.mark.parametrize(
    ("mixed_from", "dtype"), [(10_000, None), (6_000, None), (1_000, torch.bfloat16)]
)
def test_a_template_has_its_members_precision_however_large_it_is(
    mixed_from, dtype, worker, monkeypatch
):
    def precision_for(amp, device, n_weights):
        is_mixed = n_weights >= mixed_from if amp == "auto" else amp
        return Precision(device_type=device.type, dtype=torch.bfloat16 if is_mixed else None)

    monkeypatch.setattr(setup, "precision_for", precision_for)
    stacks, trials = worker
    groups, alone = stacks._sorted(trials)
    (members,) = groups.values()
    assert (len(members), alone) == (2, [])
    template = stacks._template(members)
    assert _n_weights(template) == 8970
    assert {one.setup.precision.dtype for one in [template, *members]} == {dtype}
