"""What compression meets that it did not ask for: refused in words, or left alone and named.

Elsewhere: control flow that cannot be exported, a limit that nothing meets, a model that is compressed
already and several trials of it in `tests/api/test_compress.py`; layers that a technique cannot touch in
`test_channels.py` and `test_quantization.py`; two inputs in the battery.
"""

from __future__ import annotations

import dataclasses

import pytest
import quantising
import torch
from torch import nn

from nbautoml.compress import (
    Distillation,
    LowRank,
    Penalty,
    Piece,
    Pruning,
    Quantization,
    Sharing,
    apply_techniques,
)
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.quantization import integers, kernels, quantize, runtime
from nbautoml.compress.saved import dump_module, load_module
from nbautoml.errors import CompressError
from nbautoml.measure import call, count_weights
from nbautoml.testing.small_networks import N_WORDS, NETWORKS


class TiedWords(nn.Module):
    """Its last layer is its table of words."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.words = nn.Embedding(N_WORDS, width)
        self.hidden = nn.Linear(width, 16)
        self.back = nn.Linear(16, width)
        self.out = nn.Linear(width, N_WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(self.back(torch.relu(self.hidden(self.words(words).mean(1)))))


TECHNIQUES = {
    "channels": Pruning(0.5, epochs=1),
    "weights": Pruning(0.5, granularity="weights", epochs=1),
    "low rank": LowRank(0.5, epochs=1),
    "sharing": Sharing(4, epochs=1),
    "distillation": Distillation(epochs=1),
    "penalty": Penalty(epochs=1),
}


@pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=TECHNIQUES)
def test_weights_that_two_layers_share_stay_shared_also_in_the_file(technique, bench_for):
    torch.manual_seed(0)
    module, words = TiedWords(), NETWORKS["embedding"].example(60)
    piece = apply_techniques(module, [technique], bench_for(module, words))
    here = {"TiedWords": TiedWords}
    again = load_module(dump_module(piece.module, here), here)
    for one in (piece.module, again):
        assert one.out.weight is one.words.weight
    assert count_weights(piece.module).value <= count_weights(module).value
    with torch.no_grad():
        assert torch.equal(call(piece.module, words), call(again, words))


@pytest.mark.parametrize("mode", ["static", "dynamic", "weights"])
def test_a_table_that_is_also_the_last_layer_is_quantised(mode, bench_for):
    torch.manual_seed(0)
    module, words = TiedWords().eval(), NETWORKS["embedding"].example(60)
    piece = apply_techniques(module, [Quantization("int8", mode=mode)], bench_for(module, words))
    with torch.no_grad():
        ours, theirs = call(module, words), call(OnnxModule(piece.onnx), words)
    assert float((ours - theirs).abs().mean() / ours.abs().max()) < 0.05


class Memory(nn.Module):
    """A recurrent layer of one kind, and what it says at the end."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.memory = kind(4, 24, batch_first=True)
        self.out = nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read, _ = self.memory(x)
        return self.out(read[:, -1])


@pytest.fixture(params=[nn.GRU, nn.RNN], ids=["GRU", "RNN"])
def remembering(request, bench_for):
    torch.manual_seed(0)
    module, inputs = Memory(request.param).eval(), NETWORKS["lstm"].example(60)
    return module, inputs, bench_for(module, inputs)


def distance(module, data, inputs) -> float:
    with torch.no_grad():
        ours, theirs = call(module, inputs), call(OnnxModule(data), inputs)
    return float((ours - theirs).abs().mean() / ours.abs().max())


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_recurrent_layer_without_an_int8_kernel_is_left_alone_and_named(mode, remembering):
    module, inputs, bench = remembering
    piece = quantize(Piece.of(module), Quantization("int8", mode=mode), bench)
    note = f"memory (GRU) is left in 32 bits: no {mode} kernel for it"
    is_left = isinstance(module.memory, nn.GRU)  # an RNN is exported as products and sums
    assert (note in piece.notes) is is_left
    assert piece.bits == ({"out": 8} if is_left else {"memory": 8, "out": 8})
    assert distance(module, piece.onnx, inputs) < 0.03


