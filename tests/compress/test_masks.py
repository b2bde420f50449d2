"""Which single weights go: counts are exact, schedules are the papers', held zeros stay zeros."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbautoml.compress import Penalty, Pruning, Sharing, apply_techniques
from nbautoml.compress.holding import hold_masks, prunable, settle
from nbautoml.compress.masks import (
    agp_sparsity,
    keep_n_of_m,
    masks_of,
    parse_n_of_m,
    sparsity_of,
    weight_scores,
)
from nbautoml.compress.sparse import Sieve, prune_gradually, prune_once
from nbautoml.errors import RecipeError
from nbautoml.testing.small_networks import NETWORKS
from nbautoml.train import Silent


def some(*shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {str(at): torch.randn(shape) for at, shape in enumerate(shapes)}


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.953])
@pytest.mark.parametrize("criterion", ["l1", "lamp", "random"])
def test_global_masks_drop_exactly_the_share(sparsity, criterion):
    weights = some((20, 30), (7, 3, 3, 3), (11,))
    masks = masks_of(weight_scores(weights, criterion), sparsity)
    n = sum(weight.numel() for weight in weights.values())
    assert sum(int((mask == 0).sum()) for mask in masks.values()) == round(sparsity * n)


def test_layer_masks_drop_the_share_of_each_and_keep_the_largest():
    weights = some((20, 30), (50,))
    masks = masks_of(weight_scores(weights, "l2"), 0.9, scope="layer")
    for name, n_kept in (("0", 60), ("1", 5)):
        assert int(masks[name].sum()) == n_kept
        kept = weights[name][masks[name] == 1].abs().min()
        assert kept >= weights[name][masks[name] == 0].abs().max()


def test_a_layer_of_tiny_weights_is_not_emptied():
    masks = masks_of({"large": torch.rand(100) + 1, "tiny": torch.rand(10) / 1000}, 0.5)
    assert int(masks["tiny"].sum()) == 1
    assert sparsity_of(masks) == pytest.approx(0.5)


def test_shares_of_layers_go_before_the_common_one():
    weights = some((10, 10), (10, 10), (10, 10))
    masks = masks_of(weight_scores(weights, "l2"), 0.5, shares={"1": 0.2})
    assert int(masks["1"].sum()) == 80
    assert int(masks["0"].sum() + masks["2"].sum()) == 100


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_n_of_m_keeps_the_n_largest_of_each_group(n, m):
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    groups, mask = weight.abs().reshape(-1, m), keep_n_of_m(weight, n, m).reshape(-1, m)
    assert bool((mask.sum(1) == n).all())
    kept = (groups * mask).sort(1).values[:, -n:]
    torch.testing.assert_close(kept, groups.sort(1).values[:, -n:])


def test_n_of_m_takes_kernels_and_rests():
    mask = keep_n_of_m(torch.randn(3, 2, 3, 3), 2, 4)
    assert mask.shape == (3, 2, 3, 3)
    assert int(mask.sum(dim=(1, 2, 3)).max()) <= 10  # 4 groups of four keep 8, the rest of two 2


@pytest.mark.parametrize("text", ["", "4:2", "2:2", "0:4", "a:b", "2"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(RecipeError, match="pattern"):
        parse_n_of_m(text)


def test_agp_is_the_papers_cubic():
    values = [agp_sparsity(step, 10, 0.9, initial=0.3) for step in range(12)]
    assert values[0] == pytest.approx(0.3)
    assert values[5] == pytest.approx(0.9 + (0.3 - 0.9) * (1 - 5 / 10) ** 3)
    assert values[10] == values[11] == pytest.approx(0.9)
    assert values == sorted(values)


def test_without_regrowth_dropped_weights_get_no_gradient_and_with_it_they_do():
    for is_regrowing in (False, True):
        layer = nn.Linear(4, 2)
        mask = torch.ones(2, 4).index_fill_(1, torch.tensor([0]), 0.0)
        hold_masks(layer, {"": mask}, is_regrowing=is_regrowing)
        layer(torch.ones(3, 4)).sum().backward()
        grad = layer.parametrizations["weight"].original.grad
        assert bool((grad[:, 0] != 0).all()) is is_regrowing
        assert bool((settle(layer).weight[:, 0] == 0).all())


@pytest.mark.parametrize("is_regrowing", [False, True])
def test_a_held_convolution_of_grey_images_passes_its_layout_on(is_regrowing):
    layer = nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)
    hold_masks(layer, {"": torch.ones(4, 1, 3, 3)}, is_regrowing=is_regrowing)
    output = layer(torch.rand(2, 1, 8, 8))
    assert output.is_contiguous(memory_format=torch.channels_last)
    output.sum().backward()
    assert layer.parametrizations["weight"].original.grad is not None


class Counting(Silent):
    """Zeros of a module, batch by batch."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.n_zero = module, []

    def on_batch(self) -> None:
        self.n_zero.append(sum(int((w.value == 0).sum()) for w in prunable(self.module)))


