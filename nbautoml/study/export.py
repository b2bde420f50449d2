"""From a record to Optuna's own: a study to look at, one that is written to a database, importance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.errors import SpaceError, StoreError
from nbautoml.spec.objective import Objective
from nbautoml.spec.space import Choice, Dimension, Float, Int
from nbautoml.study.bridge import optuna_state, quiet, to_distribution
from nbautoml.study.entries import Entry, TrialLike, entries_from

if TYPE_CHECKING:
    import optuna

__all__ = [
    "CONSTRAINTS",
    "frozen_trial",
    "importances",
    "inferred_space",
    "optuna_study",
    "study_from_entries",
    "write_optuna",
]

CONSTRAINTS = "constraints"
"""Where Optuna keeps by how much a trial breaks each limit; before 5.0 it does not look there."""
_FEWEST_TRIALS = 4
_MOST_TRIALS = 1000


def optuna_study(
    trials: Iterable[TrialLike | tuple[TrialLike, Mapping[int, float]]],
    objectives: Sequence[Objective],
    space: Mapping[str, Dimension] | None = None,
    *,
    name: str = "nbautoml",
) -> optuna.Study:
    """A study of Optuna's own from a record, in memory.

    Args:
        trials: see `Study.restore`.
        objectives: what was judged.
        space: what varied; where names are missing (an objective that said it while it ran),
            their dimensions are inferred from the values that were tried.
        name: of the study.
    """
    entries = entries_from(trials, len(objectives))
    return study_from_entries(entries, objectives, dict(space or {}), name=name)


def study_from_entries(
    entries: Iterable[Entry],
    objectives: Sequence[Objective],
    space: Mapping[str, Dimension],
    *,
    name: str,
    storage: Any = None,
) -> optuna.Study:
    """See `optuna_study`; ``storage`` is Optuna's, in memory by default."""
    import optuna

    listed = sorted(entries, key=lambda entry: entry.number)
    known = {**inferred_space(listed, known=space), **space}
    with quiet():
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[objective.direction for objective in objectives],
        )
        study.set_metric_names([objective.metric for objective in objectives])
        frozen = (frozen_trial(entry, known) for entry in listed)
        study.add_trials([trial for trial in frozen if trial is not None])
    return study


