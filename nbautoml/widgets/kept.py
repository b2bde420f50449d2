"""What was kept of a trial: the line of Python that gives its model, and the layers of a compressed one.

A run's folder may have come from anybody. Of the file with the layers nothing is believed: its
bytes have to be those that the record knows, numbers are numbers, and texts are cut and made
printable before they go to a browser.
"""

from __future__ import annotations

import json
import keyword
import math
from collections.abc import Sequence
from typing import Any, TypedDict

import __main__
from nbautoml.errors import StoreError
from nbautoml.store import ArtifactRow, load_artifact
from nbautoml.widgets.labels import one_line
from nbautoml.widgets.protocol import LayerRow, LayerSide
from nbautoml.widgets.source import RecordReader

__all__ = ["KeptOfTrial", "kept_of_trial", "layers_in", "use_line"]

_MODELS = ("weights", "model")
_LAYERS = "layers"
_VERSION = 1
_MAX_BYTES = 2_000_000
_MAX_LAYERS = 500


class KeptOfTrial(TypedDict):
    """The fields of a `TrialMessage` that the record knows."""

    use: str
    layers: list[LayerRow]
    n_layers_left_out: int
    problem: str


def kept_of_trial(reader: RecordReader, trial: int, *, run_id: str, name: str) -> KeptOfTrial:
    """What the files of a trial say.

    Raises:
        StoreError: the record cannot be read. A damaged file is told in ``problem``.
    """
    files = reader.artifacts(trial)
    has_model = any(file.kind in _MODELS for file in files)
    kept: KeptOfTrial = {
        "use": use_line(trial, run_id=run_id, name=name) if has_model else "",
        "layers": [],
        "n_layers_left_out": 0,
        "problem": "",
    }
    try:
        layers = layers_in(files)
    except StoreError as error:
        kept["problem"] = one_line(error.message)
    else:
        kept["layers"] = layers[:_MAX_LAYERS]
        kept["n_layers_left_out"] = max(len(layers) - _MAX_LAYERS, 0)
    return kept


def layers_in(files: Sequence[ArtifactRow]) -> list[LayerRow]:
    """The layers of a compressed model before and after.

    Args:
        files: that were kept of its trial; without a table among them there are no layers.

    Raises:
        StoreError: the table is damaged.
    """
    tables = [file for file in files if file.kind == _LAYERS]
    try:
        return _read_layers(tables[-1]) if tables else []
    except ValueError as error:
        raise StoreError(str(error)) from None


def use_line(trial: int, *, run_id: str, name: str) -> str:
    """Python that gives the model of a trial, wherever it is pasted in this kernel.

    >>> use_line(8, run_id="20260901-101500-a1b2c3", name="small")
    "import nbautoml; model = nbautoml.load('20260901-101500-a1b2c3').model(8)"
    """
    bound = (
        vars(__main__).get(name) if name.isidentifier() and not keyword.iskeyword(name) else None
    )
    if getattr(bound, "id", None) == run_id:
        return f"model = {name}.model({trial})"
    return f"import nbautoml; model = nbautoml.load({run_id!r}).model({trial})"


def _read_layers(row: ArtifactRow) -> list[LayerRow]:
    if row.n_bytes > _MAX_BYTES:
        raise ValueError(f"the table of layers has {row.n_bytes:,} bytes, more than {_MAX_BYTES:,}")
    try:
        found = json.loads(load_artifact(row))
    except (ValueError, RecursionError):
        raise ValueError("the table of layers is no JSON") from None
    table = found if isinstance(found, dict) else {}
    if table.get("version") != _VERSION:
        version = one_line(table.get("version"), 20)
        raise ValueError(f"the table of layers has version {version}, not {_VERSION}")
    layers = table.get("layers")
    rows = layers if isinstance(layers, list) else []
    return [_layer(layer) for layer in rows if isinstance(layer, dict)]


def _layer(found: dict[str, Any]) -> LayerRow:
    return {
        "name": one_line(found.get("name", ""), 100),
        "kind": one_line(found.get("kind", ""), 60),
        "before": _side(found.get("before")),
        "after": _side(found.get("after")),
    }


def _side(found: Any) -> LayerSide | None:
    if not isinstance(found, dict):
        return None
    return {
        "weights": _number(found.get("weights")),
        "macs": _number(found.get("macs")),
        "bits": _number(found.get("bits")),
        "out": _number(found.get("out")),
        "ms": _number(found.get("ms")),
    }


def _number(found: Any) -> float | None:
    """A number of a layer as it is shown: none of them can be negative."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    return found if 0 <= found <= 1e300 and math.isfinite(found) else None
