"""Students that are new modules: of the model's own class, as its author declared, or of any class, as given.

::

    class Net(nn.Module):                                     run.best.params: hidden=128, depth=3
        def __init__(self, hidden: Int(8, 256), depth: Int(1, 4)): ...
                                    |                |
        a student has               8 to 128         1 to 3       never wider or deeper than its teacher

    --student Small(16)       a module of another class, which begins with the weights that it has
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.errors import CompressError, RecipeError
from nbautoml.spec import SETTING_NAMES, Choice, Dimension, Int, Space

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_answers", "declared", "given_student", "own_student"]


def declared(
    space: Space, arguments: Mapping[str, Any]
) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """What may vary in a student of a class, and what its teacher was made with.

    Args:
        space: of the run that found the teacher; its settings of the trainer are left aside.
        arguments: that the teacher was made with, resolved, with the trainer's settings.

    Returns:
        Dimensions by argument, and the teacher's arguments. Both are empty where the class declares
        no number that could be smaller, or takes what no recipe can hold (a function, a tuple).

    >>> dimensions, arguments = declared(
    ...     Space({"hidden": Int(8, 256), "lr": Int(1, 2)}), {"hidden": 64, "lr": 1}
    ... )
    >>> dimensions, arguments
    ({'hidden': Int(8, 64)}, {'hidden': 64})
    """
    own = {name: value for name, value in arguments.items() if name not in SETTING_NAMES}
    if not all(
        isinstance(value, (bool, int, float, str)) or value is None for value in own.values()
    ):
        return {}, {}
    found: dict[str, Dimension] = {}
    for name in space.order:
        dimension = _smaller(space[name], own.get(name)) if name in own else None
        if dimension is not None:
            found[name] = dimension
    if not any(isinstance(dimension, Int) for dimension in found.values()):
        return {}, {}
    return found, own


def _smaller(dimension: Dimension, value: Any) -> Dimension | None:
    """The dimension up to the teacher's value; None where nothing can vary."""
    if isinstance(dimension, Int):
        return dataclasses.replace(dimension, high=value) if value > dimension.low else None
    if isinstance(dimension, Choice):
        is_plain = all(isinstance(option, (bool, int, float, str)) for option in dimension.options)
        is_same = all(dimension.contains(option) for option in dimension.options)
        return dimension if is_plain and is_same and dimension.size() > 1 else None
    return dimension


def own_student(teacher: nn.Module, arguments: Mapping[str, Any], seed: int) -> nn.Module:
    """A new module of the teacher's class.

    Args:
        teacher: whose class it is; left as it is.
        arguments: of its ``__init__``.
        seed: of its weights.

    Raises:
        CompressError: the class does not take these arguments.
    """
    import torch

    kind = type(teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return kind(**arguments)
        except Exception as error:
            said = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise CompressError(
                f"no student {kind.__name__}({said}) can be made: {type(error).__name__}: {error}",
                hint=f"the arguments are those of {kind.__name__}.__init__",
            ) from error


def given_student(given: nn.Module | None) -> nn.Module:
    """A copy of the student that was given, on the CPU, in evaluation mode.

    Raises:
        RecipeError: none was.
    """
    if given is None:
        raise RecipeError(
            'a Distillation has student="given", and no student is given',
            hint="hand the module over beside the techniques: student=my_module",
        )
    return copy.deepcopy(given).cpu().eval()


def check_answers(student: nn.Module, teacher: nn.Module, example: Any, *, seed: int = 0) -> None:
    """Refuse a student that does not answer as its teacher does.

    Args:
        student: in evaluation mode; lazy layers get their weights.
        teacher: whose answers it is to learn.
        example: a few rows of inputs.
        seed: of those weights.

    Raises:
        CompressError: it fails on these inputs, or its output has another shape.

    >>> from torch import nn, zeros
    >>> check_answers(nn.Linear(4, 2), nn.Linear(4, 3), zeros(5, 4))
    Traceback (most recent call last):
        ...
    nbautoml.errors.CompressError: the student Linear answers with shape (5, 2), and its teacher Linear with (5, 3)
    Hint: a student gives what its teacher gives, row by row: as many outputs, in the same order
    """
    import torch

    from nbautoml.measure.counting import call

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = call(teacher, example).shape
        try:
            output = call(student, example)
        except Exception as error:
            raise CompressError(
                f"the student {type(student).__name__} does not take its teacher's inputs: {error}"
            ) from error
    is_tensor = isinstance(output, torch.Tensor)
    if not is_tensor or output.shape != theirs:
        said = f"with shape {tuple(output.shape)}" if is_tensor else f"a {type(output).__name__}"
        raise CompressError(
            f"the student {type(student).__name__} answers {said}, and its teacher "
            f"{type(teacher).__name__} with {tuple(theirs)}",
            hint="a student gives what its teacher gives, row by row: as many outputs, in the "
            "same order",
        )
