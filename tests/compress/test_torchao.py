"""torchao's PT2E behind the same seam as ONNX Runtime's quantiser, on each kind of network."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from quantising import bench_of, network
from torch import nn

from nbautoml.compress import Piece, Quantization
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.quantization import quantize
from nbautoml.compress.quantization.norms import write_norms_out
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.space import space_for, techniques_of
from nbautoml.compress.table import techniques_from
from nbautoml.errors import MissingExtraError, RecipeError
from nbautoml.measure import call, export_onnx, with_rows
from nbautoml.testing.small_networks import NETWORKS

pytest.importorskip("torchao")

INT8 = Quantization("int8", backend="torchao")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def quantised(name, config=INT8):
    module, inputs = network(name)
    return quantize(Piece.of(module), config, bench_of(module, inputs)), module, inputs


def distance(module, data, inputs):
    with torch.no_grad():
        ours, theirs = call(module, inputs), call(OnnxModule(data), inputs)
    return float((ours - theirs).abs().mean() / ours.abs().max())


# What torchao leaves in float for want of a rule; of the others all layers with matrices are int8.
LEFT = {
    "unet": {"up (ConvTranspose2d)"},
    "lstm": {"lstm (LSTM)"},
    "embedding": {"words (Embedding)"},
    "transformer": {
        "words (Embedding)",
        *(f"layers.{at}.self_attn (MultiheadAttention)" for at in (0, 1)),
        *(f"layers.{at}.self_attn.out_proj (NonDynamicallyQuantizableLinear)" for at in (0, 1)),
    },
}


# A second or several each: of the others `make test-nightly` makes a file.
ALWAYS = {"mlp", "cnn", "lstm", "transformer"}
EACH = [
    pytest.param(name, marks=() if name in ALWAYS else pytest.mark.nightly) for name in NETWORKS
]


@pytest.mark.parametrize("name", EACH)
def test_the_file_is_smaller_and_its_outputs_near(name):
    piece, module, inputs = quantised(name)
    assert len(piece.onnx) < len(export_onnx(module, with_rows(inputs, 2)))
    assert 0 < distance(module, piece.onnx, inputs) < 0.02
    assert set(piece.bits.values()) == {8}
    ending = " is left in 32 bits: torchao has no rule for it"
    left = {note.removesuffix(ending) for note in piece.notes if note.endswith(ending)}
    assert left == LEFT.get(name, set())
    weighty = [
        layer
        for layer, one in module.named_modules()
        if layer and any(weight.ndim > 1 for weight in one.parameters(recurse=False))
    ]
    assert len(weighty) == len(piece.bits) + len(left)


def test_what_it_has_no_rule_for_is_left_alone_and_named():
    piece, _, _ = quantised("embedding")
    assert "words" not in piece.bits
    assert "words (Embedding) is left in 32 bits: torchao has no rule for it" in piece.notes


def test_the_same_piece_gives_the_same_bytes_and_the_module_stays():
    first, module, _ = quantised("mlp")
    second, _, _ = quantised("mlp")
    assert first.onnx == second.onnx
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(module.parameters(), first.module.parameters(), strict=True)
    )


def test_calibration_scales_and_kept_layers_are_what_was_asked_for():
    plain, module, inputs = quantised("mlp")
    config = dataclasses.replace(INT8, calibration="histogram", per="tensor", keep=("layers.4",))
    other, _, _ = quantised("mlp", config)
    assert set(plain.bits) == {"layers.0", "layers.2", "layers.4"}
    assert set(other.bits) == {"layers.0", "layers.2"}
    assert 0 < distance(module, other.onnx, inputs) < 0.02


def test_a_sensitive_layer_is_left_in_float_until_the_drop_is_small():
    module, inputs = network("mlp")
    with torch.no_grad():
        module.layers[2].weight[:, 0] = 0.0
        module.layers[2].weight[:, 1] = 3000.0
        module.layers[0].weight[1] = 0.0
        module.layers[0].bias[1] = 0.0
    config = dataclasses.replace(INT8, max_drop=0.02)
    piece = quantize(Piece.of(module), config, bench_of(module, inputs))
    assert "layers.2" not in piece.bits
    assert "left in 32 bits for the metric's sake: layers.2" in piece.notes


def test_training_with_the_rounding_comes_before_torchao():
    piece, _, _ = quantised("mlp", dataclasses.replace(INT8, mode="aware", epochs=1))
    assert "trained with the rounding of 3 layers" in piece.notes


class Shared(nn.Module):
    """A norm after a convolution that something else reads, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.out(torch.cat([x, self.norm(x)], 1).mean((2, 3)))


def test_a_norm_is_not_folded_into_a_convolution_that_others_read():
    module = Shared()
    module.norm.running_mean += torch.arange(4.0)
    graph = torch.export.export(module.eval(), (torch.randn(4, 1, 6, 6),)).module()
    x = torch.randn(4, 1, 6, 6)
    assert write_norms_out(graph) == 1
    assert torch.ops.aten.batch_norm.default not in {node.target for node in graph.graph.nodes}
    with torch.no_grad():
        assert torch.allclose(graph(x), module(x), atol=1e-5)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"to": "int4"}, "to of torchao is 'int4'"),
        ({"to": "fp16"}, "to of torchao is 'fp16'"),
        ({"mode": "dynamic"}, "mode of torchao is 'dynamic'"),
        ({"calibration": "entropy"}, "calibration of torchao is 'entropy'"),
        ({"backend": "torcho"}, "backend is 'torcho'"),
    ],
)
def test_what_it_does_not_do_is_refused_when_it_is_said(said, told):
    with pytest.raises(RecipeError, match=told):
        Quantization(**{"backend": "torchao", **said})


def test_a_quantiser_that_is_not_installed_says_how_to_get_it():
    absent = dataclasses.replace(QUANTIZERS["torchao"], packages=("no_such_package",))
    with pytest.raises(MissingExtraError, match="torchao needs no_such_package") as raised:
        absent.need()
    assert raised.value.hint == "pip install 'nbautoml[torchao]'"


def test_a_search_and_a_word_take_the_quantiser_that_was_said():
    row = QUANTIZERS["torchao"]
    space = space_for([], n_epochs=2, forms=row.forms, calibrations=row.searched)
    assert space["quantization"].options == ("off", "int8_static", "int8_aware")
    assert space["calibration"].options == ("minmax", "histogram")
    params = {"quantization": "int8_static", "calibration": "minmax", "per": "channel", "epochs": 0}
    (step,) = techniques_of(params, {"groups": [], "quantizer": "torchao"})
    assert step == techniques_from("quantize", quantizer="torchao")[0] == INT8
