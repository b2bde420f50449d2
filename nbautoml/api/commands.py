"""Steering a run: commands into its inbox, and their acknowledgement out of its record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nbautoml.errors import EngineError
from nbautoml.events import Command, Pause, Resume
from nbautoml.store.peek import peek

if TYPE_CHECKING:
    from nbautoml.store import Home, RunFolder, RunInfo

__all__ = ["command_run", "resume_run"]

# An acknowledgement comes within a batch, some 0.1 s; a kernel is not held up longer than this.
ACK_LIMIT_S = 3.0
ACK_POLL_S = 0.02
# A cold supervisor takes a run within some four seconds.
TAKEN_LIMIT_S = 15.0


def command_run(folder: RunFolder, command: Command, info: RunInfo) -> None:
    """Ask something of a run, and wait a moment for its answer.

    A run that is only about to start obeys later; so does one that is too busy to answer now.

    Raises:
        EngineError: the run is over, or it refuses; says why.
    """
    from nbautoml.engine.client import send

    word = type(command).__name__.lower()
    if info.state in {"finished", "stopped", "failed"}:
        raise EngineError(
            f"run {info.name!r} is {info.state}, there is nothing to {_verb(command)}",
            hint="a new run can start from its best: %automl help tune, --enqueue",
        )
    if info.state == "interrupted":
        raise EngineError(
            f"run {info.name!r} is interrupted: nobody would hear {word!r}",
            hint=f"%automl resume {info.name} goes on with it",
        )
    if isinstance(command, Pause) and info.state == "paused":
        raise EngineError(
            f"run {info.name!r} is paused already", hint=f"%automl resume {info.name} goes on"
        )
    command_id = send(folder, command)
    refusal = _answer(folder, command_id) if info.state != "queued" else ""
    if refusal:
        raise EngineError(f"run {info.name!r} refused to {_verb(command)}: {refusal}")


def resume_run(home: Home, folder: RunFolder, info: RunInfo, *, run_code: bool = False) -> None:
    """Go on with a run that is paused, or whose supervisor is gone; returns once it goes on.

    Until the new supervisor has entered the record, the run would read as it was left.

    Raises:
        EngineError: the run goes on already, or is finished, or is somebody else's code.
    """
    from nbautoml.engine.client import resume

    if info.state == "running":
        raise EngineError(f"run {info.name!r} is running", hint=f"%automl show {info.name}")
    if info.state == "paused":
        command_run(folder, Resume(), info)
    else:
        resume(home, folder, run_code=run_code)
        until = time.monotonic() + TAKEN_LIMIT_S
        while peek(folder).state == info.state and time.monotonic() < until:
            time.sleep(ACK_POLL_S)


def _answer(folder: RunFolder, command_id: str) -> str:
    """Why the command was refused; "" when it was obeyed, or nobody answered in time."""
    until = time.monotonic() + ACK_LIMIT_S
    with folder.reader() as reader:
        while time.monotonic() < until:
            for row in reader.commands():
                if row.command_id == command_id:
                    return row.refusal
            time.sleep(ACK_POLL_S)
    return ""


def _verb(command: Command) -> str:
    return {
        "CancelTrial": "cancel",
        "Enqueue": "enqueue",
        "Stop": "stop",
        "Pause": "pause",
        "Resume": "resume",
    }.get(type(command).__name__, type(command).__name__)
