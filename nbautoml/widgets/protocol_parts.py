"""Parts of the panel's wire: objectives beside each other, and what was kept of one trial.

They belong to `nbautoml.widgets.protocol`, which is where to import them from.
"""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["Aim", "LayerRow", "LayerSide", "TrialMessage", "TrialRequest"]


class Aim(TypedDict):
    """One of several objectives: the column ``key`` of the metrics, and which way is better.

    ``least`` and ``most`` are the limits that were asked for; ``before`` is what the model had that
    the run began with. ``unit`` is "" for plain numbers; bytes are shown as KB and MB.
    """

    key: str
    label: str
    unit: Literal["", "ms", "bytes", "mWh"]
    direction: Literal["minimize", "maximize"]
    least: float | None
    most: float | None
    before: float | None


class LayerSide(TypedDict):
    """A layer as it was, or as it is: null where it was not written or was no number."""

    weights: float | None
    macs: float | None
    bits: float | None
    out: float | None
    ms: float | None


class LayerRow(TypedDict):
    """A layer before and after; null on the side where it is not there."""

    name: str
    kind: str
    before: LayerSide | None
    after: LayerSide | None


class TrialMessage(TypedDict):
    """The answer to a `TrialRequest`.

    ``use`` is the Python line that gives the trial's model, "" where none was kept. ``layers`` are
    those of a compressed model, ``n_layers_left_out`` of which were too many; ``problem`` says why
    a table that was written cannot be shown.
    """

    type: Literal["trial"]
    v: int
    to: str
    cid: str
    run: str
    trial: int
    use: str
    layers: list[LayerRow]
    n_layers_left_out: int
    problem: str


class TrialRequest(TypedDict):
    """What was kept of a trial that ended: its model, and the layers of that."""

    type: Literal["trial"]
    client: str
    cid: str
    run: str
    trial: int
