"""The winner as plain PyTorch: the cell that ``%automl code`` writes."""

from __future__ import annotations

from nbautoml.api.run import Run

__all__ = ["portable_code"]


def portable_code(run: Run, trial: int | None = None) -> str:
    """A cell that trains one trial again without nbautoml.

    Args:
        run: the run.
        trial: number of the trial; the best when left out.

    Raises:
        NbAutomlError: no such trial, or what it trained cannot be written as plain code.
    """
    from nbautoml.tune.portable import portable_cell

    row = (run.best if trial is None else run.trial(trial)).row
    return portable_cell(run.folder, run.recipe, row)
