"""What a model is: a module, an objective or an estimator."""

from __future__ import annotations

import inspect
import sys
import types
from typing import Any

from nbautoml.errors import RecipeError

__all__ = ["is_module_class", "role_of"]

_TAKES = (
    "give an nn.Module class, a function objective(trial), or a scikit-learn class "
    "such as RandomForestClassifier"
)


def is_module_class(value: Any) -> bool:
    """Whether a value is a class of ``nn.Module``; loads no torch to find out."""
    torch = sys.modules.get("torch.nn")
    return torch is not None and isinstance(value, type) and issubclass(value, torch.Module)


def role_of(model: Any) -> str:
    """The role of a model: "module", "objective" or "estimator".

    Raises:
        RecipeError: it is none of these; an instance where its class is needed says so.

    >>> def objective(trial): ...
    >>> role_of(objective)
    'objective'
    """
    if is_module_class(model):
        return "module"
    if isinstance(model, type):
        if callable(getattr(model, "fit", None)) and hasattr(model, "get_params"):
            return "estimator"
        raise RecipeError(f"{model.__name__} is no nn.Module and no estimator", hint=_TAKES)
    if isinstance(model, (types.FunctionType, types.MethodType)):
        return _checked_objective(model)
    kind = type(model)
    if is_module_class(kind) or (hasattr(model, "fit") and hasattr(model, "get_params")):
        raise RecipeError(
            f"the model is an instance of {kind.__name__}; each trial makes its own",
            hint=f"give the class: {kind.__name__}, without brackets",
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
            hint="it is called with one argument: objective(trial)",
        )
    return "objective"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