def write_optuna(
    url: str,
    trials: Iterable[TrialLike | tuple[TrialLike, Mapping[int, float]]],
    objectives: Sequence[Objective],
    space: Mapping[str, Dimension] | None = None,
    *,
    name: str = "nbautoml",
) -> optuna.Study:
    """Write a record as a study that ``optuna-dashboard URL`` opens.

    Args:
        url: of the database, such as ``sqlite:///study.db``.
        trials: see `Study.restore`.
        objectives: what was judged.
        space: what varied: see `optuna_study`.
        name: of the study there.

    Raises:
        StoreError: a study of that name is there, or the database cannot be written.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    entries = entries_from(trials, len(objectives))
    try:
        with quiet():
            storage = optuna.storages.RDBStorage(url)
        return study_from_entries(
            entries, objectives, dict(space or {}), name=name, storage=storage
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise StoreError(
            f"{_without_password(url)} already holds a study named {name!r}",
            hint="give another name, or another file",
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        raise StoreError(
            f"{_without_password(url)} cannot be written: {type(error).__name__}",
            hint="a file is written as sqlite:///study.db",
        ) from error


def importances(
    trials: Iterable[TrialLike | tuple[TrialLike, Mapping[int, float]]],
    objective: Objective,
    space: Mapping[str, Dimension] | None = None,
) -> dict[str, float]:
    """How much each dimension decides whether a trial is among the best tenth, summing to 1.

    Complete trials count, and those that were stopped early with the value that they had. Fewer
    than four trials with a value, or only one dimension that varied, decide nothing: {}.

    Source: Watanabe, Bansal, Hutter, "PED-ANOVA", IJCAI 2023, as in Optuna.
    """
    import optuna

    listed = list(trials)
    rows = [item[0] if isinstance(item, tuple) else item for item in listed]
    n_values = max((len(getattr(row, "values", None) or ()) for row in rows), default=1)
    entries = [
        Entry(entry.number, "complete", entry.params, entry.values[:1])
        for entry in entries_from(listed, max(1, n_values))
        if entry.values is not None and entry.state in ("complete", "stopped_early")
    ]
    if len(entries) < _FEWEST_TRIALS:
        return {}
    # Every k-th of many: a sample says the same, and this is drawn while a run goes on.
    entries = entries[:: 1 + len(entries) // _MOST_TRIALS]
    known = {**inferred_space(entries, known=space or {}), **(space or {})}
    varied = [name for name in known if len({repr(e.params.get(name)) for e in entries}) > 1]
    if not varied:
        return {}
    study = study_from_entries(entries, [objective], known, name="importance")
    with quiet():
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    return {name: float(share) for name, share in found.items() if name in varied}


def frozen_trial(
    entry: Entry, space: Mapping[str, Dimension], *, is_for_sampler: bool = False
) -> optuna.trial.FrozenTrial | None:
    """A trial in Optuna's words; None when it does not fit the dimensions.

    Args:
        entry: the trial.
        space: dimensions of all its names.
        is_for_sampler: leaves a stopped trial's value to its curve, as Optuna's own bookkeeping
            has it, and drops notes.
    """
    import optuna

    state = optuna_state(entry.state)
    curve = dict(entry.curve)
    values = list(entry.values) if entry.values is not None else None
    if entry.state == "stopped_early" and not curve and values and len(values) == 1:
        curve = {1: values[0]}
    if entry.state not in ("complete", "stopped_early"):
        values = None
    if is_for_sampler and entry.state == "stopped_early":
        values = None
    if not all(name in space and space[name].contains(v) for name, v in entry.params.items()):
        return None
    return optuna.trial.FrozenTrial(
        number=entry.number,
        trial_id=-1,
        state=state,
        value=None,
        values=values,
        datetime_start=None if entry.state == "waiting" else _moment(entry.started_at),
        datetime_complete=_moment(entry.ended_at) if entry.is_finished else None,
        params={name: _label(space[name], value) for name, value in entry.params.items()},
        distributions={name: to_distribution(space[name]) for name in entry.params},
        user_attrs={} if is_for_sampler else _notes(entry),
        system_attrs={CONSTRAINTS: list(entry.constraints)} if entry.constraints else {},
        intermediate_values=curve,
    )


def inferred_space(
    entries: Iterable[Entry], *, known: Mapping[str, Dimension] | None = None
) -> dict[str, Dimension]:
    """Dimensions that hold all values that were tried, for names of which no dimension is known."""
    tried: dict[str, list[Any]] = {}
    for entry in entries:
        for name, value in entry.params.items():
            if name not in (known or {}):
                tried.setdefault(name, []).append(value)
    return {name: _spanning(values) for name, values in tried.items()}


def _spanning(values: list[Any]) -> Dimension:
    kinds = {type(value) for value in values}
    try:
        if kinds == {int}:
            return Int(min(values), max(values))
        if kinds <= {int, float}:
            return Float(min(values), max(values))
    except SpaceError:
        pass  # not finite, or too wide: the values themselves are the options then
    options: list[Any] = []
    for value in values:
        if value not in options:
            options.append(value)
    return Choice(*options)


def _label(dimension: Dimension, value: Any) -> Any:
    """A tuple in a record is known to Optuna by its text."""
    return dimension.label(value) if isinstance(dimension, Choice) else value


def _notes(entry: Entry) -> dict[str, Any]:
    notes = dict(entry.notes)
    if entry.state == "cancelled":
        notes["state"] = "cancelled"
    return notes


def _moment(seconds: float | None) -> dt.datetime:
    """A time in Optuna's words: local, without a zone."""
    if seconds is None:
        return dt.datetime.now()  # noqa: DTZ005  Optuna compares times without a zone
    return dt.datetime.fromtimestamp(seconds)  # noqa: DTZ006


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the address"
