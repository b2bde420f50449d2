"""What the rivals of `rivals` do to a network: at least ten settings each, by their own public functions.

::

    torch_pruning   five shares, each fine-tuned at the trainer's rate, five and ten times it, which
                    our own search may take; the best is compiled, too
    onnxruntime     its dynamic, static, 4-bit and half-float tools on the exported file
    torchao         `quantize_` and PT2E (after training, and aware of it), compiled by inductor

Each gives candidates that the table judges by the same rules. A setting that fails says why.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nbautoml.compress.training import Bench, tune_module
from nbautoml.measure.counting import evaluating
from nbautoml.measure.exported import open_onnx, quiet
from nbautoml.measure.graphs import slim
from nbautoml.measure.timing import as_callable

__all__ = [
    "BATCH",
    "WAYS",
    "Candidate",
    "Job",
    "by_torch",
    "compiled",
    "exported",
    "hushed",
    "lstm_rule",
]

BATCH = 64
N_CALIBRATION = 256


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every way is given.

    Attributes:
        module: trained; a way works on copies.
        bench: data and trainer of a fine-tuning.
        epochs: its passes.
        inputs: training rows, to calibrate on.
    """

    module: nn.Module
    bench: Bench
    epochs: int
    inputs: Tensor

    @property
    def example(self) -> Tensor:
        """The batch that is timed."""
        return self.inputs[:BATCH]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A smaller network.

    Attributes:
        setting: which of the ten.
        runs_in: "ONNX Runtime" or "torch.compile".
        start: opens or compiles it; what it gives is timed.
        answer: its outputs for rows.
        n_bytes: of the file, or of the tensors where there is none.
        module: what was exported, where there is one that could be compiled as well.
    """

    setting: str
    runs_in: str
    start: Callable[[], Callable[[], Any]]
    answer: Callable[[Tensor], Tensor]
    n_bytes: int
    module: nn.Module | None = None


Way = Mapping[str, Callable[[Job], Candidate]]


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Libraries warn about themselves; figures are what is wanted here."""
    logging.disable(logging.WARNING)
    try:
        with quiet():
            yield
    finally:
        logging.disable(logging.NOTSET)


