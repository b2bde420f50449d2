"""The panel's wire, declared once: `js/src/protocol.ts` is generated from this file.

Two comms carry it, because a kernel routes messages back to whoever last published on a comm::

    kernel  --- events, constant comm id, to all front ends -->  browser    Tick, SnapshotMessage, Welcome, Ack, ...
    kernel  <-- commands, a comm that the browser opens -------  browser    Hello, Bye, CommandMessage, CurvesRequest

The anywidget carries the same messages as its custom messages.

How a browser keeps up, by the record's own counter ``seq``::

    delta.base == have   apply it, have = delta.seq  (seq may equal base: only the header is new)
    delta.seq  <= have   ignore it
    otherwise            a gap: say hello with what you have, once a gap; a snapshot comes back

JSON has no NaN: a number that is not finite travels as null.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from nbautoml.widgets.protocol_parts import Aim, LayerRow, LayerSide, TrialMessage, TrialRequest

__all__ = [
    "COMMANDS_TARGET",
    "EVENTS_COMM_ID",
    "EVENTS_TARGET",
    "FINAL_STATES",
    "MIME",
    "PROTOCOL_VERSION",
    "TYPES",
    "Ack",
    "Aim",
    "Best",
    "Bye",
    "Column",
    "CommandMessage",
    "Counts",
    "Curves",
    "CurvesRequest",
    "Delta",
    "FromBrowser",
    "Header",
    "Hello",
    "LayerRow",
    "LayerSide",
    "Line",
    "LinesMessage",
    "LogEntry",
    "Saved",
    "Snapshot",
    "SnapshotMessage",
    "Tick",
    "ToBrowser",
    "TrialMessage",
    "TrialRequest",
    "Trials",
    "Unknown",
    "Welcome",
]

MIME = "application/vnd.nbautoml.run.v1+json"
PROTOCOL_VERSION = 1
EVENTS_TARGET = "nbautoml.events"
EVENTS_COMM_ID = "nbautoml.events"
COMMANDS_TARGET = "nbautoml.commands"
# States in which nothing more will come unless somebody resumes the run.
FINAL_STATES = ("finished", "stopped", "failed", "interrupted")


class Counts(TypedDict):
    """How many trials are in each state."""

    waiting: int
    running: int
    complete: int
    stopped_early: int
    failed: int
    cancelled: int


class Best(TypedDict):
    """The best trial so far."""

    trial: int
    value: float
    params: dict[str, Any]


class Header(TypedDict):
    """What stands above the table. Times are seconds since 1970 (UTC), durations seconds.

    ``n_trials`` and ``wall_seconds`` are the budget; ``eta_s`` is the estimated time that is left;
    ``data`` is a line for people; ``plan`` says how the trials are executed and why. With several
    objectives ``objectives`` has their names, ``aims`` what is known of each, and ``front`` the
    trials that none beats in all.
    """

    name: str
    kind: str
    state: str
    message: str
    metric: str
    direction: Literal["minimize", "maximize"]
    task: str
    data: str
    device: str
    plan: str
    sampler: str
    stopper: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    eta_s: float | None
    elapsed_s: float
    counts: Counts
    n_trials: int | None
    wall_seconds: float | None
    best: Best | None
    objectives: NotRequired[list[str]]
    aims: NotRequired[list[Aim]]
    front: NotRequired[list[int]]


class Column(TypedDict):
    """A column of the trial table beside number, state, value, epoch and duration."""

    key: str
    label: str
    group: Literal["param", "metric"]
    kind: Literal["float", "int", "text"]
    unit: NotRequired[Literal["", "ms", "bytes", "mWh"]]


class Trials(TypedDict):
    """Rows of the table by column: all lists are as long as ``number``.

    ``value`` is the first objective. ``params`` holds null where a parameter was not active,
    ``metrics`` where a metric was not measured. ``error`` is sparse, by trial number.
    """

    number: list[int]
    state: list[str]
    value: list[float | None]
    epoch: list[int | None]
    duration_s: list[float | None]
    params: dict[str, list[Any]]
    metrics: dict[str, list[float | None]]
    error: dict[str, str]


class Line(TypedDict):
    """One curve: ``name`` of ``trial`` at ``x``. In a delta, a piece to be appended to that curve.

    ``begins`` stands in deltas only: false says that there are older points. A client that does not
    hold them leaves the piece out (it would show half a curve) and asks for the whole when it needs it.
    """

    trial: int
    name: str
    x: list[float]
    y: list[float | None]
    begins: NotRequired[bool]


class Curves(TypedDict):
    """The curves that a snapshot holds, decimated.

    ``names`` are all quantities that have curves (others are asked for by `CurvesRequest`);
    those in ``step_names`` are measured at optimiser steps, the rest at epochs.
    """

    metric: str
    names: list[str]
    step_names: list[str]
    lines: list[Line]


class LogEntry(TypedDict):
    """A line of the run's log."""

    time: float
    level: str
    text: str
    trial: int | None


