"""Modules in which channels hang together in ways that are easily got wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.compress import Pruning, apply_techniques
from nbautoml.compress.following import follow
from nbautoml.compress.structured import prunable_groups
from nbautoml.compress.surgery import why_not
from nbautoml.errors import CompressError, RecipeError

PICTURES = torch.randn(48, 1, 8, 8, generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(48, 8, generator=torch.Generator().manual_seed(1))
SEQUENCES = torch.randn(48, 6, 8, generator=torch.Generator().manual_seed(1))


def pruned(module, inputs, bench_for, **how):
    torch.manual_seed(0)
    return apply_techniques(
        module, [Pruning(**{"sparsity": 0.5, "epochs": 0, **how})], bench_for(module, inputs)
    )


class FixedView(nn.Module):
    """As in many a tutorial: the number of values is written into forward."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 3)
        self.conv2 = nn.Conv2d(10, 20, 3)
        self.fc1 = nn.Linear(80, 50)
        self.fc2 = nn.Linear(50, 3)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.max_pool2d(x, 2).view(-1, 80)
        return self.fc2(F.relu(self.fc1(x)))


def test_layer_before_a_fixed_view_is_left_alone_and_named(bench_for):
    piece = pruned(FixedView(), PICTURES, bench_for)
    assert piece.module.conv2.out_channels == 20
    assert piece.module.conv1.out_channels + piece.module.fc1.out_features == 30
    assert any(note.startswith("conv2 keeps all its channels") for note in piece.notes)


class OwnAttention(nn.Module):
    """Heads by a reshape: which channels are a head's is known to forward alone."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 16) for _ in range(3))
        self.hidden = nn.Linear(16, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = (
            layer(x).reshape(n, length, 4, -1).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, -1)
        return self.out(torch.relu(self.hidden(seen.mean(1))))


def test_attention_of_ones_own_is_left_alone_because_answers_would_change(bench_for):
    piece = pruned(OwnAttention(), SEQUENCES, bench_for)
    assert [getattr(piece.module, name).out_features for name in "qkv"] == [16, 16, 16]
    assert piece.module.hidden.out_features == 8
    assert any("keeps all its channels" in note for note in piece.notes)


class Crossing(nn.Module):
    """Attention over another sequence, with a residual width."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(8, 16)
        self.other = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        read, other = self.read(x), self.other(x.flip(1))
        seen, _ = self.attention(read, other, other)
        return self.out(self.norm(read + seen).mean(1))


def test_heads_of_an_attention_become_thinner_and_ask_the_louder(bench_for):
    torch.manual_seed(0)
    module = Crossing().eval()
    found = prunable_groups(module, SEQUENCES[:4])
    group = next(one for name, one in found.groups.items() if "attention" in one.makers)
    assert len(group.atoms) == 4  # the same place in each head
    small = pruned(module, SEQUENCES, bench_for).module.attention
    assert (small.num_heads, small.embed_dim, small.head_dim) == (4, 8, 2)


def test_attention_loses_whole_heads_where_it_is_to(bench_for):
    attention = pruned(Crossing(), SEQUENCES, bench_for, heads="fewer").module.attention
    assert (attention.num_heads, attention.embed_dim, attention.head_dim) == (2, 8, 4)
    assert attention.in_proj_weight.shape == (24, 8)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_recurrent_layers_lose_hidden_values(kind, n_layers, bench_for):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.read = nn.Linear(8, 10)
            self.cell = kind(10, 12, num_layers=n_layers, batch_first=True)
            self.out = nn.Linear(12, 3)

        def forward(self, x):
            return self.out(self.cell(torch.relu(self.read(x)))[0][:, -1])

    cell = pruned(Net(), SEQUENCES, bench_for, scope="layer").module.cell
    assert (cell.input_size, cell.hidden_size) == (5, 6)
    assert cell.weight_hh_l0.shape[1] == 6


def test_layer_that_reads_in_both_directions_is_left_alone(bench_for):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
            self.hidden = nn.Linear(12, 8)
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(torch.relu(self.hidden(self.cell(x)[0][:, -1])))

    piece = pruned(Net(), SEQUENCES, bench_for)
    assert piece.module.cell.hidden_size == 6
    assert piece.module.hidden.out_features == 4
    assert any("both directions" in note for note in piece.notes)


class Tied(nn.Module):
    """The output layer is the table of words."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 12)
        self.out = nn.Linear(12, 20, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words):
        return self.out(torch.relu(self.words(words).mean(1)))


def test_tied_weights_stay_tied(bench_for):
    words = torch.arange(48 * 6).reshape(48, 6) % 20
    module = pruned(Tied(), words, bench_for).module
    assert module.out.weight is module.words.weight
    assert module.out.weight.shape == (20, 6)


class Branching(nn.Module):
    """Which way is gone depends on the values."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 12)
        self.second = nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.second(x) if x.mean() > -1 else self.second(-x)


