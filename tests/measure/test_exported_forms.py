"""How attention and recurrent layers are written in a file: with fewer nodes, and the same answers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from nbautoml.measure.attention import OPSET
from nbautoml.measure.exported import export_onnx, largest_difference, open_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
STEPS, WIDTH = 7, 8


class Encoder(nn.Module):
    """An encoder with a mask of a kind, or none."""

    def __init__(self, mask="", **options):
        super().__init__()
        options = {"batch_first": True, **options}
        self.enter = nn.Linear(WIDTH, 12)
        layer = nn.TransformerEncoderLayer(12, 3, 24, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.kind = mask
        later = torch.triu(torch.ones(STEPS, STEPS, dtype=torch.bool), 1)
        self.register_buffer("later", later)

    def forward(self, x):
        y, said = self.enter(x), {}
        if self.kind == "keys":
            said["src_key_padding_mask"] = x[:, :, 0] > 1
        elif self.kind:
            numbers = torch.zeros(STEPS, STEPS).masked_fill(self.later, float("-inf"))
            said = {"mask": self.later if self.kind == "truths" else numbers, "is_causal": True}
        return self.encoder(y, **said).mean(1)


class Attentions(nn.Module):
    """One that hands out its weights, one of two sequences, one of other widths."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(WIDTH, 12)
        self.telling = nn.MultiheadAttention(12, 3, batch_first=True)
        self.two = nn.MultiheadAttention(12, 2, batch_first=True, bias=False)
        self.other = nn.MultiheadAttention(12, 2, batch_first=True, kdim=WIDTH, vdim=WIDTH)

    def forward(self, x):
        y = self.enter(x)
        told, weights = self.telling(y, y, y)
        two, _ = self.two(y, told[:, :5], told[:, :5], need_weights=False)
        other, _ = self.other(y, x, x, need_weights=False)
        return (told + two + other).mean(1) + weights.mean((1, 2)).unsqueeze(1)


class Own(nn.Module):
    """An attention of its author's own, with a mask that is broadcast, beside one of torch."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(WIDTH, 12)
        self.torchs = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x):
        y = self.enter(x)
        y = self.torchs(y, y, y, need_weights=False)[0].unsqueeze(1)
        mask = (x[:, :, 0] < 1).unsqueeze(1).unsqueeze(1)
        return nn.functional.scaled_dot_product_attention(y, y, y, mask).mean((1, 2))


class Recurrent(nn.Module):
    """A recurrent layer, and what is taken of it."""

    def __init__(self, kind, n_layers, *, both, rows_first, taken):
        super().__init__()
        self.rnn = getattr(nn, kind)(WIDTH, 6, n_layers, bidirectional=both, batch_first=rows_first)
        self.axis, self.taken, self.n_last = (1 if rows_first else 0), taken, 2 if both else 1
        self.head = nn.Linear(6 * self.n_last, 3)

    def forward(self, x):
        steps, state = self.rnn(x if self.axis else x.transpose(0, 1))
        if self.taken == "state":
            state = state[0] if isinstance(state, tuple) else state
            return self.head(torch.cat(list(state[-self.n_last :]), -1))
        last, mean = steps.select(self.axis, -1), steps.mean(self.axis)
        return self.head({"last": last, "mean": mean, "both": last + mean}[self.taken])


def exported(module):
    """The graph's operators and the version they are of; its answers are the module's."""
    module = module.eval()
    data = export_onnx(module, torch.zeros(2, STEPS, WIDTH))
    for n_rows in (1, 5):
        rows = 2 * torch.randn(n_rows, STEPS, WIDTH)
        rows[:, 0] = 0.0  # a sequence without any key is nobody's
        assert largest_difference(module, open_onnx(data), rows) < 1e-5
    model = onnx.load_from_string(data)
    return Counter(node.op_type for node in model.graph.node), model.opset_import[0].version


@pytest.mark.parametrize("mask", ["", "truths", "numbers"])
def test_attention_is_one_node_with_a_mask_of_steps_or_without(mask):
    kinds, version = exported(Encoder(mask, norm_first=mask == "truths", bias=mask != "numbers"))
    assert kinds["Attention"] == 2
    assert version == OPSET
    assert not {"Softmax", "Transpose", "Gather"} & set(kinds)


@pytest.mark.parametrize(
    "module",
    [Encoder("keys"), Encoder(batch_first=False), Own()],
    ids=["padded keys", "steps first", "another's mask"],
)
def test_attention_that_the_operator_does_not_say_is_written_as_torch_writes_it(module):
    kinds, version = exported(module)
    assert not kinds["Attention"]
    assert kinds["Softmax"] >= 1
    assert version < OPSET


def test_attention_that_hands_out_its_weights_stays_beside_others():
    kinds, _ = exported(Attentions())
    assert kinds["Attention"] == 2  # of two sequences; the one of other widths by torch's exporter
    assert kinds["Softmax"] == 1


def test_forward_of_a_module_is_its_own_again_after_an_export_that_fails():
    class Branching(Encoder):
        def forward(self, x):
            return super().forward(x) if x.sum() > 1e9 else super().forward(2 * x)

    module = Branching().eval()
    with pytest.raises(Exception, match="cannot be exported"):
        export_onnx(module, torch.zeros(2, STEPS, WIDTH))
    assert all("forward" not in vars(layer) for layer in module.modules())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("kind", "n_layers", "both", "rows_first", "taken"),
    [
        ("LSTM", 1, False, True, "last"),
        ("LSTM", 1, False, False, "last"),
        ("LSTM", 2, False, True, "both"),
        ("LSTM", 1, True, True, "last"),
        ("LSTM", 2, True, True, "mean"),
        ("LSTM", 2, True, False, "state"),
        ("GRU", 1, False, True, "both"),
        ("GRU", 2, False, True, "last"),
        ("GRU", 2, True, False, "mean"),
        ("GRU", 1, False, False, "state"),
    ],
)
def test_recurrent_layers_begin_with_nothing_made_and_end_with_nothing_computed(
    kind, n_layers, both, rows_first, taken
):
    kinds, _ = exported(Recurrent(kind, n_layers, both=both, rows_first=rows_first, taken=taken))
    assert kinds[kind] == n_layers
    assert not {"Expand", "Shape"} & set(kinds)  # first states, and shapes of outputs
    assert taken != "last" or both or not kinds["Gather"]


def test_first_states_that_are_given_stay():
    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(WIDTH, 6, batch_first=True)
            self.first = nn.Parameter(torch.ones(1, 1, 6))

        def forward(self, x):
            return self.rnn(x, self.first.expand(1, len(x), 6).contiguous())[0][:, -1]

    kinds, _ = exported(Given())
    assert kinds["Expand"] == 1