@pytest.mark.parametrize("schedule", ["agp", "linear"])
@pytest.mark.parametrize("first", [0.0, 0.5, 0.9])
def test_what_was_pruned_before_is_pruned_further_and_is_never_dense_again(
    schedule, first, build, bench_for
):
    module = build("mlp")
    listener = Counting(module)
    bench = bench_for(module, NETWORKS["mlp"].example(320), listener=listener)
    n = sum(weight.value.numel() for weight in prunable(module))
    prune_once(module, Sieve(sparsity=first))
    prune_gradually(
        module, bench, Sieve(sparsity=0.9), ramp_epochs=4, epochs=1, schedule=schedule, lr=0.1
    )
    assert listener.n_zero == sorted(listener.n_zero)
    assert listener.n_zero[0] == round(first * n)
    assert listener.n_zero[-1] == round(0.9 * n)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.out = nn.Linear(8, 20, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words):
        return self.out(self.words(words).mean(1))


@pytest.mark.parametrize("schedule", ["once", "agp", "linear"])
def test_tied_weights_are_pruned_once_and_stay_tied(schedule, bench_for):
    words = torch.arange(48 * 6).reshape(48, 6) % 20
    technique = Pruning(
        0.6, granularity="weights", schedule=schedule, epochs=2, regrow=schedule != "once"
    )
    piece = apply_techniques(Tied(), [technique], bench_for(Tied(), words))
    assert piece.module.out.weight is piece.module.words.weight
    assert int((piece.module.out.weight != 0).sum()) == 64


def test_two_of_four_holds_after_fine_tuning(build, bench_for):
    bench = bench_for(build("cnn"), NETWORKS["cnn"].example(48))
    technique = Pruning(granularity="weights", pattern="2:4", epochs=1)
    piece = apply_techniques(build("cnn"), [technique], bench)
    groups = piece.module.hidden.weight.reshape(-1, 4)
    assert bool(((groups != 0).sum(1) == 2).all())
    assert not torch.equal(piece.module.hidden.weight, build("cnn").hidden.weight)


class Matrices(nn.Module):
    """A layer with several matrices, and one that reads it."""

    def __init__(self, kind):
        super().__init__()
        is_attention = kind is nn.MultiheadAttention
        self.inside = kind(8, 2 if is_attention else 6, batch_first=True)
        self.out = nn.Linear(8 if is_attention else 6, 3)

    def forward(self, x):
        inputs = [x, x, x] if isinstance(self.inside, nn.MultiheadAttention) else [x]
        return self.out(self.inside(*inputs)[0].mean(1))


class Doubled(nn.Module):
    """Two matrices of its own."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.both = nn.Parameter(torch.ones(2, n_in, n_out))

    def forward(self, x):
        return x @ self.both.sum(0)


@pytest.mark.parametrize(
    ("said", "told", "hint"),
    [
        ({"pattern": "2:4", "schedule": "agp"}, "pattern '2:4' has no schedule", "leave one"),
        ({"schedule": "linear", "epochs": 0}, "epochs is 0", 'schedule="once"'),
        ({"regrow": True}, "schedule is 'once'", 'schedule="agp"'),
        ({"n_rounds": 2}, "n_rounds 2 is for channels", 'schedule="agp"'),
        ({"granularity": "channels", "schedule": "agp"}, "for single weights", "n_rounds"),
        ({"granularity": "channels", "pattern": "2:4"}, "for single weights", "granularity"),
    ],
)
def test_a_setting_that_would_do_nothing_beside_another_is_refused(said, told, hint):
    with pytest.raises(RecipeError, match=told) as raised:
        Pruning(**{"granularity": "weights", **said})
    assert hint in raised.value.hint


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention])
@pytest.mark.parametrize("schedule", ["once", "agp"])
def test_recurrent_and_attention_weights_are_pruned_and_stay_zero(kind, schedule, bench_for):
    module = Matrices(kind)
    technique = Pruning(
        0.8, granularity="weights", schedule=schedule, scope="layer", epochs=2, lr=0.1
    )
    piece = apply_techniques(module, [technique], bench_for(module, torch.randn(48, 5, 8)))
    weights = {weight.name: weight for weight in prunable(piece.module)}
    assert any(name.startswith("inside.") for name in weights)
    for name, weight in weights.items():
        n = weight.value.numel()
        assert int((weight.value != 0).sum()) == n - round(0.8 * n), name
        before = module.get_parameter(
            name if weight.attribute != "weight" else f"{name}.{weight.attribute}"
        )
        assert not torch.equal(weight.value, before * (weight.value != 0)), name
    assert not any("are not pruned" in note for note in piece.notes)


def test_two_directions_layers_and_projections_of_a_recurrent_layer_are_all_taken():
    layer = nn.LSTM(4, 6, num_layers=2, bidirectional=True, proj_size=3)
    assert len(list(prunable(layer))) == 12
    plain = {name for name, weight in layer.named_parameters() if weight.ndim > 1}
    assert {weight.name for weight in prunable(layer)} == plain


def test_a_layer_whose_weights_are_not_taken_is_named(bench_for):
    module = nn.Sequential(nn.Linear(8, 4), Doubled(4, 3))
    bench = bench_for(module, torch.randn(48, 8))
    for technique, note in (
        (Pruning(0.5, granularity="weights", epochs=0), "pruned"),
        (Sharing(4, epochs=0), "shared"),
        (Penalty(epochs=1), "penalised"),
    ):
        piece = apply_techniques(module, [technique], bench)
        assert f"weights of 1 (Doubled) are not {note}" in piece.notes
