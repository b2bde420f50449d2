"""Small networks with data that they can be trained on, through the real data layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import one_thread  # noqa: F401  a fixture
from torch import nn

from nbautoml.compress import Bench
from nbautoml.data import open_data, snapshot
from nbautoml.measure.counting import call
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.testing.small_networks import NETWORKS, Network


@pytest.fixture(scope="session")
def home_data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def bench_for(home_data) -> Callable[..., Bench]:
    """A module and inputs -> a bench with targets that fit what the module answers."""

    def make(module: nn.Module, inputs: Any, y: Any = None, **more: Any) -> Bench:
        with torch.no_grad():
            output = call(module.eval(), inputs)
        n = len(output)
        is_classes = output.ndim == 2
        if y is None:
            y = torch.arange(n) % output.shape[1] if is_classes else torch.zeros(output.shape)
        task = "multiclass" if is_classes else "regression"
        data = open_data(snapshot((inputs, y), home_data=home_data, task=task), home_data)
        settings = FitSettings(optimizer="sgd", batch_size=16, epochs=1, lr=0.01)
        return Bench(
            **{
                "data": data,
                "objective": Objective("loss", "minimize"),
                "settings": settings,
                **more,
            }
        )

    return make


def trained(network: Network) -> nn.Module:
    """A network with the same weights each time; those of norms are no longer all alike."""
    torch.manual_seed(0)
    module = network.build()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 1:
                weight.add_(0.1 * torch.randn(weight.shape))
    return module.eval()


@pytest.fixture(params=list(NETWORKS))
def network(request) -> Network:
    return NETWORKS[request.param]


@pytest.fixture
def module(network) -> nn.Module:
    return trained(network)


@pytest.fixture
def build() -> Callable[[str], nn.Module]:
    return lambda name: trained(NETWORKS[name])
