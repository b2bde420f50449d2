"""Train some finished trials of a run once more, and say which give the same numbers.

They are trained as the run trained them: its recipe, capsule, data and seeds, in a worker with as
many threads. Nothing is written to the run.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbautoml.api.trials import best_row
from nbautoml.api.verification import TrialCheck, Verification, compare_trial
from nbautoml.api.versions import versions
from nbautoml.api.waiting import ProgressLine
from nbautoml.errors import NbAutomlError
from nbautoml.events import EpochEnded, Event, StepsDone, TrialEnded
from nbautoml.store.rows import LIVE_RUN_STATES
from nbautoml.widgets.labels import duration_label

if TYPE_CHECKING:
    from nbautoml.api.run import Run
    from nbautoml.store import TrialRow

__all__ = ["DEFAULT_VERIFIED", "choose_rows", "verify_run"]

DEFAULT_VERIFIED = 3
COMPARABLE = ("complete", "stopped_early")


def verify_run(
    run: Run, trials: int | Sequence[int] | None = None, *, run_code: bool = False
) -> Verification:
    """Train trials again and compare.

    Args:
        run: whose trials.
        trials: how many (the best first, then others that the run's seed draws), or their numbers.
        run_code: the run came in an archive, and its code may be executed all the same.

    Raises:
        NbAutomlError: the run goes on, has no finished trial, or cannot be repeated.
    """
    from nbautoml.engine.again import Repeated, again

    _check(run, run_code=run_code)
    rows = choose_rows(run, DEFAULT_VERIFIED if trials is None else trials)
    asked = [
        Repeated(
            number=row.number,
            params=dict(row.params),
            stop_after=row.epoch if row.state == "stopped_early" else None,
        )
        for row in rows
    ]
    began = time.monotonic()
    heard = _Heard(rows)
    line = ProgressLine()
    with closing(again(run.home, run.folder, asked)) as events:
        try:
            for event in _told(events, heard, run.name, line):
                heard.take(event)
        finally:
            line.end()
    found = tuple(heard.compared(row, _losses(run, row.number)) for row in rows)
    return Verification(
        run=run.name,
        trials=found,
        reasons=(*_reasons(run, rows), *_grown(found)),
        seconds=time.monotonic() - began,
    )


def _check(run: Run, *, run_code: bool) -> None:
    """Refuse what cannot be repeated, each with its reason."""
    info, recipe = run.info, run.recipe
    if recipe.target.role == "objective":
        raise NbAutomlError(
            f"run {run.name!r} called an objective, whose random numbers are its own: its trials "
            "cannot be repeated from outside",
            hint="seed everything in the objective by trial.number, and call it yourself with "
            "optuna.trial.FixedTrial(params)",
        )
    if recipe.kind == "compress":
        raise NbAutomlError(
            f"run {run.name!r} is a compression, whose models are timed, and times differ",
            hint=f"{run.name}.measure(model) times one of its models again",
        )
    if info.state in LIVE_RUN_STATES:
        raise NbAutomlError(
            f"run {run.name!r} is {info.state}; its trials are trained again once it is over",
            hint=f"{run.name}.wait() waits for it, %automl stop {run.name} ends it",
        )
    if run.folder.is_imported and not run_code:
        raise NbAutomlError(
            f"run {run.name!r} came in an archive: to train its trials is to execute its code",
            hint=f"look at {run.name}.code; if you trust it: %automl verify {run.name} --run-code",
        )
    from nbautoml.capsule import Capsule

    if Capsule.load(run.folder.capsule_dir).hash != recipe.target.capsule_hash:
        raise NbAutomlError(
            f"the capsule of run {run.name!r} is not the one that it was submitted with",
            hint="take the run from a backup or an export",
        )


def choose_rows(run: Run, trials: int | Sequence[int]) -> list[TrialRow]:
    """The trials that are to be trained again, in the order of their numbers.

    Raises:
        NbAutomlError: there is none, or one that was named has no numbers to compare.
    """
    with run.folder.reader() as reader:
        rows = {row.number: row for row in reader.trials()}
    possible = [row for row in rows.values() if row.state in COMPARABLE and row.values]
    if not possible:
        raise NbAutomlError(
            f"run {run.name!r} is {run.state} and has no finished trial to train again",
            hint=f"%automl show {run.name} tells what happened",
        )
    if not isinstance(trials, int):
        return [_named(run, rows, number) for number in sorted(set(trials))]
    best = best_row(possible, run.recipe.objectives[0])
    others = [row for row in possible if row is not best]
    random.Random(run.recipe.seed).shuffle(others)  # noqa: S311  a choice, not a secret
    chosen = ([best] if best is not None else []) + others
    return sorted(chosen[:trials], key=lambda row: row.number)


def _named(run: Run, rows: Mapping[int, TrialRow], number: int) -> TrialRow:
    row = rows.get(number)
    if row is None:
        raise NbAutomlError(
            f"run {run.name!r} has no trial {number}",
            hint=f"it has trials 0 to {max(rows)}; --trials {number}, names one trial, "
            f"--trials {number} so many",
        )
    if row.state not in COMPARABLE or not row.values:
        why = f" ({row.error})" if row.error else ""
        raise NbAutomlError(
            f"trial {number} of run {run.name!r} is {row.state}{why}: it has no result to compare",
            hint="name trials that are complete or stopped_early",
        )
    return row


@dataclass
class _Heard:
    """What the trials say while they are trained again."""

    rows: Sequence[TrialRow]
    ends: dict[int, TrialEnded] = field(default_factory=dict)
    losses: dict[int, dict[int, float]] = field(default_factory=dict)
    n_epochs: int = 0

    def take(self, event: Event) -> None:
        if isinstance(event, TrialEnded):
            self.ends[event.trial] = event
        elif isinstance(event, StepsDone) and event.name == "step_loss":
            found = zip(event.steps, event.values, strict=True)
            self.losses.setdefault(event.trial, {}).update(found)
        elif isinstance(event, EpochEnded):
            self.n_epochs += 1

    def compared(self, row: TrialRow, losses: Mapping[int, float]) -> TrialCheck:
        end = self.ends[row.number]
        if end.state not in COMPARABLE:
            return TrialCheck(number=row.number, error=end.error or end.state)
        return compare_trial(
            row.number,
            row.metrics or {"value": row.values[0]},
            end.metrics or {"value": end.values[0]},
            (losses, self.losses.get(row.number, {})),
        )


def _told(events: Iterator[Event], heard: _Heard, name: str, line: ProgressLine) -> Iterator[Event]:
    """The events, with a line that says how far it is and how long it will take."""
    n_all = sum(row.epoch for row in heard.rows)
    began = 0.0
    line.show(f"verify {name}: training {len(heard.rows)} trials again")
    for event in events:
        yield event
        if isinstance(event, EpochEnded):
            began = began or time.monotonic()
            done, spent = heard.n_epochs, time.monotonic() - began
            left = spent / (done - 1) * max(0, n_all - done) if done > 1 else None
            about = f", about {duration_label(left)} left" if left else ""
            line.show(
                f"verify {name}: {len(heard.ends)} of {len(heard.rows)} trials, "
                f"epoch {done} of {n_all}{about}"
            )


def _losses(run: Run, number: int) -> dict[int, float]:
    with run.folder.reader() as reader:
        points = reader.points(trial=number, name="step_loss")
    return dict(zip(points.steps, points.values, strict=True))


def _grown(found: Sequence[TrialCheck]) -> Iterator[str]:
    """Rounding that a model magnifies, which is not the run's doing."""
    if any(trial.has_grown for trial in found):
        yield (
            "the first losses agree, so the trial is the same: its last digits grew. A bias right "
            "before BatchNorm does this (its gradient is rounding alone, of which Adam makes whole "
            "steps; write bias=False), and so does a rate near divergence"
        )


def _reasons(run: Run, rows: Sequence[TrialRow]) -> tuple[str, ...]:
    """What is not as it was when the run was trained."""
    from nbautoml.engine.again import layout_again

    recipe = run.recipe
    now = versions()
    found = [
        f"{name} was {then}, is {now.get(name) or 'missing'}"
        for name, then in recipe.versions.items()
        if then and name != "optuna" and then != now.get(name)
    ]
    devices = {row.device for row in rows if row.device}
    here = set(layout_again(recipe, len(rows)).devices)
    kinds = [{device.partition(":")[0] for device in some} for some in (devices, here)]
    if devices and kinds[0] != kinds[1]:
        found.append(f"trained on {', '.join(sorted(devices))}, now on {', '.join(sorted(here))}")
    with run.folder.reader() as reader:
        executor = reader.run().plan_details.get("executor")
    if "vectorized" in {executor, recipe.execution.executor}:
        found.append("trained in stacks, and now one by one: expect rounding")
    return tuple(found)
