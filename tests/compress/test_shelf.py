"""One training, several exports: a model in another form begins with what was trained before."""

from __future__ import annotations

import copy

import torch

from nbautoml.compress import Pruning, Quantization, apply_techniques
from nbautoml.compress.shelf import Shelf
from nbautoml.testing.small_networks import NETWORKS, Network
from nbautoml.train import Silent

MLP = NETWORKS["mlp"]


def trained(network: Network) -> torch.nn.Module:
    """A network with the same weights each time."""
    torch.manual_seed(0)
    return network.build().eval()


class Counting(Silent):
    """How many epochs were trained."""

    def __init__(self) -> None:
        self.n = 0

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        self.n += 1
        return False


def numbers(module: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def test_another_form_of_a_model_is_not_trained_again_and_is_the_same_model(bench_for) -> None:
    module, listener, shelf = trained(MLP), Counting(), Shelf()
    bench = bench_for(module, MLP.example(48), listener=listener)
    shaping = Pruning(0.5, epochs=2)
    whole = apply_techniques(module, [shaping], bench, shelf=shelf)
    first = numbers(whole.module)
    small = apply_techniques(module, [shaping, Quantization("int8")], bench, shelf=shelf)
    assert listener.n == 2
    anew = apply_techniques(module, [shaping, Quantization("int8")], bench)
    assert small.onnx == anew.onnx
    assert all(map(torch.equal, first, numbers(small.module)))


def test_what_is_done_to_one_copy_is_not_seen_in_the_next(bench_for) -> None:
    module, shelf = trained(MLP), Shelf()
    bench = bench_for(module, MLP.example(48))
    one = apply_techniques(module, [Pruning(0.5, epochs=0)], bench, shelf=shelf)
    before = numbers(one.module)
    with torch.no_grad():
        for weight in one.module.parameters():
            weight.zero_()
    one.notes.append("spoilt")
    other = apply_techniques(module, [Pruning(0.5, epochs=0)], bench, shelf=shelf)
    assert all(map(torch.equal, before, numbers(other.module)))
    assert "spoilt" not in other.notes


def test_another_seed_is_another_training(bench_for) -> None:
    module, shelf, listener = trained(MLP), Shelf(), Counting()
    for seed in (0, 1, 0):
        bench = bench_for(module, MLP.example(48), listener=listener, seed=seed)
        apply_techniques(module, [Pruning(0.5, epochs=1)], bench, shelf=shelf)
    assert listener.n == 2


def test_a_shelf_keeps_the_newest_pieces_alone(bench_for) -> None:
    module, shelf, listener = trained(MLP), Shelf(n_kept=1), Counting()
    bench = bench_for(copy.deepcopy(module), MLP.example(48), listener=listener)
    for share in (0.5, 0.25, 0.5):
        apply_techniques(module, [Pruning(share, epochs=1)], bench, shelf=shelf)
    assert listener.n == 3
