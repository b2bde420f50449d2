"""Measuring a module on the rows that a run has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbautoml.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.measure import Figures
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import Home

__all__ = ["measure_on_data"]


def measure_on_data(
    module: nn.Module,
    recipe: Recipe,
    home: Home,
    batch_sizes: Sequence[int],
    *,
    should_compile: bool = False,
) -> Figures:
    """`nbautoml.measure` with validation rows of the run as its example.

    Raises:
        DataError: the run was submitted without data.
    """
    from nbautoml.data import open_data
    from nbautoml.measure import measure

    if recipe.data is None:
        raise DataError(
            f"run {recipe.name!r} has no data to measure on",
            hint="nbautoml.measure(module, example) takes an example of yours",
        )
    data = open_data(recipe.data, home.data_dir)
    rows = min(max(batch_sizes, default=1), data.valid.n)
    example, _ = next(data.valid.batches(max(rows, 1)))
    return measure(module, example, batch_sizes=batch_sizes, should_compile=should_compile)
