"""What a process has loaded once it has trained: a first trial waits for all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nbautoml.spec.fit import FitSettings
from nbautoml.train.optimizers import OPTIMIZER_FACTORIES, build_optimizer, optimizer_call

ROOT = Path(__file__).parents[2]
# torch's compiler and what it computes with, and what torchmetrics brings.
COMPILER = ("torch._dynamo", "sympy")
METRICS = ("torchmetrics", "sklearn", "scipy", "matplotlib", "pandas")
FIT = """
import sys
from pathlib import Path

import numpy as np
from torch import nn

from nbautoml.data import open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train import Silent, dry_run, fit
from nbautoml.train.metrics import COUNTED
from nbautoml.train.optimizers import OPTIMIZER_FACTORIES

home, task = Path(sys.argv[1]), sys.argv[2]
X = np.random.RandomState(0).normal(size=(60, 4)).astype("float32")
y = {"regression": X[:, 0], "multiclass": np.arange(60) % 3,
     "multilabel": (X[:, :3] > 0).astype("float32")}[task]
data = open_data(snapshot((X, y), home_data=home, task=task), home)
build = lambda: nn.Linear(4, 1 if task == "regression" else 3)
for optimizer in OPTIMIZER_FACTORIES:
    settings = FitSettings(epochs=1, batch_size=16, optimizer=optimizer, clip=1.0, schedule="cosine")
    dry_run(build, data, settings, "cpu")
    fit(build, data, settings, objective=Objective("loss", "minimize"), seed=0, device="cpu",
        listener=Silent(), metrics=("mae", "r2") if task == "regression" else COUNTED)
"""


@pytest.mark.parametrize(
    ("task", "heavy"),
    [
        ("multiclass", COMPILER + METRICS),
        ("multilabel", COMPILER + METRICS),
        ("regression", COMPILER),  # its metrics are torchmetrics'
    ],
)
def test_a_fit_loads_no_compiler_and_a_classifier_no_library_of_metrics(tmp_path, task, heavy):
    told = f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FIT + told, str(tmp_path), task],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", OPTIMIZER_FACTORIES)
def test_an_optimiser_without_guards_is_torchs_own(name, mlp):
    settings = FitSettings(optimizer=name, lr=0.05, weight_decay=0.01)
    modules = [mlp(), mlp()]
    modules[1].load_state_dict(modules[0].state_dict())
    theirs, arguments = optimizer_call(settings, "cpu")
    optimizers = [
        build_optimizer(settings, modules[0], torch.device("cpu")),
        getattr(torch.optim, theirs)(modules[1].parameters(), **arguments),
    ]
    X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        for module, optimizer in zip(modules, optimizers, strict=True):
            optimizer.zero_grad()
            module(X).square().sum().backward()
            optimizer.step()
    for one, other in zip(*(module.parameters() for module in modules), strict=True):
        assert torch.equal(one, other)
