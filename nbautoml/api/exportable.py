"""Whether a model can become a file at all: asked once, before anything is trained for one.

What quantises works on an exported file. Of a model whose forward branches on values of tensors there
is none, so that each quantised model of a search would be trained and then fail, for the same reason.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nbautoml.api.ask import Ask
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.techniques import Quantization
from nbautoml.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.spec.data import DataSpec

__all__ = ["with_forms_that_work"]


def with_forms_that_work(
    ask: Ask, module: nn.Module, data: DataSpec
) -> tuple[Ask, tuple[str, ...]]:
    """The question without quantisation where the model cannot be exported, and a note that says so.

    A model that nobody wants to quantise is not exported here: it takes a second or more.

    Raises:
        ModelError: it cannot be exported, and quantisation was asked for by its name.
        MissingExtraError: likewise, and its packages are not installed.
    """
    if not _may_be_quantised(ask):
        return ask, ()
    problem = _why_not_exported(module, ask, data)
    if problem is None:
        return ask, ()
    if ask.options["is_named"]:
        raise ModelError(
            f"{type(module).__name__} cannot be quantised: {problem.message}",
            hint="leave quantize out, and it is compressed and measured eagerly; or avoid Python "
            "branches on values of tensors in forward",
        ) from problem
    among = tuple(word for word in ask.options["among"] if word != "quantize")
    note = (
        f"{problem.message}; the search tries no quantised forms, and latency and size are those "
        "of the eager module"
    )
    return dataclasses.replace(ask, options={**ask.options, "among": among}), (note,)


def _may_be_quantised(ask: Ask) -> bool:
    """Whether a file is needed; packages that are missing are refused where they were asked for."""
    method = ask.options["method"]
    if method != "auto":
        steps = [step for step in method if isinstance(step, Quantization)]
        for step in steps:
            QUANTIZERS[step.backend].need()
        return bool(steps)
    return "quantize" in ask.options["among"] and not QUANTIZERS[ask.options["quantizer"]].missing


def _why_not_exported(module: nn.Module, ask: Ask, data: DataSpec) -> ModelError | None:
    from nbautoml.data import open_data
    from nbautoml.measure import export_onnx, fixed_threads, with_rows
    from nbautoml.train.batches import first_batch

    example, _ = first_batch(open_data(data, ask.home.data_dir, device="cpu").train, 2)
    example = with_rows(example, 2)  # of one row the exporter would make a constant
    try:
        with fixed_threads(1):
            export_onnx(module, example)
    except ModelError as error:
        return error
    return None
