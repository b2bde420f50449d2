"""A student of any class, as a person gave it: read, tried on one batch beside its teacher, told of.

::

    --student Small(16) --> module --> answers as its teacher does? --> learns from one batch? --> notes
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.api.ask import Ask
from nbautoml.api.trying import small_settings
from nbautoml.compress.techniques import Distillation, Technique
from nbautoml.errors import CompressError, ModelError, RecipeError
from nbautoml.spec import FitSettings

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.spec.data import DataSpec

__all__ = ["check_student_is_taught", "given_student_of", "read_student", "try_student"]

_TAKES = "give a module, such as Small(16), or a run, whose best model is taken"
_N_ROWS = 4
MAX_TEXT = 60


def given_student_of(ask: Ask) -> Any:
    """What was given as a student, by the cell or by the option; None where nothing was."""
    return ask.cell.get("student", ask.options["student"])


def check_student_is_taught(
    has_student: bool, techniques: Sequence[Technique], among: Sequence[str]
) -> None:
    """Refuse a student whom nothing teaches, and a lesson without its student.

    Args:
        has_student: whether one was given.
        techniques: that are applied as they are; none in a search.
        among: words of the techniques that a search varies.

    Raises:
        RecipeError: says what to write.
    """
    taught = [step for step in techniques if isinstance(step, Distillation)]
    is_taken = any(step.student == "given" for step in taught)
    if is_taken and not has_student:
        raise RecipeError(
            'the method has Distillation(student="given"), and no student is given',
            hint="say which module learns: student=my_module in Python, --student my_module here",
        )
    if not has_student or is_taken:
        return
    if techniques:
        kinds = ", ".join(type(step).__name__ for step in techniques)
        raise RecipeError(
            f"student is given, and none of the techniques takes it: {kinds}",
            hint='write Distillation(student="given") among them, or leave student out',
        )
    if "distill" not in among:
        raise RecipeError(
            f"student is given, and the search does not distil: it is among {', '.join(among)}",
            hint="add distill to the method, or leave student out",
        )


def read_student(ask: Ask) -> nn.Module | None:
    """A copy of the student on the CPU, in evaluation mode; None where none was given.

    Raises:
        RecipeError: it is no module; a class says so.
    """
    from nbautoml.api.run import Run

    given = given_student_of(ask)
    if given is None:
        return None
    found = given.best_model if isinstance(given, Run) else given
    files = sys.modules.get("nbautoml.compress.onnx_module")
    if files is not None and isinstance(found, files.OnnxModule):
        raise RecipeError(
            "student is quantised already, and cannot learn any more",
            hint="give the model that it was made from",
        )
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(found, torch.nn.Module):
        text = repr(found)
        what = text if len(text) <= MAX_TEXT else f"a {type(found).__name__}"
        what = f"the class {found.__name__}" if isinstance(found, type) else what
        raise RecipeError(f"student is {what}, and no module", hint=_TAKES)
    module: nn.Module = copy.deepcopy(found).cpu().eval()
    return module


def try_student(
    student: nn.Module,
    teacher: nn.Module,
    ask: Ask,
    data: DataSpec,
    fixed: Mapping[str, Any],
    loss: Any,
) -> tuple[str, ...]:
    """One batch through the student on the CPU, beside its teacher; returns what people should know.

    Lazy layers get their weights, by the run's seed.

    Raises:
        RecipeError: it answers in another shape than its teacher, or an inner layer is to be
            compared that the two do not share.
        ModelError: it fails; names the layer and both shapes where shapes do not fit.
    """
    from nbautoml.data import open_data
    from nbautoml.train import dry_run
    from nbautoml.train.batches import first_batch

    opened = open_data(data, ask.home.data_dir, device="cpu")
    example, _ = first_batch(opened.train, _N_ROWS)
    refused = _refusal(student, teacher, ask, example)
    if refused is None or refused.__cause__ is not None:
        # What failed by itself fails here again, and the layer and the lines are named.
        settings = small_settings(FitSettings.from_params(fixed), data)
        try:
            told = dry_run(lambda: copy.deepcopy(student), opened, settings, "cpu", loss=loss)
        except ModelError as error:
            said = f"student does not run: {error.message}"
            raise ModelError(said, hint=error.hint, frames=error.frames) from None
    if refused is not None:
        raise RecipeError(f"student does not fit: {refused.message}", hint=refused.hint) from None
    oddities = [f"student {type(student).__name__}: {line}" for line in told.splitlines()[1:]]
    return (_sizes(student, teacher), *oddities)


def _refusal(
    student: nn.Module, teacher: nn.Module, ask: Ask, example: Any
) -> CompressError | None:
    """Why it cannot learn from this teacher, if so; what its own code raised is the error's cause."""
    from nbautoml.compress.students import check_answers
    from nbautoml.compress.transfer import watched_layers

    try:
        check_answers(student, teacher, example, seed=ask.options["seed"])
        for kind in _transfers(ask):
            watched_layers(student, teacher, example, kind)
    except CompressError as error:
        return error
    return None


def _transfers(ask: Ask) -> list[str]:
    """What inner layers teach the given student, as the techniques say; a search has none."""
    method = ask.options["method"]
    return [
        step.transfer
        for step in ([] if method == "auto" else method)
        if isinstance(step, Distillation) and step.student == "given" and step.transfer != "none"
    ]


def _sizes(student: nn.Module, teacher: nn.Module) -> str:
    from nbautoml.measure.counting import count_weights

    own, whole = (int(count_weights(one).value) for one in (student, teacher))
    told = (
        f"student {type(student).__name__}: {own:,} weights, its teacher "
        f"{type(teacher).__name__} {whole:,}"
    )
    return told if own < whole else f"{told}: it is no smaller"
