"""What a run of kind "compress" found, drawn from its record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbautoml.api.trials import no_best
from nbautoml.compress.choosing import TechniqueVerdict, summary, verdicts
from nbautoml.compress.limits import Limits, pick
from nbautoml.errors import NbAutomlError

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import TrialRow

__all__ = ["Verdicts", "picked_row", "verdicts_of"]


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
    if recipe.kind != "compress":
        raise NbAutomlError(
            f"run {name!r} is of kind {recipe.kind}, and only a compression has verdicts",
            hint=f"%automl compress small --model {name} makes its best model smaller",
        )
    limits = Limits.from_settings(recipe.settings)
    _, about = summary(
        rows, recipe.objectives, limits, n_held_out=int(recipe.settings.get("n_held_out", 0))
    )
    return Verdicts(verdicts(rows, recipe.objectives, limits), about)
