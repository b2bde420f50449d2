"""Where quantisation is done: any of several libraries, each behind the same seam."""

from __future__ import annotations

from typing import Protocol

from nbautoml.compress.piece import Piece
from nbautoml.compress.techniques import Quantization
from nbautoml.compress.training import Bench

__all__ = ["Backend"]


class Backend(Protocol):
    """A library that quantises; `nbautoml.compress.quantizers` has a row for each.

    Obligations: `quantize` sets ``piece.onnx`` to a file that ONNX Runtime runs on a CPU with any
    number of rows and the module's own inputs and outputs, and ``piece.bits`` for every layer
    whose weights it made smaller; it notes every layer with weights that it left alone, by name.
    The same piece, config and seed give the same bytes. What it cannot do it refuses with
    `CompressError` before it changes anything.
    """

    def quantize(self, piece: Piece, config: Quantization, bench: Bench) -> Piece:
        """The piece with its file."""
