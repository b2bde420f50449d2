"""Every technique on every kind of network: one table, one battery (its rows: `battery_rows`)."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from battery_rows import IN_FILES, ROWS, Row, weights
from flat_student import Flat
from torch import nn

import nbautoml.testing.small_networks as networks
from nbautoml.compress import (
    Bench,
    Distillation,
    LowRank,
    Penalty,
    Piece,
    Pruning,
    Sharing,
    apply_techniques,
)
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.saved import dump_module, load_module
from nbautoml.errors import CompressError
from nbautoml.measure.counting import call
from nbautoml.measure.exported import export_onnx, largest_difference, open_onnx
from nbautoml.testing.small_networks import NETWORKS

PAIRS = [(row, name) for row in ROWS for name in NETWORKS if name not in ROWS[row].refuses]
REFUSED = [(row, name) for row in ROWS for name in ROWS[row].refuses]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A network and what a row has made of it."""

    row: Row
    name: str
    module: nn.Module
    before: dict[str, torch.Tensor]
    bench: Bench
    piece: Piece

    @property
    def model(self) -> nn.Module:
        """What answers in the end: the module, or the file that stands for it."""
        return self.piece.module if self.piece.onnx is None else OnnxModule(self.piece.onnx)

    def inputs(self, n: int) -> object:
        return NETWORKS[self.name].example(n)


_MADE: dict[tuple[str, str], Made] = {}


@pytest.fixture
def make(build, bench_for):
    """Each row is applied to each network once for all tests of this file."""

    def made_of(row: str, name: str) -> Made:
        if (row, name) not in _MADE:
            module = build(name)
            bench = bench_for(module, NETWORKS[name].example(48))
            before = copy.deepcopy(module.state_dict())
            piece = ROWS[row].applied(name, module, bench)
            _MADE[row, name] = Made(
                row=ROWS[row], name=name, module=module, before=before, bench=bench, piece=piece
            )
        return _MADE[row, name]

    return made_of


@pytest.fixture(params=PAIRS, ids=[f"{name}-{row}" for row, name in PAIRS])
def made(request, make) -> Made:
    return make(*request.param)


def test_shrinks_what_it_says_and_leaves_the_original_alone(made):
    rival = Piece.of(made.module)
    if made.row.control is not None:
        rival = apply_techniques(made.module, [made.row.control], made.bench)
    assert made.row.counts(rival) > made.row.shrinks * made.row.counts(made.piece)
    assert (repr(made.piece.module) == repr(made.module)) is made.row.keeps_layers
    after = made.module.state_dict()
    assert all(torch.equal(value, made.before[name]) for name, value in after.items())


def test_keeps_the_signature_and_answers_with_finite_numbers(made):
    for n_rows in (1, 5):
        output = call(made.model, made.inputs(n_rows))
        assert output.shape == call(made.module, made.inputs(n_rows)).shape
        assert bool(torch.isfinite(output).all())


# An export takes seconds: of what ends in a file two networks tell.
REPEATED = [(row, name) for row, name in PAIRS if row not in IN_FILES or name in {"mlp", "unet"}]


@pytest.mark.parametrize(
    "made", REPEATED, indirect=True, ids=[f"{name}-{row}" for row, name in REPEATED]
)
def test_is_the_same_each_time(made):
    second = made.row.applied(made.name, made.module, made.bench)
    assert made.piece.notes == second.notes
    assert made.piece.onnx == second.onnx
    for name, value in made.piece.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name]), name


_EXPORTED: dict[tuple[str, str], float] = {}


def test_exports_and_agrees_with_eager(made):
    """Of several rows that leave the same layers one is exported, for the graph is the same."""
    module = made.piece.module
    if made.piece.onnx is not None:
        with torch.no_grad():
            float_answer = call(module, made.inputs(48))
            far = (call(made.model, made.inputs(48)) - float_answer).abs().mean()
        assert 0 < far < 0.03 * float_answer.abs().max()
        return
    key = (made.name, repr(module))
    if key not in _EXPORTED:
        exported = open_onnx(export_onnx(module, made.inputs(4)))
        _EXPORTED[key] = largest_difference(module, exported, made.inputs(3))
    assert _EXPORTED[key] < 1e-4


NAMES = {**vars(networks), "Flat": Flat}


def test_survives_save_and_load(made):
    module = made.piece.module
    again = load_module(dump_module(module, NAMES), NAMES)
    assert repr(again) == repr(module)
    with torch.no_grad():
        assert torch.equal(call(again, made.inputs(5)), call(module, made.inputs(5)))


FRESH = """
import json, sys
import torch
import nbautoml.testing.small_networks as networks
from flat_student import Flat
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.saved import load_module
from nbautoml.measure import call

torch.set_num_threads(1)
names = {**vars(networks), "Flat": Flat}
different = []
for file, name, told in json.load(open("files.json")):
    data = open(file, "rb").read()
    model = OnnxModule(data) if file.endswith(".onnx") else load_module(data, names)
    with torch.no_grad():
        answer = call(model, networks.NETWORKS[name].example(5))
    if not torch.equal(answer, torch.load(told)):
        different.append(file)
runner = [name for name in sys.modules if name.startswith(("nbautoml.engine", "nbautoml.tune"))]
print(json.dumps({"different": different, "runner": runner}))
"""


def test_a_fresh_process_without_a_runner_gets_the_outputs_that_were_given(make, tmp_path):
    files = []
    for at, (row, name) in enumerate(PAIRS):
        made = make(row, name)
        data, ending = made.piece.onnx, "onnx"
        if data is None:
            data, ending = dump_module(made.piece.module, NAMES), "safetensors"
        (tmp_path / f"{at} {row}.{ending}").write_bytes(data)
        with torch.no_grad():
            torch.save(call(made.model, made.inputs(5)), tmp_path / f"{at}.pt")
        files.append((f"{at} {row}.{ending}", name, f"{at}.pt"))
    (tmp_path / "files.json").write_text(json.dumps(files))
    support = str(Path(__file__).resolve().parents[1] / "support")
    code = f"import sys\nsys.path.append({support!r})\n{FRESH}"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {"different": [], "runner": []}


@pytest.mark.parametrize(("row", "name"), REFUSED)
def test_refuses_a_network_in_which_there_is_nothing_for_it(row, name, build, bench_for):
    module = build(name)
    bench = bench_for(module, NETWORKS[name].example(48))
    with pytest.raises(CompressError, match=ROWS[row].refuses[name]):
        ROWS[row].applied(name, module, bench)


@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm", "taylor", "bn_scale", "lamp", "random"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_every_criterion_prunes_channels(criterion, scope, build, bench_for):
    module = build("residual")
    bench = bench_for(module, NETWORKS["residual"].example(48))
    technique = Pruning(0.5, criterion=criterion, scope=scope, epochs=0)
    piece = apply_techniques(module, [technique], bench)
    assert weights(piece) < 0.6 * weights(Piece.of(module))


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
