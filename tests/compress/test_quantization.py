"""Each way to quantise, on each kind of network: smaller, near, the same again, and in another process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from quantising import bench_of, network
from torch import nn

from nbautoml.compress import Piece, Quantization, apply_techniques
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.quantization import quantize
from nbautoml.errors import CompressError
from nbautoml.measure import call, export_onnx, with_rows
from nbautoml.testing.small_networks import NETWORKS

# Largest mean distance of outputs, of the largest one, and the largest share of the float file's numbers.
SETTINGS = {
    "static": (Quantization("int8"), 0.02, 0.6),
    "static, percentile": (Quantization("int8", calibration="percentile"), 0.03, 0.6),
    "static, entropy": (Quantization("int8", calibration="entropy"), 0.05, 0.6),
    "static, histogram": (Quantization("int8", calibration="histogram"), 0.02, 0.6),
    "static, by tensor": (Quantization("int8", per="tensor"), 0.04, 0.6),
    "dynamic": (Quantization("int8", mode="dynamic"), 0.02, 0.9),
    "dynamic, by tensor": (Quantization("int8", mode="dynamic", per="tensor"), 0.03, 0.9),
    "weights": (Quantization("int8", mode="weights"), 0.01, 0.8),
    "int4": (Quantization("int4", mode="weights"), 0.1, 0.7),
    "fp16": (Quantization("fp16"), 0.001, 0.85),
    "bf16": (Quantization("bf16"), 0.005, 0.85),
}
TINY = 5000  # bytes; below, the nodes that round weigh as much as the weights
_MADE: dict = {}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def made(name):
    """A network, its inputs, its bench and its float file, once a process."""
    if name not in _MADE:
        module, inputs = network(name)
        example = with_rows(inputs, 2)
        _MADE[name] = (module, inputs, bench_of(module, inputs), export_onnx(module, example))
    return _MADE[name]


def quantised(name, config):
    module, _, bench, _ = made(name)
    return quantize(Piece(module=module, original=module), config, bench)


def numbers(data):
    """Bytes of the weights in a file, without its graph."""
    tensors = onnx.load_from_string(data).graph.initializer
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in tensors)


def distance(module, data, inputs):
    """The mean distance of outputs, of the largest."""
    with torch.no_grad():
        ours, theirs = call(module, inputs), call(OnnxModule(data), inputs)
    return float((ours - theirs).abs().mean() / ours.abs().max())


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_is_smaller_and_its_outputs_near(name, setting):
    config, tolerance, share = SETTINGS[setting]
    module, inputs, _, plain = made(name)
    piece = quantised(name, config)
    assert numbers(piece.onnx) < share * numbers(plain)
    if len(plain) > TINY:
        assert len(piece.onnx) < len(plain)
    assert 0 < distance(module, piece.onnx, inputs) < tolerance


@pytest.mark.parametrize("setting", ["static, histogram", "dynamic", "int4"])
@pytest.mark.parametrize("name", ["cnn", "lstm", "transformer"])
def test_the_same_piece_gives_the_same_bytes(name, setting):
    config = SETTINGS[setting][0]
    assert quantised(name, config).onnx == quantised(name, config).onnx


def test_a_file_gives_the_same_outputs_in_a_new_process(tmp_path):
    _, inputs, _, _ = made("cnn")
    data = quantised("cnn", Quantization("int8")).onnx
    (tmp_path / "model.onnx").write_bytes(data)
    torch.save(inputs, tmp_path / "inputs.pt")
    program = (
        "import sys, torch, numpy, onnxruntime as runtime\n"
        "folder = sys.argv[1]\n"
        "session = runtime.InferenceSession(folder + '/model.onnx', providers=['CPUExecutionProvider'])\n"
        "x = torch.load(folder + '/inputs.pt').numpy()\n"
        "numpy.save(folder + '/out.npy', session.run(None, {session.get_inputs()[0].name: x})[0])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)

    there = torch.from_numpy(np.load(tmp_path / "out.npy"))
    assert torch.equal(there, OnnxModule(data)(inputs))


def test_layers_tell_their_bits_by_the_names_of_the_module():
    assert quantised("cnn", Quantization("int8")).bits == {
        "first": 8,
        "second": 8,
        "hidden": 8,
        "out": 8,
    }
    assert set(quantised("residual", Quantization("int4", mode="weights")).bits.values()) == {4}


def test_a_layer_without_a_kernel_is_left_alone_and_named():
    piece = quantised("unet", Quantization("int8", mode="dynamic"))
    assert "up" not in piece.bits
    assert any(note.startswith("up (ConvTranspose) is left in 32 bits") for note in piece.notes)


def test_kept_layers_stay_in_float():
    piece = quantised("residual", Quantization("int8", keep=("blocks.0", "out")))
    assert set(piece.bits) == {
        "stem.0",
        "blocks.1.first.0",
        "blocks.1.second.0",
        "blocks.1.shortcut.0",
    }


def test_a_kept_name_that_no_layer_has_is_refused():
    with pytest.raises(CompressError, match="keep names 'blokcs'"):
        quantised("residual", Quantization("int8", keep=("blokcs",)))


def test_a_recurrent_layer_is_quantised_by_each_batch_in_static_mode_and_says_so():
    piece = quantised("lstm", Quantization("int8"))
    assert piece.bits["lstm"] == 8
    assert "quantised by each batch, as recurrent layers are: lstm" in piece.notes


def fragile():
    """A network one of whose layers eight bits ruin: one weight is a thousand times the others."""
    module, inputs = network("mlp")
    with torch.no_grad():
        module.layers[2].weight[:, 0] = 0.0
        module.layers[2].weight[:, 1] = 300.0
        module.layers[0].weight[1] = 0.0
        module.layers[0].bias[1] = 0.0
    return module, inputs


def test_a_sensitive_layer_is_left_in_float_until_the_drop_is_small():
    module, inputs = fragile()
    config = Quantization("int8", mode="weights", max_drop=0.02)
    piece = quantize(Piece.of(module), config, bench_of(module, inputs))
    assert "layers.2" not in piece.bits
    assert piece.bits["layers.0"] == 8
    assert "left in 32 bits for the metric's sake: layers.2" in piece.notes


def test_without_max_drop_all_layers_are_quantised():
    module, inputs = fragile()
    piece = quantize(
        Piece.of(module), Quantization("int8", mode="weights"), bench_of(module, inputs)
    )
    assert set(piece.bits) == {"layers.0", "layers.2", "layers.4"}


@pytest.mark.parametrize("to", ["int8", "int4", "fp16"])
@pytest.mark.parametrize("width", [40, 64])
def test_small_weights_become_floats_when_the_file_is_opened_and_not_in_every_call(
    to, width, tmp_path
):
    module = nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, 4)).eval()
    inputs = torch.rand(64, width)
    piece = Piece(module=module, original=module)
    quantize(piece, Quantization(to, mode="weights"), bench_of(module, inputs))

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(piece.onnx, options, providers=["CPUExecutionProvider"])

    kinds = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert kinds <= {"Gemm", "FusedGemm", "MatMul", "Relu"}
    assert "Cast" in {node.op_type for node in onnx.load_from_string(piece.onnx).graph.node}


def test_int4_is_for_weights_alone():
    with pytest.raises(CompressError, match="int4 is for weights alone"):
        quantised("mlp", Quantization("int4", mode="static"))


def test_a_model_that_is_quantised_already_is_refused():
    module, _, bench, _ = made("mlp")
    piece = Piece(module=module, original=module, onnx=b"file")
    with pytest.raises(CompressError, match="quantised already"):
        quantize(piece, Quantization("int8"), bench)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


@pytest.mark.parametrize("backend", ["onnxruntime", "torchao"])
def test_control_flow_that_cannot_be_exported_is_refused_and_the_module_stays(backend):
    module, inputs = Branching(), torch.randn(40, 8)
    with pytest.raises(CompressError, match="stays as it is: Branching cannot be exported"):
        quantize(Piece.of(module), Quantization("int8", backend=backend), bench_of(module, inputs))


def test_training_with_the_rounding_gives_back_what_the_rounding_took():
    module, _, bench, _ = made("mlp")
    once = quantised("mlp", Quantization("int8", per="tensor"))
    aware = apply_techniques(
        module, [Quantization("int8", mode="aware", per="tensor", epochs=3, lr=0.003)], bench
    )
    targets = next(iter(bench.data.train.batches(1000)))
    lost = [
        float(bench.base_loss(OnnxModule(piece.onnx)(targets[0]), targets[1]))
        for piece in (once, aware)
    ]
    assert lost[1] < lost[0]
    assert "trained with the rounding of 3 layers" in aware.notes


@pytest.mark.parametrize(
    ("name", "left"), [("lstm", "lstm (LSTM)"), ("unet", "up (ConvTranspose2d)")]
)
def test_training_with_the_rounding_names_the_layers_that_it_does_not_round(name, left):
    module, _, bench, _ = made(name)
    piece = apply_techniques(module, [Quantization("int8", mode="aware", epochs=1)], bench)
    assert f"weights of {left} are not rounded while it trains" in piece.notes
