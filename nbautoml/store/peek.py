"""One line about a run, read with the standard library: lists of runs must not load SQLAlchemy."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from nbautoml.errors import NbAutomlError
from nbautoml.store.folder import RunFolder
from nbautoml.store.owner import Owner
from nbautoml.store.rows import LIVE_RUN_STATES, RunInfo
from nbautoml.store.sqlite_files import SQLITE_ERRORS, connect_read_only, sqlite_store_error
from nbautoml.store.urls import SQLITE_PREFIX, sqlite_path

__all__ = ["peek", "shown_state"]

_RUN = """
SELECT key, state, message, owner_pid, owner_started, owner_host, heartbeat, started_at, ended_at
FROM run WHERE id = ?
"""
_COUNTS = """
SELECT count(*), count(ended_at),
       coalesce(min(value) FILTER (WHERE state = 'complete'),
                min(value) FILTER (WHERE state = 'stopped_early')),
       coalesce(max(value) FILTER (WHERE state = 'complete'),
                max(value) FILTER (WHERE state = 'stopped_early'))
FROM trial WHERE run = ?
"""
_VALUES = "SELECT objective_values FROM trial WHERE state = 'complete'"


def shown_state(state: str, owner: Owner | None, heartbeat: float | None) -> str:
    """The state that a person should see: a run whose owner is gone is interrupted."""
    if state not in LIVE_RUN_STATES:
        return state
    if owner is None:
        return state if state == "queued" else "interrupted"
    return state if owner.is_alive(heartbeat) else "interrupted"


def peek(folder: RunFolder) -> RunInfo:
    """What a list of runs shows; never raises for a record that is damaged."""
    about: dict[str, Any] = {"id": folder.id, "path": folder.path, "state": "queued"}
    try:
        recipe = folder.recipe_json()
    except NbAutomlError as error:
        return RunInfo(**about, name="", kind="", problem=error.message)
    about |= {
        "name": str(recipe.get("name", "")),
        "kind": str(recipe.get("kind", "")),
        "created_at": float(recipe.get("created_at") or 0.0),
    }
    try:
        url = folder.record_url
        found = _local(folder) if url.startswith(SQLITE_PREFIX) else _remote(folder)
    except NbAutomlError as error:
        return RunInfo(**(about | {"state": "failed"}), problem=error.message)
    low, high = found.pop("low", None), found.pop("high", None)
    about |= found
    objectives = _objectives(recipe)
    is_max = bool(objectives) and objectives[0].get("direction") == "maximize"
    bests = _bests(folder, objectives) if len(objectives) > 1 and low is not None else {}
    return RunInfo(**about, best_value=high if is_max else low, bests=bests)


def _objectives(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    stated = recipe.get("objectives")
    return [one for one in stated if isinstance(one, dict)] if isinstance(stated, list) else []


def _bests(folder: RunFolder, objectives: list[dict[str, Any]]) -> dict[str, float]:
    """The best of each objective over the complete trials."""
    url = folder.record_url
    try:
        rows = (
            _values(sqlite_path(url)) if url.startswith(SQLITE_PREFIX) else _remote_values(folder)
        )
    except NbAutomlError:
        return {}  # the list has the first one's
    rows = [row for row in rows if len(row) == len(objectives)]
    found = {}
    for at, one in enumerate(objectives if rows else []):
        best = max if one.get("direction") == "maximize" else min
        found[str(one.get("metric"))] = best(row[at] for row in rows)
    return found


def _values(path: Path) -> list[list[float]]:
    with contextlib.closing(connect_read_only(path)) as connection:
        try:
            return [json.loads(text) for (text,) in connection.execute(_VALUES)]
        except (*SQLITE_ERRORS, ValueError, RecursionError) as error:
            raise sqlite_store_error(error, path) from error


def _remote_values(folder: RunFolder) -> list[list[float]]:
    with folder.reader() as reader:
        return [list(row.values) for row in reader.trials() if row.state == "complete"]


def _local(folder: RunFolder) -> dict[str, Any]:
    path = sqlite_path(folder.record_url)
    if not path.is_file():
        return {}
    with contextlib.closing(connect_read_only(path)) as connection:
        try:
            row = connection.execute(_RUN, (folder.id,)).fetchone()
            if row is None:
                return {}
            key, state, message, pid, started, host, heartbeat, started_at, ended_at = row
            counts = connection.execute(_COUNTS, (key,)).fetchone()
        except SQLITE_ERRORS as error:
            raise sqlite_store_error(error, path) from error
    owner = Owner(pid, started, host) if pid is not None else None
    return {
        "state": shown_state(state, owner, heartbeat),
        "message": message,
        "started_at": started_at,
        "ended_at": ended_at,
        **dict(zip(("n_trials", "n_finished", "low", "high"), counts, strict=True)),
    }


def _remote(folder: RunFolder) -> dict[str, Any]:
    with folder.reader() as reader:
        run = reader.run()
        return {
            "state": run.state,
            "message": run.message,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            **reader.counts(),
        }
