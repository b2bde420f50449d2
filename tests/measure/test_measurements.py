"""What is counted is exact, what is timed says how, and what cannot be exported says why."""

from __future__ import annotations

import functools
import shutil

import pytest
import torch
from torch import nn

from nbautoml.errors import MissingExtraError, UsageError
from nbautoml.measure import (
    Measurement,
    count_macs,
    count_nonzero,
    count_weights,
    export_onnx,
    extra,
    largest_difference,
    measure,
    open_onnx,
    peak_memory,
    quiet,
    take_turns,
)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(8, 16)
        self.fc = nn.Linear(18, 2)

    def forward(self, word, numbers):
        return self.fc(torch.cat([self.embed(word), numbers], 1))


def small_cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


def test_tied_weights_count_once():
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net[1].weight = net[0].weight
    assert count_weights(net).value == 16


def test_zeros_are_left_out_of_the_nonzero_count():
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight[0] = 0
    assert count_nonzero(net).value == 11


def test_macs_of_a_convolution_are_kernel_times_outputs():
    # 6x6 outputs of 4 channels, a 3x3 kernel on one channel each; then 144 x 3.
    assert count_macs(small_cnn(), torch.zeros(1, 1, 8, 8)).value == 36 * 4 * 9 + 144 * 3


class Last(nn.Module):
    """What a recurrent layer says at the end, through a linear one."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


N_STEPS, N_ROWS, N_IN, HIDDEN = 7, 3, 5, 6
A_STEP = HIDDEN * (N_IN + HIDDEN)  # of one gate of one row


@pytest.mark.parametrize(
    ("layer", "a_step"),
    [
        (nn.LSTM(N_IN, HIDDEN), 4 * A_STEP),
        (nn.LSTM(N_IN, HIDDEN, batch_first=True), 4 * A_STEP),
        (nn.LSTM(N_IN, HIDDEN, bias=False, bidirectional=True), 2 * 4 * A_STEP),
        (nn.LSTM(N_IN, HIDDEN, num_layers=2), 4 * A_STEP + 4 * HIDDEN * 2 * HIDDEN),
        (nn.LSTM(N_IN, HIDDEN, proj_size=2), 4 * HIDDEN * (N_IN + 2) + HIDDEN * 2),
        (nn.GRU(N_IN, HIDDEN), 3 * A_STEP),
        (nn.GRU(N_IN, HIDDEN, num_layers=2), 3 * A_STEP + 3 * HIDDEN * 2 * HIDDEN),
        (nn.RNN(N_IN, HIDDEN), A_STEP),
        (nn.RNN(N_IN, HIDDEN, bidirectional=True), 2 * A_STEP),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_macs_of_a_recurrent_layer_are_its_matrices_once_a_step_and_row(layer, a_step):
    shape = (N_ROWS, N_STEPS, N_IN) if layer.batch_first else (N_STEPS, N_ROWS, N_IN)
    assert count_macs(Last(layer), torch.randn(shape)).value == N_STEPS * N_ROWS * a_step


def test_peak_memory_falls_when_a_result_is_no_longer_needed():
    wide_then_narrow = nn.Sequential(nn.Linear(8, 1000), nn.Linear(1000, 8))
    both = peak_memory(wide_then_narrow, torch.zeros(100, 8)).value
    weights = 4 * (8 * 1000 + 1000 + 1000 * 8 + 8)
    assert both == weights + 4 * 100 * (8 + 1000 + 8)


def test_figures_name_every_batch_size_and_runtime():
    found = measure(small_cnn(), torch.zeros(3, 1, 8, 8), batch_sizes=(1, 5), seconds=0.01)
    names = {
        f"{where}_{size}_{q}"
        for where in ("eager", "onnx")
        for size in (1, 5)
        for q in ("p50", "p95")
    }
    assert names <= set(found)
    assert found["onnx_5_p50"].n >= 20
    assert "batch of 5" in found["onnx_5_p50"].method
    assert found["onnx_bytes"].value > 4 * found["weights"].value


def test_measuring_leaves_the_module_in_its_mode():
    net = small_cnn().train()
    measure(net, torch.zeros(2, 1, 8, 8), batch_sizes=(2,), seconds=0.01)
    assert net.training


def test_exported_model_agrees_with_eager_at_another_batch_size():
    net = small_cnn()
    exported = open_onnx(export_onnx(net, torch.randn(2, 1, 8, 8)))
    assert largest_difference(net, exported, torch.randn(7, 1, 8, 8)) < 1e-5


def test_a_module_of_two_named_inputs_is_exported():
    net = TwoInputs()
    example = {"word": torch.tensor([1, 2]), "numbers": torch.randn(2, 2)}
    exported = open_onnx(export_onnx(net, example))
    more = {"word": torch.tensor([3, 4, 5]), "numbers": torch.randn(3, 2)}
    assert largest_difference(net, exported, more) < 1e-5


def test_a_module_that_branches_on_values_is_measured_in_eager_and_says_so():
    found = measure(Branching(), torch.ones(2, 4), batch_sizes=(1,), seconds=0.01)
    assert "eager_1_p50" in found
    assert "onnx_1_p50" not in found
    assert "cannot be exported" in found.notes[0]


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiling_is_timed_apart_from_what_the_compiled_module_takes():
    found = measure(
        nn.Linear(4, 3), torch.zeros(1, 4), batch_sizes=(2,), seconds=0.01, should_compile=True
    )
    assert {"eager_2_p50", "onnx_2_p50", "compiled_2_p50", "compiled_2_p95"} <= set(found)
    assert (
        found["compiled_2_p50"].method == "median; torch.compile, batch of 2, warmed up, 1 thread"
    )
    assert found["compile_2_s"].unit == "s"
    assert 1000 * found["compile_2_s"].value > found["compiled_2_p95"].value


def test_without_a_compiler_the_rest_is_measured_and_it_is_said_so():
    with quiet():
        from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "no_such_compiler")}):
        found = measure(
            small_cnn(),
            torch.zeros(1, 1, 8, 8),
            batch_sizes=(2,),
            seconds=0.01,
            should_compile=True,
        )
    assert "eager_2_p50" in found
    assert not any(name.startswith("compile") for name in found)
    (note,) = [note for note in found.notes if note.startswith("not measured compiled")]
    assert "batch of 2: Sequential cannot be compiled here" in note
    assert "no_such_compiler" in note


def test_an_example_without_rows_is_refused():
    with pytest.raises(UsageError, match="no rows"):
        measure(nn.Linear(4, 2), torch.zeros(0, 4))


def test_a_missing_package_is_told_with_its_pip_command():
    with pytest.raises(MissingExtraError, match=r"pip install 'nbautoml\[compress\]'"):
        extra("no_such_package_for_nbautoml")


def test_rivals_are_called_in_turns():
    called = []
    times = take_turns(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")}, seconds=0
    )
    n = len(times["a"])
    assert called[-2 * n :] == ["a", "b"] * n


def test_of_several_rivals_each_follows_each_other():
    called = []
    calls = {name: functools.partial(called.append, name) for name in "abc"}
    n = len(take_turns(calls, seconds=0)["a"])
    timed = called[-3 * n :]
    assert all(sorted(timed[at : at + 3]) == ["a", "b", "c"] for at in range(0, 3 * n, 3))
    after_a = [timed[at + 1] for at in range(len(timed) - 1) if timed[at] == "a"]
    assert min(after_a.count(name) for name in "bc") > n // 4


def test_a_measurement_reads_back_from_json():
    found = Measurement.of_times([0.1, 0.2], share=0.5, method="median")
    assert Measurement.from_json(found.to_json()) == found


def test_measuring_leaves_every_part_in_its_mode():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    module[1].eval()  # frozen, as in transfer learning
    measure(module, torch.zeros(2, 4), batch_sizes=(2,), seconds=0.01)
    assert [part.training for part in module.modules()] == [True, True, False, True]