def test_control_flow_is_followed_along_the_way_that_is_taken(bench_for):
    assert pruned(Branching(), ROWS, bench_for).module.first.out_features == 6


class InputShortcut(nn.Module):
    """What is added to the input must stay as wide as the input."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(8, 8)
        self.hidden = nn.Linear(8, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x + torch.tanh(self.inside(x)))))


def test_layer_that_is_added_to_the_input_is_left_alone(bench_for):
    module = pruned(InputShortcut(), ROWS, bench_for).module
    assert (module.inside.out_features, module.hidden.out_features) == (8, 6)


class Shuffled(nn.Module):
    """Channels change places between two grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.second = nn.Conv2d(8, 8, 3, groups=2)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.out(torch.relu(self.second(x)).mean((2, 3)))


def test_a_smaller_module_answers_what_the_masked_one_does_or_is_left_alone(bench_for):
    module = Shuffled().eval()
    groups, _ = follow(module, PICTURES[:4])
    reasons = {group.name: why_not(module, group, PICTURES[:4]) for group in groups}
    assert reasons["out"] is None, "its channels are the outputs"
    assert not reasons["second"]
    assert reasons.get("first"), "a shuffle of pairs is not what plain slicing leaves"


def test_a_grouped_layer_loses_the_same_place_in_each_group(build, bench_for):
    module = build("depthwise")
    smaller = pruned(module, PICTURES, bench_for, scope="layer").module
    assert smaller.grouped[0].groups == 2
    assert smaller.grouped[0].weight.shape == (8, 2, 3, 3)
    depthwise = smaller.depthwise[0]
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == 8


def test_global_pruning_takes_exactly_the_share_of_channels(build, bench_for):
    module = build("mlp")
    layers = pruned(module, ROWS, bench_for, sparsity=0.375).module.layers
    assert layers[0].out_features + layers[2].out_features == 20
    assert layers[4].out_features == 3


def test_no_layer_loses_its_last_channel(build, bench_for):
    layers = pruned(build("mlp"), ROWS, bench_for, sparsity=0.99).module.layers
    assert min(layers[0].out_features, layers[2].out_features) >= 1


def test_rounds_end_where_one_round_does(build, bench_for):
    module = build("cnn")
    once, thrice = (
        pruned(module, PICTURES, bench_for, scope="layer", n_rounds=n).module for n in (1, 4)
    )
    for name in ("first", "second", "hidden"):
        assert getattr(once, name).weight.shape == getattr(thrice, name).weight.shape


def test_ratios_go_before_the_sparsity_and_keep_before_both(build, bench_for):
    module = build("cnn")
    piece = pruned(
        module, PICTURES, bench_for, scope="layer", ratios={"first": 0.25}, keep=["hidden"]
    )
    sizes = (piece.module.first.out_channels, piece.module.second.out_channels)
    assert sizes == (6, 8)
    assert piece.module.hidden.out_features == 16


@pytest.mark.parametrize("how", [{"keep": ["fist"]}, {"ratios": {"fist": 0.5}}])
@pytest.mark.parametrize("granularity", ["channels", "weights"])
def test_a_name_that_is_no_layer_is_an_error(how, granularity, build, bench_for):
    with pytest.raises(RecipeError, match="fist") as caught:
        pruned(build("cnn"), PICTURES, bench_for, granularity=granularity, **how)
    assert "did you mean 'first'" in caught.value.hint


def test_a_module_of_which_all_is_kept_is_refused(build, bench_for):
    with pytest.raises(CompressError, match="no channels of Plain"):
        pruned(build("cnn"), PICTURES, bench_for, keep=["first", "second", "hidden"])


def test_unimportant_channels_go_first(build, bench_for):
    module = build("mlp")
    with torch.no_grad():
        for name, axis in (("layers.0", 0), ("layers.2", 1)):
            module.get_submodule(name).weight.index_fill_(axis, torch.tensor([2, 7]), 0.0)
        module.layers[0].bias[[2, 7]] = 0
    smaller = pruned(module, ROWS, bench_for, sparsity=2 / 32).module
    assert smaller.layers[0].out_features == 14
    torch.testing.assert_close(smaller(ROWS), module(ROWS))


def test_a_piece_is_pruned_on_a_copy(build):
    module = build("residual")
    before = {name: value.shape for name, value in module.state_dict().items()}
    prunable_groups(module, PICTURES[:4])
    assert {name: value.shape for name, value in module.state_dict().items()} == before
