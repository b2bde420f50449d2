"""Quantisation: smaller numbers in an ONNX file.

::

    piece.module --export--> float file --+-- static    ranges.py, calibration.py, integers.py
                                          +-- dynamic   integers.py
                                          '-- weights   weights.py (int8, int4, fp16, bf16)
    piece.module --torchao's PT2E--> pt2e.py, norms.py
                  which layers stay in float: sensitivity.py; around both: steps.py
"""

from __future__ import annotations

from importlib import import_module

from nbautoml.compress.piece import Piece
from nbautoml.compress.quantization.backend import Backend
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.techniques import Quantization
from nbautoml.compress.training import Bench
from nbautoml.errors import CompressError

__all__ = ["Backend", "quantize"]


def quantize(piece: Piece, config: Quantization, bench: Bench) -> Piece:
    """Quantise a piece: the handler of `Quantization`.

    Raises:
        CompressError: it is quantised already, the backend cannot do what is asked, there are no
            rows to calibrate with, or the module cannot be exported.
        MissingExtraError: the backend's library is not installed.
    """
    if piece.onnx is not None:
        raise CompressError(
            "the model is quantised already", hint="quantise the model that it was made from"
        )
    if config.to == "int4" and config.mode != "weights":
        raise CompressError(
            f'int4 is for weights alone, and the mode is "{config.mode}"',
            hint='say Quantization("int4", mode="weights")',
        )
    row = QUANTIZERS[config.backend]
    row.need()
    place, _, name = row.backend.partition(":")
    backend: Backend = getattr(import_module(place), name)()
    return backend.quantize(piece, config, bench)
