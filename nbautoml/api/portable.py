"""The winner as plain PyTorch: the cell that ``%automl code`` writes."""

from __future__ import annotations

from nbautoml.api.run import Run
from nbautoml.errors import NbAutomlError

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

    if run.kind == "compress":
        raise NbAutomlError(
            f"run {run.name!r} made a trained model smaller, which no short cell repeats",
            hint=f"{run.name}.best_model is the model; its ONNX file, which needs no code at all, "
            f"lies in {run.folder.artifacts_dir}",
        )
    row = (run.best if trial is None else run.trial(trial)).row
    return portable_cell(run.folder, run.recipe, row)
