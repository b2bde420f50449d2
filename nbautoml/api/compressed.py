"""What a run of kind "compress" found, drawn from its record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbautoml.api.trials import no_best
from nbautoml.compress.choosing import TechniqueVerdict, summary, verdicts
from nbautoml.compress.limits import Limits, pick
from nbautoml.compress.table import words_of
from nbautoml.errors import NbAutomlError

if TYPE_CHECKING:
    import pandas as pd

    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import RunFolder, TrialRow

__all__ = ["Verdicts", "layers_frame", "picked_row", "verdicts_of"]

# Counts stay whole numbers beside nothing.
_FIGURES = {"out": "Int64", "bits": "Int64", "weights": "Int64", "macs": "Int64", "ms": "float64"}


class Verdicts(Sequence[TechniqueVerdict]):
    """A verdict a technique, shown as lines."""

    def __init__(self, found: Sequence[TechniqueVerdict], about: str) -> None:
        self._found = tuple(found)
        self.about = about

    def __getitem__(self, at):  # type: ignore[no-untyped-def]  # as a tuple's
        return self._found[at]

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return "\n".join([self.about, *(verdict.text for verdict in self._found)])


def picked_row(name: str, state: str, recipe: Recipe, rows: Sequence[TrialRow]) -> TrialRow:
    """The trial whose model was asked for: the original, where nothing is better within the limits.

    Raises:
        NbAutomlError: not even the original was measured.
    """
    found = pick(rows, recipe.objectives, Limits.from_settings(recipe.settings))
    if found is None:
        raise no_best(name, state, rows)
    return next(row for row in rows if row.number == found.number)


def verdicts_of(name: str, recipe: Recipe, rows: Sequence[TrialRow]) -> Verdicts:
    """What each technique did, and what was picked."""
    _check_kind(name, recipe, "verdicts")
    limits = Limits.from_settings(recipe.settings)
    _, about = summary(
        rows, recipe.objectives, limits, n_held_out=int(recipe.settings.get("n_held_out", 0))
    )
    named = words_of(recipe.settings)
    return Verdicts(verdicts(rows, recipe.objectives, limits, named), about)


def layers_frame(folder: RunFolder, recipe: Recipe, trial: int) -> pd.DataFrame:
    """The layers of a compressed model before and after.

    Raises:
        NbAutomlError: it is no compression, or the trial's model was not kept.
        StoreError: the table is damaged.
    """
    import pandas as pd

    from nbautoml.widgets.kept import layers_in

    _check_kind(recipe.name, recipe, "layers before and after")
    with folder.reader() as reader:
        files = reader.artifacts(trial)
        kept = {str(file.trial): None for file in reader.artifacts() if file.kind == "layers"}
    rows = layers_in(files)
    if not rows:
        raise NbAutomlError(
            f"the model of trial {trial} of run {recipe.name!r} was not kept, nor its layers",
            hint="kept are those of trials " + (", ".join(kept) or "that come yet"),
        )
    sides = {"before": [row["before"] for row in rows], "after": [row["after"] for row in rows]}
    table = pd.DataFrame({"name": [row["name"] for row in rows], "kind": [r["kind"] for r in rows]})
    for what, dtype in _FIGURES.items():
        for side, found in sides.items():
            values = [None if one is None else one.get(what) for one in found]
            table[f"{what}_{side}"] = pd.Series(values, dtype=dtype)
    return table


def _check_kind(name: str, recipe: Recipe, what: str) -> None:
    if recipe.kind != "compress":
        raise NbAutomlError(
            f"run {name!r} is of kind {recipe.kind}, and only a compression has {what}",
            hint=f"%automl compress small --model {name} makes its best model smaller",
        )
