"""The table of libraries that quantise: what each offers, and what it needs. Pure data, no torch.

::

    onnxruntime   on a file: int8 in all modes, int4, half floats
    torchao       on torch's graph, by PT2E: int8 static, with or without training

Both leave a file that ONNX Runtime runs, so that either may take the other's place. A third one is a
row here and a class behind `nbautoml.compress.quantization.backend.Backend`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from nbautoml.compress.checks import one_of
from nbautoml.errors import MissingExtraError

__all__ = ["QUANTIZERS", "Quantizer"]


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """A row of the table.

    Attributes:
        name: as ``Quantization(backend=...)`` and ``--quantizer`` say it.
        backend: "module:class" of its `Backend`.
        forms: that a search tries, in this order: "int8_static" and so on.
        numbers: that it makes.
        modes: of its int8.
        calibrations: by which it finds the ranges of activations.
        searched: those of them that a search tries.
        packages: that it needs.
        extra: of nbautoml, that brings them.
    """

    name: str
    backend: str
    forms: tuple[str, ...]
    numbers: tuple[str, ...]
    modes: tuple[str, ...]
    calibrations: tuple[str, ...]
    searched: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str

    def check(self, to: str, mode: str, calibration: str) -> None:
        """Refuse what this library does not do.

        Raises:
            RecipeError: with what it does.

        >>> QUANTIZERS["torchao"].check("int4", "weights", "minmax")
        Traceback (most recent call last):
            ...
        nbautoml.errors.RecipeError: to of torchao is 'int4'
        Hint: did you mean 'int8'? One of: int8
        """
        one_of(f"to of {self.name}", to, self.numbers)
        if to == "int8":
            one_of(f"mode of {self.name}", mode, self.modes)
            if mode in {"static", "aware"}:
                one_of(f"calibration of {self.name}", calibration, self.calibrations)

    @property
    def missing(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed."""
        return tuple(name for name in self.packages if importlib.util.find_spec(name) is None)

    def need(self) -> None:
        """Refuse to go on without its packages.

        Raises:
            MissingExtraError: names them, and the command that installs them.
        """
        if self.missing:
            raise MissingExtraError(
                f"quantising by {self.name} needs {', '.join(self.missing)}",
                hint=f"pip install 'nbautoml[{self.extra}]'",
            )


QUANTIZERS: Mapping[str, Quantizer] = {
    row.name: row
    for row in (
        Quantizer(
            name="onnxruntime",
            backend="nbautoml.compress.quantization.runtime:Runtime",
            forms=(
                "int8_static",
                "int8_dynamic",
                "int8_weights",
                "int4_weights",
                "fp16",
                "int8_aware",
            ),
            numbers=("int8", "int4", "fp16", "bf16"),
            modes=("static", "dynamic", "weights", "aware"),
            calibrations=("minmax", "percentile", "entropy", "histogram"),
            searched=("minmax", "percentile", "entropy"),
            packages=("onnx", "onnxruntime", "onnxscript"),
            extra="compress",
        ),
        Quantizer(
            name="torchao",
            backend="nbautoml.compress.quantization.pt2e:Pt2e",
            forms=("int8_static", "int8_aware"),
            numbers=("int8",),
            modes=("static", "aware"),
            calibrations=("minmax", "histogram"),
            searched=("minmax", "histogram"),
            packages=("torchao", "onnx", "onnxruntime", "onnxscript"),
            extra="torchao",
        ),
    )
}
