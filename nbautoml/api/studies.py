"""A run's trials in Optuna's own words: a study in memory, one in a storage, importances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import RunFolder, TrialRow

__all__ = ["rebuild_study", "trials_with_curves", "write_study"]


def trials_with_curves(
    folder: RunFolder, recipe: Recipe
) -> list[tuple[TrialRow, dict[int, float]]]:
    """Every trial with the objective's value after each epoch."""
    with folder.reader() as reader:
        rows = reader.trials()
        points = reader.points(name=recipe.objectives[0].metric)
    curves: dict[int, dict[int, float]] = {}
    for trial, epoch, value in zip(points.trials, points.epochs, points.values, strict=True):
        if epoch:
            curves.setdefault(trial, {})[epoch] = value
    return [(row, curves.get(row.number, {})) for row in rows]


def rebuild_study(folder: RunFolder, recipe: Recipe) -> optuna.Study:
    """The trials of the record as a study, with their intermediate values."""
    from nbautoml.study import optuna_study

    return optuna_study(
        trials_with_curves(folder, recipe), recipe.objectives, recipe.space, name=recipe.name
    )


def write_study(folder: RunFolder, recipe: Recipe, url: str, name: str) -> str:
    """Copy the trials into a storage that optuna-dashboard opens; returns the study's name.

    Raises:
        StoreError: the storage cannot be written, or has a study of that name.
    """
    from nbautoml.study import write_optuna

    study: Any = write_optuna(
        url, trials_with_curves(folder, recipe), recipe.objectives, recipe.space, name=name
    )
    return str(study.study_name)
