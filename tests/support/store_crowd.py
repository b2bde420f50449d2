"""Processes that open a new store at the same moment, again and again (F27)."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from nbautoml.errors import NbAutomlError
from nbautoml.store import Home, Owner
from nbautoml.testing.store_events import tiny_recipe, whole_trial

__all__ = ["crowd"]


def crowd(place: Path, *, n_processes: int, n_rounds: int) -> dict[int, list[dict[str, Any]]]:
    """What each process saw in each round: process -> a dict a round."""
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(n_processes), context.Queue()
    processes = [
        context.Process(target=_member, args=(place, n, n_rounds, gate, answers))
        for n in range(n_processes)
    ]
    for process in processes:
        process.start()
    try:
        found = dict(answers.get(timeout=900) for _ in processes)
    finally:
        for process in processes:
            process.join(20)
            if process.is_alive():
                process.kill()
    return found


def _member(place: Path, member: int, n_rounds: int, gate: Any, answers: Any) -> None:
    seen = []
    for n in range(n_rounds):
        gate.wait(timeout=300)
        try:
            seen.append(_round(Home(place / f"home {n}"), member))
        except Exception as error:
            seen.append({"error": f"{type(error).__name__}: {error}"})
        gate.wait(timeout=300)  # all are there still
        seen[-1]["runs"] = sorted(info.name for info in Home(place / f"home {n}").runs())
    answers.put((member, seen))


def _round(home: Home, member: int) -> dict[str, Any]:
    """A run of its own in a home that nobody has made, then the one that all want."""
    own = home.create_run(tiny_recipe(f"run {member}"), None)
    with own.writer(Owner.this_process()) as writer:
        writer.create(own.recipe())
        for trial in range(3):
            writer.apply(whole_trial(trial))
    with own.reader() as reader:
        n_trials = len(reader.trials())
    try:
        home.create_run(tiny_recipe("wanted by all"), None)
        wanted = "made"
    except NbAutomlError as error:
        wanted = f"{error.message} / {error.hint}"
    for info in home.runs():
        with home.find(info.id).reader() as reader:
            reader.trials()
    return {"n_trials": n_trials, "wanted": wanted}
