"""Every technique on every kind of network: one table, one battery."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from nbautoml.compress import (
    Bench,
    Distillation,
    LowRank,
    Penalty,
    Piece,
    Pruning,
    Sharing,
    Technique,
    apply_techniques,
)
from nbautoml.compress.layers import example_of
from nbautoml.errors import CompressError
from nbautoml.measure.coding import stored_size
from nbautoml.measure.counting import call, count_nonzero, count_weights
from nbautoml.measure.exported import export_onnx, largest_difference, open_onnx
from nbautoml.testing.small_networks import NETWORKS


@dataclass(frozen=True)
class Row:
    """A technique, what it makes smaller, by what it must at least be divided, and a student, if one is given."""

    technique: Technique
    counts: Callable[[nn.Module], float]
    shrinks: float
    student: Callable[[torch.Size], nn.Module] | None = None

    def applied(self, module: nn.Module, bench: Bench) -> Piece:
        """What the technique makes of a module."""
        answer = call(module, example_of(bench)).shape[1:]
        student = self.student(answer) if self.student is not None else None
        return apply_techniques(module, [self.technique], bench, student=student)


class Flat(nn.Module):
    """A student of another class than all of them, for whatever comes in."""

    def __init__(self, answer: torch.Size) -> None:
        super().__init__()
        self.answer = tuple(answer)
        self.hidden, self.out = nn.LazyLinear(2), nn.Linear(2, answer.numel())
        nn.init.constant_(self.out.weight, 0.1)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor, more: torch.Tensor | None = None) -> torch.Tensor:
        parts = [x] if more is None else [x, more]
        x = torch.cat([part.flatten(1).float() for part in parts], 1)
        return self.out(self.hidden(x)).unflatten(1, self.answer)


def weights(module: nn.Module) -> float:
    return count_weights(module).value


def nonzero(module: nn.Module) -> float:
    return count_nonzero(module).value


def stored(module: nn.Module) -> float:
    return stored_size(module.state_dict()).value


def length(module: nn.Module) -> float:
    return float(sum(w.detach().square().sum() for w in module.parameters() if w.ndim > 1))


ROWS = {
    "channels": Row(Pruning(0.5, epochs=1), weights, 1.3),  # whole heads are dear in one ranking
    "channels by layer, in rounds": Row(
        Pruning(0.5, scope="layer", n_rounds=2, epochs=2, criterion="taylor"), weights, 1.8
    ),
    "weights": Row(Pruning(0.5, granularity="weights", epochs=1), nonzero, 1.1),
    "weights, gradually": Row(
        Pruning(0.5, granularity="weights", schedule="agp", regrow=True, epochs=2), nonzero, 1.1
    ),
    "low rank": Row(LowRank(0.6, epochs=1), weights, 1.0),
    "sharing": Row(Sharing(8, epochs=1), stored, 1.1),
    "half a student, with hints": Row(
        Distillation(student="half", transfer="hints", epochs=1), weights, 1.8
    ),
    "a student of another class": Row(
        Distillation(student="given", epochs=1), weights, 2.0, student=Flat
    ),
    "l1": Row(Penalty("l1", strength=0.5, epochs=1), length, 1.0),
    "l2": Row(Penalty("l2", strength=0.9, epochs=1), length, 1.0),
}
EXPORTED = (
    "channels",
    "low rank",
    "a student of another class",
)  # the others leave the graph as it is


@pytest.fixture(params=list(ROWS))
def row(request) -> Row:
    return ROWS[request.param]


def test_shrinks_what_it_says_and_leaves_the_original_alone(row, network, module, bench_for):
    bench = bench_for(module, network.example(48))
    before = copy.deepcopy(module.state_dict())
    piece = row.applied(module, bench)
    assert row.counts(module) > row.shrinks * row.counts(piece.module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_keeps_the_signature_and_answers_with_finite_numbers(row, network, module, bench_for):
    piece = row.applied(module, bench_for(module, network.example(48)))
    for n_rows in (1, 5):
        output = call(piece.module, network.example(n_rows))
        assert output.shape == call(module, network.example(n_rows)).shape
        assert bool(torch.isfinite(output).all())


def test_is_the_same_each_time(row, network, module, bench_for):
    bench = bench_for(module, network.example(48))
    first, second = (row.applied(module, bench) for _ in range(2))
    assert first.notes == second.notes
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name]), name


@pytest.mark.parametrize("row", [ROWS[name] for name in EXPORTED], ids=EXPORTED)
def test_exports_and_agrees_with_eager(row, network, module, bench_for):
    piece = row.applied(module, bench_for(module, network.example(48)))
    exported = open_onnx(export_onnx(piece.module, network.example(4)))
    assert largest_difference(piece.module, exported, network.example(3)) < 1e-4


@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm", "taylor", "bn_scale", "lamp", "random"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_every_criterion_prunes_channels(criterion, scope, build, bench_for):
    module = build("residual")
    bench = bench_for(module, NETWORKS["residual"].example(48))
    technique = Pruning(0.5, criterion=criterion, scope=scope, epochs=0)
    piece = apply_techniques(module, [technique], bench)
    assert weights(piece.module) < 0.6 * weights(module)


@pytest.mark.parametrize("criterion", ["l1", "l2", "lamp", "random"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_every_criterion_prunes_weights(criterion, scope, build, bench_for):
    module = build("cnn")
    bench = bench_for(module, NETWORKS["cnn"].example(48))
    technique = Pruning(
        0.75, granularity="weights", criterion=criterion, scope=scope, epochs=0, keep=("out",)
    )
    layers = dict(apply_techniques(module, [technique], bench).module.named_modules())
    kept = [layers[name].weight for name in ("first", "second", "hidden")]
    n_left, n = sum(int((w != 0).sum()) for w in kept), sum(w.numel() for w in kept)
    assert n_left == n - round(0.75 * n)
    assert int((layers["out"].weight == 0).sum()) == 0


class Silent(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * x.mean(1, keepdim=True).expand(-1, 3) * 2


@pytest.mark.parametrize(
    "technique",
    [
        Pruning(0.5),
        Pruning(granularity="weights"),
        LowRank(),
        Sharing(),
        Penalty(),
        Distillation(student="half"),
        Distillation(transfer="hints"),
    ],
    ids=lambda technique: f"{type(technique).__name__}",
)
def test_refuses_a_module_in_which_there_is_nothing_to_do(technique, bench_for):
    bench = bench_for(Silent(), torch.randn(48, 8))
    with pytest.raises(CompressError, match="Silent"):
        apply_techniques(Silent(), [technique], bench)