class Snapshot(TypedDict):
    """A run at one moment, bounded in size: enough to draw everything with no kernel.

    ``n_trials_left_out`` rows were dropped to keep it small; the best and the newest are there.
    ``log`` holds the last 50 lines.
    """

    v: int
    run: str
    seq: int
    taken_at: float
    header: Header
    columns: list[Column]
    trials: Trials
    curves: Curves
    log: list[LogEntry]
    n_trials_left_out: int


class Saved(TypedDict):
    """What the output of a cell holds: the snapshot as one compact JSON text.

    A notebook file puts every element of a list on a line of its own, indented: a snapshot of
    200 KB would be saved as 500 KB. A text stays one line.
    """

    v: int
    run: str
    taken_at: float
    text: str


class Delta(TypedDict):
    """What happened to one run since ``base``.

    In this order: drop the lines of the trials in ``restarted`` (they run again); replace or add
    the rows in ``trials``; append ``lines`` and ``log``; take ``header`` as it is, and ``columns``
    and ``names`` where they are given (a new one appeared). ``final``: nothing more will come.
    """

    run: str
    base: int
    seq: int
    taken_at: float
    header: Header
    columns: NotRequired[list[Column]]
    names: NotRequired[list[str]]
    step_names: NotRequired[list[str]]
    restarted: list[int]
    trials: Trials
    lines: list[Line]
    log: list[LogEntry]
    final: bool


class Tick(TypedDict):
    """News of all runs, twice a second, and up to ten times where something was asked; ``to`` is null: for everybody."""

    type: Literal["tick"]
    v: int
    to: str | None
    runs: list[Delta]


class SnapshotMessage(TypedDict):
    """The answer to a `Hello` whose ``have`` is not the newest."""

    type: Literal["snapshot"]
    v: int
    to: str
    snapshot: Snapshot


class Welcome(TypedDict):
    """The answer to each `Hello`, and sent anew when the writer changes.

    Exactly one client a run is its ``writer``: the one that may put newer snapshots into the notebook.
    ``seq`` is the newest that the kernel knows.
    """

    type: Literal["welcome"]
    v: int
    to: str
    cid: str | None
    run: str
    seq: int
    writer: bool


class Ack(TypedDict):
    """The answer to each `CommandMessage` (and to what cannot be read, where it has a ``cid``)."""

    type: Literal["ack"]
    v: int
    to: str
    cid: str
    ok: bool
    text: str


class Unknown(TypedDict):
    """This kernel finds no record of the run: stay with the saved snapshot."""

    type: Literal["unknown"]
    v: int
    to: str
    cid: str | None
    run: str


class LinesMessage(TypedDict):
    """The answer to a `CurvesRequest`."""

    type: Literal["lines"]
    v: int
    to: str
    cid: str
    run: str
    name: str
    lines: list[Line]


class Hello(TypedDict):
    """A view of ``run`` wants to be live; ``have`` is the seq that it shows, null for none.

    ``client`` is one for all views of a run in one document; say it again after a gap, and each
    30 s while the run goes on, as a sign of life.
    """

    type: Literal["hello"]
    v: int
    client: str
    cid: str
    run: str
    have: int | None


class Bye(TypedDict):
    """The client shows the run no more."""

    type: Literal["bye"]
    client: str
    run: str


class CommandMessage(TypedDict):
    """A button: ``command`` is one of the record's commands, e.g. ``{"type": "CancelTrial", "trial": 3}``."""

    type: Literal["command"]
    client: str
    cid: str
    run: str
    command: dict[str, Any]


class CurvesRequest(TypedDict):
    """Curves of ``name`` for some trials, at higher resolution than the snapshot's."""

    type: Literal["curves"]
    client: str
    cid: str
    run: str
    trials: list[int]
    name: str


ToBrowser: TypeAlias = (
    Tick | SnapshotMessage | Welcome | Ack | Unknown | LinesMessage | TrialMessage
)
FromBrowser: TypeAlias = Hello | Bye | CommandMessage | CurvesRequest | TrialRequest

# In the order in which the generated file lists them.
TYPES: tuple[type, ...] = (
    Counts,
    Best,
    Aim,
    Header,
    Column,
    Trials,
    Line,
    Curves,
    LogEntry,
    Snapshot,
    Saved,
    Delta,
    Tick,
    SnapshotMessage,
    Welcome,
    Ack,
    Unknown,
    LinesMessage,
    LayerSide,
    LayerRow,
    TrialMessage,
    Hello,
    Bye,
    CommandMessage,
    CurvesRequest,
    TrialRequest,
)
