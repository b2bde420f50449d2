"""Steering a run: commands into its inbox, and their acknowledgement out of its record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nbautoml.errors import EngineError
from nbautoml.events import Command, Pause, Resume
from nbautoml.spec.budget import Budget
from nbautoml.store.peek import peek
from nbautoml.store.rows import spent_seconds

if TYPE_CHECKING:
    from nbautoml.store import Home, RunFolder, RunInfo

__all__ = ["command_run", "further_budget", "resume_run"]

# An acknowledgement comes within a batch, some 0.1 s; a kernel is not held up longer than this.
ACK_LIMIT_S = 3.0
ACK_POLL_S = 0.02
# A cold supervisor takes a run within some two seconds.
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
            hint=""
            if info.kind == "train"
            else f"%automl resume {info.name} --more 20 goes on with twenty more trials",
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


def resume_run(
    home: Home,
    folder: RunFolder,
    info: RunInfo,
    *,
    run_code: bool = False,
    budget: Budget | None = None,
) -> None:
    """Go on with a run that is paused, over, or whose supervisor is gone; returns once it goes on.

    Until the new supervisor has entered the record, the run would read as it was left.

    Args:
        home: where the run lies.
        folder: of the run.
        info: as it was seen last.
        run_code: see `nbautoml.engine.client.resume`.
        budget: what it may spend from now on (`further_budget`); None for its own.

    Raises:
        EngineError: the run goes on already, or is finished, or is somebody else's code.
    """
    from nbautoml.engine.client import resume

    if info.state == "running" or (info.state in {"paused", "queued"} and budget is not None):
        hint = f"%automl show {info.name}"
        if budget is not None:
            hint = f"when it is over: %automl resume {info.name} --more N; %automl stop ends it now"
        raise EngineError(f"run {info.name!r} is {info.state}", hint=hint)
    if info.state == "paused":
        command_run(folder, Resume(), info)
    else:
        resume(home, folder, run_code=run_code, budget=budget)
        until = time.monotonic() + TAKEN_LIMIT_S
        while peek(folder).state == info.state and time.monotonic() < until:
            time.sleep(ACK_POLL_S)


def further_budget(folder: RunFolder, more: int | None, seconds: float | None) -> Budget | None:
    """What a run may spend in all, so that it has as much left as is asked.

    Args:
        folder: of the run.
        more: trials beyond those that there are.
        seconds: of time beyond what was spent.

    Returns:
        The budget; None where neither is asked.

    Raises:
        EngineError: the run has no further trials.
    """
    if more is None and seconds is None:
        return None
    recipe = folder.recipe()
    if recipe.kind == "train":
        raise EngineError(
            f"run {recipe.name!r} trains one model, it has no further trials",
            hint="run the cell again under another name, with more --epochs",
        )
    if recipe.execution.deterministic:
        raise EngineError(
            f"run {recipe.name!r} is deterministic: its table would hang on when you asked for more",
            hint="run the cell again under another name, with more --trials",
        )
    with folder.reader() as reader:
        rows = reader.trials()
    return Budget(
        n_trials=None if more is None else len(rows) + more,
        wall_seconds=None if seconds is None else spent_seconds(rows) + seconds,
        trial_seconds=recipe.budget.trial_seconds,
    )


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