@pytest.mark.parametrize(
    ("to", "bits", "far"), [("int8", 8, 0.02), ("int4", 4, 0.15), ("fp16", 16, 0.002)]
)
def test_the_weights_of_any_recurrent_layer_become_small_numbers(to, bits, far, remembering):
    module, inputs, bench = remembering
    mode = "weights" if to.startswith("int") else "static"
    piece = quantize(Piece.of(module), Quantization(to, mode=mode), bench)
    assert piece.bits == {"memory": bits, "out": bits}
    assert 0 < distance(module, piece.onnx, inputs) < far


@pytest.mark.parametrize("mode", ["static", "aware"])
def test_without_rows_to_calibrate_with_it_is_refused_and_the_module_stays(mode):
    piece, bench, _ = quantising.piece_and_bench("mlp")
    nothing = bench.data.train.take(torch.arange(0))
    empty = dataclasses.replace(bench, data=dataclasses.replace(bench.data, train=nothing))
    with pytest.raises(
        CompressError, match="looks at rows of training data, and there are none"
    ) as told:
        quantize(piece, Quantization("int8", mode=mode), empty)
    assert "give data with training rows" in told.value.hint
    assert piece.onnx is None


def test_a_processor_is_asked_for_its_int8_products(tmp_path):
    for flags, has_them in (("fpu avx2 avx512_vnni", True), ("fpu avx2 sse4_2", False)):
        cpuinfo = tmp_path / f"cpuinfo_{has_them}"
        cpuinfo.write_text(f"processor : 0\nflags : {flags}\n")
        assert kernels.has_int8_products(cpuinfo) is has_them


def test_on_a_processor_without_int8_products_weights_keep_to_seven_bits_and_it_is_said_so(
    tmp_path, monkeypatch
):
    old = tmp_path / "cpuinfo"
    old.write_text("flags : fpu avx2\n")
    for place in (runtime, integers):
        monkeypatch.setattr(place, "has_int8_products", lambda: kernels.has_int8_products(old))
    piece, bench, inputs = quantising.piece_and_bench("mlp")
    found = quantize(piece, Quantization("int8"), bench)
    assert any("no int8 products: weights keep to 7 bits" in note for note in found.notes)
    assert distance(found.original, found.onnx, inputs) < 0.05


def test_an_equal_module_is_exported_once_and_a_changed_one_anew():
    piece, bench, _ = quantising.piece_and_bench("mlp")
    rows = runtime.calibration_rows(bench, 32)
    first = runtime.exported_float(piece.module, rows)
    assert runtime.exported_float(Piece.of(piece.module).module, rows) is first
    with torch.no_grad():
        piece.module.layers[0].weight[0, 0] += 1.0
    assert runtime.exported_float(piece.module, rows) != first


class Scaled(nn.Module):
    """What it answers hangs on a plain attribute."""

    def __init__(self, scale: float | torch.Tensor) -> None:
        super().__init__()
        self.layers = NETWORKS["mlp"].build().layers
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * (self.scale if isinstance(self.scale, float) else self.scale[1000])


def long_table(middle: float) -> torch.Tensor:
    """Too long for its text to hold the middle."""
    table = torch.zeros(2000)
    table[1000] = middle
    return table


@pytest.mark.parametrize("scale_of", [float, long_table])
def test_modules_that_differ_in_a_plain_attribute_are_not_taken_for_equal(scale_of):
    _, bench, inputs = quantising.piece_and_bench("mlp")
    rows = runtime.calibration_rows(bench, 32)
    files = []
    for scale in (1.0, 3.0):
        torch.manual_seed(0)
        files.append(runtime.exported_float(Scaled(scale_of(scale)).eval(), rows))
    one, three = (OnnxModule(data)(inputs) for data in files)
    assert torch.allclose(3 * one, three, atol=1e-5)