def by_torch(module: nn.Module, example: Tensor) -> bytes:
    """The file that torch's own exporter writes, for whoever has no other; without its traces."""
    batch = ({0: torch.export.Dim.DYNAMIC},)
    with evaluating(module), torch.no_grad(), hushed():
        program = torch.onnx.export(
            module, (example,), dynamo=True, verbose=False, dynamic_shapes=batch
        )
    assert program is not None
    model = program.model_proto
    slim(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def exported(setting: str, data: bytes, job: Job, module: nn.Module | None = None) -> Candidate:
    """A candidate that is an ONNX file."""
    session = open_onnx(data)
    return Candidate(
        setting=setting,
        runs_in="ONNX Runtime",
        start=lambda: as_callable(session, job.example),
        answer=lambda rows: session(rows)[0],
        n_bytes=len(data),
        module=module,
    )


def compiled(setting: str, module: nn.Module, job: Job, *, n_bytes: int = 0) -> Candidate:
    """A candidate that inductor compiles, weights as constants; its size is that of its tensors."""

    def start() -> Callable[[], Any]:
        import torch._inductor.config as inductor

        # Freezing is what the quantised kernels need; the batch is fixed, as it is for the others.
        with inductor.patch(freezing=True), torch.no_grad(), hushed():
            quick = torch.compile(module, dynamic=False)
            for _ in range(3):
                quick(job.example)

        def call() -> Any:
            with torch.no_grad():
                return quick(job.example)

        return call

    def answer(rows: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(rows)
        return found

    return Candidate(
        setting=setting,
        runs_in="torch.compile",
        start=start,
        answer=answer,
        n_bytes=n_bytes or _tensor_bytes(module),
    )


def _tensor_bytes(module: nn.Module) -> int:
    """The least that a file of its tensors could have: no names, no shapes, no container."""
    used = module.state_dict()
    if isinstance(module, torch.fx.GraphModule):  # PT2E leaves the floats behind, unused
        taken = {node.target for node in module.graph.nodes if node.op == "get_attr"}
        used = {name: tensor for name, tensor in used.items() if name in taken}
    return sum(_plain_bytes(tensor) for tensor in used.values())


def _plain_bytes(tensor: Any) -> int:
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(_plain_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return tensor.numel() * tensor.element_size() if isinstance(tensor, Tensor) else 0


# -- Torch-Pruning ------------------------------------------------------------------------------


def lstm_rule() -> Any:
    """How an LSTM loses units: Torch-Pruning 1.6.1 has its axes the wrong way round, and fails."""
    from torch_pruning.pruner.function import LSTMPruner

    class Rule(LSTMPruner):  # type: ignore[misc]
        def prune_out_channels(self, layer: nn.LSTM, idxs: list[int]) -> nn.LSTM:
            n = layer.hidden_size
            kept = sorted(set(range(n)) - set(idxs))
            rows = [gate * n + unit for gate in range(4) for unit in kept]
            for name, weight in list(layer.named_parameters()):
                cut = weight.detach()[rows]
                cut = cut[:, kept] if "weight_hh" in name else cut
                setattr(layer, name, nn.Parameter(cut.clone()))
            layer.hidden_size = len(kept)
            return layer

    return Rule()


def _pruned(share: float, rate: float) -> Callable[[Job], Candidate]:
    def make(job: Job) -> Candidate:
        import torch_pruning as tp

        module = copy.deepcopy(job.module)
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
        heads = {
            part: part.num_heads
            for part in module.modules()
            if isinstance(part, nn.MultiheadAttention)
        }
        # A table of positions: its last axis is the channels'.
        places = [(own, own.ndim - 1) for own in module.parameters(recurse=False)]
        with hushed():
            tp.pruner.BasePruner(
                module,
                job.example,
                importance=tp.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=share,
                ignored_layers=[layers[-1]],
                # Without attention among them it leaves the width of a transformer as it is.
                root_module_types=[nn.Linear, nn.Conv1d, nn.LSTM, nn.MultiheadAttention],
                num_heads=heads,
                unwrapped_parameters=places,
                customized_pruners={nn.LSTM: lstm_rule()},
            ).step()
        tune_module(module, job.bench, epochs=job.epochs, lr=rate * job.bench.settings.lr)
        name = f"{share:.0%} of channels, {rate:g} times the rate"
        return exported(name, by_torch(module, job.example), job, module)

    return make


TORCH_PRUNING: Way = {
    f"{share:.0%} of channels, {rate:g} times the rate": _pruned(share, rate)
    for share in (0.5, 0.7, 0.8, 0.87, 0.91)
    for rate in (1.0, 5.0, 10.0)
}


# -- ONNX Runtime -------------------------------------------------------------------------------


class _Reader:
    """Calibration rows as ONNX Runtime's quantiser asks for them."""

    def __init__(self, data: bytes, job: Job) -> None:
        name = open_onnx(data).inputs[0]
        rows = job.inputs[:N_CALIBRATION].split(32)
        self._feeds = iter([{name: part.numpy()} for part in rows])

    def get_next(self) -> Any:
        return next(self._feeds, None)


def _by_onnxruntime(
    setting: str, quantize: Callable[[Path, Path, Job], None]
) -> Callable[[Job], Candidate]:
    def make(job: Job) -> Candidate:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        with tempfile.TemporaryDirectory() as folder, hushed():
            float_file, ready, made = (Path(folder) / name for name in ("f", "r", "m"))
            float_file.write_bytes(by_torch(job.module, job.example))
            quant_pre_process(float_file, ready, skip_symbolic_shape=True)
            quantize(ready, made, job)
            return exported(setting, made.read_bytes(), job)

    return make


def _dynamic(**options: Any) -> Callable[[Path, Path, Job], None]:
    def quantize(source: Path, target: Path, _job: Job) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        weight = QuantType.QUInt8 if options.get("is_unsigned") else QuantType.QInt8
        quantize_dynamic(
            source, target, per_channel=options.get("per_channel", False), weight_type=weight
        )

    return quantize


def _static(method: str = "MinMax", **options: Any) -> Callable[[Path, Path, Job], None]:
    def quantize(source: Path, target: Path, job: Job) -> None:
        from onnxruntime.quantization import (
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )  # fmt: skip

        quantize_static(
            source,
            target,
            _Reader(source.read_bytes(), job),
            quant_format=QuantFormat[options.get("form", "QDQ")],
            per_channel=options.get("per_channel", True),
            calibrate_method=CalibrationMethod[method],
            activation_type=QuantType.QUInt8,
        )

    return quantize


def _four_bits(source: Path, target: Path, _job: Job) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    work = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True)
    work.process()
    onnx.save(work.model.model, target)


def _half(source: Path, target: Path, _job: Job) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


ONNX_RUNTIME: Way = {
    name: _by_onnxruntime(name, quantize)
    for name, quantize in {
        "int8 dynamic": _dynamic(),
        "int8 dynamic, by channel": _dynamic(per_channel=True),
        "uint8 dynamic": _dynamic(is_unsigned=True),
        "int8 static, min-max": _static(),
        "int8 static, min-max, by tensor": _static(per_channel=False),
        "int8 static, entropy": _static("Entropy"),
        "int8 static, percentile": _static("Percentile"),
        "int8 static, integer operators": _static(form="QOperator"),
        "int4 weights": _four_bits,
        "half floats": _half,
    }.items()
}


# -- torchao ------------------------------------------------------------------------------------


def _quantized(setting: str, config: Callable[[], Any]) -> Callable[[Job], Candidate]:
    def make(job: Job) -> Candidate:
        with hushed():
            from torchao.quantization import quantize_

            module = copy.deepcopy(job.module)
            quantize_(module, config())
        return compiled(setting, module, job)

    return make


def _pt2e(setting: str, *, is_dynamic: bool, is_aware: bool = False) -> Callable[[Job], Candidate]:
    def make(job: Job) -> Candidate:
        with hushed():
            from torchao.quantization.pt2e.quantize_pt2e import (
                convert_pt2e,
                prepare_pt2e,
                prepare_qat_pt2e,
            )  # fmt: skip
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

            rule = x86.get_default_x86_inductor_quantization_config(
                is_qat=is_aware, is_dynamic=is_dynamic
            )
            quantizer = x86.X86InductorQuantizer().set_global(rule)
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            source = copy.deepcopy(job.module)
            graph = torch.export.export(source, (job.example,), dynamic_shapes=shapes).module()
            if is_aware:
                ready = prepare_qat_pt2e(graph, quantizer)
                _train(ready, job)
            else:
                ready = prepare_pt2e(graph, quantizer)
                with torch.no_grad():
                    for part in job.inputs[:N_CALIBRATION].split(32):
                        ready(part)
            module = convert_pt2e(ready)
        return compiled(setting, module, job)

    return make


def _train(ready: Any, job: Job) -> None:
    """As many passes as the others fine-tune; an exported graph has no modes that a trainer sets."""
    settings, data = job.bench.settings, job.bench.data.train
    optimizer = torch.optim.Adam(ready.parameters(), lr=settings.lr)
    steps = job.epochs * -(-data.n // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    source = torch.Generator().manual_seed(job.bench.seed)
    for _ in range(job.epochs):
        order = torch.randperm(data.n, generator=source)
        for inputs, targets in data.batches(settings.batch_size, order=order):
            optimizer.zero_grad()
            job.bench.base_loss(ready(inputs), targets).backward()
            optimizer.step()
            schedule.step()


def _intx(bits: int, *, is_dynamic: bool = False) -> Any:
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerAxis, PerGroup

    kind, by = getattr(torch, f"int{bits}"), PerAxis(0) if bits == 8 else PerGroup(32)
    if is_dynamic:
        return Int8DynamicActivationIntxWeightConfig(weight_dtype=kind, weight_granularity=by)
    return IntxWeightOnlyConfig(weight_dtype=kind, granularity=by)


def _named(name: str) -> Callable[[], Any]:
    def config() -> Any:
        import torchao.quantization

        return getattr(torchao.quantization, name)()

    return config


TORCHAO: Way = {
    "w8": _quantized("int8 weights", _named("Int8WeightOnlyConfig")),
    "w8a8": _quantized("int8 dynamic", _named("Int8DynamicActivationInt8WeightConfig")),
    "w4": _quantized("int4 weights, groups of 32", lambda: _intx(4)),
    "w4a8": _quantized("int8 dynamic, int4 weights", lambda: _intx(4, is_dynamic=True)),
    "w8 axis": _quantized("int8 weights, intx", lambda: _intx(8)),
    "f8": _quantized("float8 weights", _named("Float8WeightOnlyConfig")),
    "pt2e": _pt2e("PT2E int8 static", is_dynamic=False),
    "pt2e dynamic": _pt2e("PT2E int8 dynamic", is_dynamic=True),
    "pt2e aware": _pt2e("PT2E int8 static, aware", is_dynamic=False, is_aware=True),
    "pt2e aware dynamic": _pt2e("PT2E int8 dynamic, aware", is_dynamic=True, is_aware=True),
}

WAYS: Mapping[str, Way] = {
    "Torch-Pruning": TORCH_PRUNING,
    "ONNX Runtime": ONNX_RUNTIME,
    "torchao": TORCHAO,
}
