"""What a model is: a module (its class, or a function that makes it), an objective or an estimator."""

from __future__ import annotations

import inspect
import sys
import types
from typing import Any

from nbautoml.errors import NbAutomlError, RecipeError
from nbautoml.spec.reading import read_parameters

__all__ = ["is_maker", "is_module_class", "role_of"]

_TAKES = (
    "give an nn.Module class, a function that makes a module or a pipeline, a function "
    "objective(trial), or a scikit-learn class such as RandomForestClassifier"
)


def is_module_class(value: Any) -> bool:
    """Whether a value is a class of ``nn.Module``; loads no torch to find out."""
    torch = sys.modules.get("torch.nn")
    return torch is not None and isinstance(value, type) and issubclass(value, torch.Module)


def is_maker(value: Any) -> bool:
    """Whether a function's signature says that it makes a module: what it returns, or what may vary.

    >>> def make(hidden: Int(4, 32) = 8): ...
    >>> is_maker(make)
    True
    """
    if not isinstance(value, types.FunctionType):
        return False
    try:
        if read_parameters(value).dimensions:
            return True
        return is_module_class(inspect.signature(value, eval_str=True).return_annotation)
    except (NbAutomlError, NameError, AttributeError, TypeError, SyntaxError):
        return False  # who takes it for a model tells what is wrong


def role_of(model: Any, *, has_data: bool = False) -> str:
    """The role of a model: "module" (also of a function that makes one), "objective" or "estimator".

    Args:
        model: a class or function.
        has_data: whether there is data to train on. An objective brings its own, so that a
            function with data makes a module; not one whose first argument is called ``trial``.

    Raises:
        RecipeError: it is none of these; an instance where its class is needed says so.

    >>> def objective(trial): ...
    >>> role_of(objective), role_of(lambda hidden: ..., has_data=True)
    ('objective', 'module')
    """
    if is_module_class(model):
        return "module"
    if isinstance(model, type):
        if callable(getattr(model, "fit", None)) and hasattr(model, "get_params"):
            return "estimator"
        raise RecipeError(f"{model.__name__} is no nn.Module and no estimator", hint=_TAKES)
    if isinstance(model, (types.FunctionType, types.MethodType)):
        is_module = has_data and next(iter(inspect.signature(model).parameters), "") != "trial"
        return "module" if is_module else _checked_objective(model)
    kind = type(model)
    if is_module_class(kind) or (hasattr(model, "fit") and hasattr(model, "get_params")):
        raise RecipeError(
            f"the model is an instance of {kind.__name__}; each trial makes its own",
            hint=_fresh(kind),
        )
    raise RecipeError(f"the model is {_short(model)}, a {kind.__name__}", hint=_TAKES)


def _checked_objective(function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
    ]
    if len(needed) > 1 or not any(p.kind is not p.KEYWORD_ONLY for p in parameters):
        raise RecipeError(
            f"the objective takes {inspect.signature(function)}",
            hint="it is called with one argument: objective(trial); a function that makes a module "
            "needs --data, on which the module is trained",
        )
    return "objective"


def _fresh(kind: type) -> str:
    """How to give what makes instances of a class, where there is one that holds given layers."""
    if kind.__module__.startswith("torch."):
        return f"give a function that makes it: def make(): return nn.{kind.__name__}(...)"
    return f"give the class: {kind.__name__}, without brackets"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
