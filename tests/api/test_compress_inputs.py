"""`nbautoml.compress` for models of several inputs, and for those that answer with a number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nbautoml
from nbautoml.compress import Pruning, Quantization
from nbautoml.testing.small_networks import TwoInputs

N = 160


@pytest.fixture
def asked(tmp_path):
    return {"home": tmp_path / "home", "executor": "inline", "wait": True}


def fitted(net, inputs, target, loss, steps=80):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        found = loss(net(*inputs), target)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    return net.eval()


def test_a_model_of_two_inputs_is_pruned_quantised_measured_and_comes_back(asked):
    torch.manual_seed(0)
    picture, numbers = torch.randn(N, 1, 8, 8), torch.randn(N, 4)
    y = numbers.argmax(1) % 3
    net = fitted(TwoInputs(width=16), (picture, numbers), y, nn.functional.cross_entropy)
    run = nbautoml.compress(
        net,
        [Pruning(0.5, scope="layer", epochs=2, lr=0.01), Quantization("int8", mode="weights")],
        data=((picture, numbers), y),
        max_drop=1.0,
        **asked,
    )
    assert run.state == "finished", run.message
    small = run.model(1)
    with torch.no_grad():
        right = (small(picture, numbers).argmax(1) == y).float().mean()
    assert right > 0.6
    before, after = run.trial(0), run.trial(1)
    assert after.metrics["weights"] < 0.6 * before.metrics["weights"]
    assert after.metrics["size_bytes"] < before.metrics["size_bytes"]
    assert 0 < after.metrics["latency_ms"] < 1000
    bits = run.layers(1).set_index("name")["bits_after"]
    assert set(bits[["numbers", "hidden", "out"]]) == {8}


def test_a_model_that_answers_with_a_number_is_judged_by_its_error(asked):
    torch.manual_seed(0)
    X = torch.randn(N, 6)
    y = X[:, 0] - 2 * X[:, 1]
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    fitted(net, (X,), y, nn.functional.mse_loss, steps=150)
    run = nbautoml.compress(
        net,
        [Pruning(0.5, scope="layer", epochs=6, lr=0.02)],
        data=(X, y),
        metric="rmse",
        max_drop=0.5,
        **asked,
    )
    assert run.state == "finished", run.message
    (metric, *_) = run.recipe.objectives
    assert (metric.metric, metric.direction) == ("rmse", "minimize")
    small = run.model(1)
    assert small[0].out_features == 16
    with torch.no_grad():
        error = float((small(X) - y).square().mean().sqrt())
    assert error < 0.5 * float(y.std())
    assert run.trial(1).value == pytest.approx(error, rel=0.6)
    limit = run.trial(0).value + 0.5
    assert (run.best.number == 1) is (run.trial(1).value <= limit)
