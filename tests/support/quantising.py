"""Small networks with data that they are right about, so that a drop can be seen."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbautoml.compress import Bench, Piece
from nbautoml.data import open_data, snapshot
from nbautoml.measure import call
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.testing.small_networks import NETWORKS


def network(name: str, *, n: int = 96) -> tuple[nn.Module, Any]:
    """A network in evaluation, whose norms have seen data, and inputs."""
    torch.manual_seed(0)
    module, inputs = NETWORKS[name].build(), NETWORKS[name].example(n)
    with torch.no_grad():
        for _ in range(20):
            call(module.train(), inputs)
    return module.eval(), inputs


def bench_of(module: nn.Module, inputs: Any, *, metric: str = "") -> Bench:
    """Data whose targets are what the module says: classes about evenly, or numbers of pixels."""
    with torch.no_grad():
        output = call(module, inputs)
    task = "multiclass" if output.ndim == 2 else "regression"
    targets = (output - output.mean(0)).argmax(1) if output.ndim == 2 else output
    metric = metric or ("accuracy" if output.ndim == 2 else "rmse")
    home = Path(tempfile.mkdtemp())
    spec = snapshot((inputs, targets), home_data=home, task=task)
    return Bench(
        data=open_data(spec, home),
        objective=Objective(metric, "maximize" if metric == "accuracy" else "minimize"),
        settings=FitSettings(batch_size=16, lr=0.01),
    )


def piece_and_bench(name: str, **more: Any) -> tuple[Piece, Bench, Any]:
    """All that a handler takes, and inputs to compare on."""
    module, inputs = network(name)
    return Piece.of(module), bench_of(module, inputs, **more), inputs
