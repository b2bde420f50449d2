"""The pictures of a run, as methods of `nbautoml.api.run.Run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nbautoml.api.run import Run

__all__ = ["Pictures"]


class Pictures:
    """Each returns a matplotlib Figure that shows itself as the value of a cell."""

    @property
    def _run(self) -> Run:
        return cast("Run", self)

    def plot_history(self) -> Figure:
        """The value of each trial, and the best so far."""
        from nbautoml.api import plots

        return plots.history(self._run)

    def plot_curves(self, name: str | None = None) -> Figure:
        """One quantity over the epochs of each trial; the objective's when left out."""
        from nbautoml.api import plots

        return plots.curves(self._run, name)

    def plot_importance(self) -> Figure:
        """How much of the differences in value each parameter explains (PED-ANOVA)."""
        from nbautoml.api import plots

        return plots.importance(self._run)

    def plot_parallel(self) -> Figure:
        """Each trial as a line through its parameters, coloured by its value."""
        from nbautoml.api import plots

        return plots.parallel(self._run)

    def plot_front(self) -> Figure:
        """The first objective of each trial against the others; those that none beats in all on top."""
        from nbautoml.api import plots

        return plots.front(self._run)

    def plot_slice(self, *names: str) -> Figure:
        """The value against each parameter (or those that are named)."""
        from nbautoml.api import plots

        return plots.slices(self._run, names)
