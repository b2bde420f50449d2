"""Words of a magic that are Python: the data, the model, and settings that are fixed or vary."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbautoml.api.namespace import evaluate
from nbautoml.api.parser import Order
from nbautoml.api.run import Run
from nbautoml.api.verb_table import VERBS
from nbautoml.api.words import Word
from nbautoml.errors import NbAutomlError, UsageError, nearest
from nbautoml.spec import LOSSES, Choice, Float, Int

__all__ = ["data_of", "expressions_of", "settings_of"]

_DIMENSIONS = {"Int": Int, "Float": Float, "Choice": Choice}
# Settings whose values are names: a bare word is the name itself, and no variable.
_NAMED = frozenset({"optimizer", "schedule", "loss", "amp"})
_EXPRESSIONS = ("model", "space", "params", "enqueue", "student")


def expressions_of(order: Order, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options that are expressions, the data left out.

    Raises:
        UsageError: an expression is off; points at its word.
    """
    return {name: _value(order, name, namespace) for name in _EXPRESSIONS if name in order.values}


def _value(order: Order, name: str, namespace: Mapping[str, Any]) -> Any:
    word = order.words[name]
    if word.is_expanded:
        return word.value
    try:
        return evaluate(str(word), namespace, **_DIMENSIONS)
    except NbAutomlError as error:
        raise order.point(name, error) from error.__cause__


def data_of(order: Order, namespace: Mapping[str, Any]) -> tuple[Any, str]:
    """What ``--data`` means, with its text: an expression, a named set, or a folder.

    A name of the notebook wins over a named set, unless it is bound to a run: the run ``digits``
    and the data ``digits`` get on with each other.

    Raises:
        UsageError: it is none of these; points at the word.
    """
    if "data" not in order.values:
        return None, ""
    word = order.words["data"]
    text = str(word)
    if word.is_expanded:
        return word.value, text.strip("{}$")
    named = VERBS["tune"].option("data")
    sets = named.suggests if named is not None else ()
    is_ours = text in namespace and not isinstance(namespace[text], Run)
    if text in sets and not is_ours:
        return text, text
    if not is_ours and _is_folder(text):
        return Path(text).expanduser(), text
    try:
        return evaluate(text, namespace), text
    except NbAutomlError as error:
        if text.isidentifier() and text not in namespace:
            raise order.error(
                "data", f"{text} is not defined here", _data_hint(text, namespace, sets)
            ) from None
        raise order.point("data", error) from error.__cause__


def _data_hint(text: str, namespace: Mapping[str, Any], sets: tuple[str, ...]) -> str:
    near = nearest(text, [*sets, *(name for name in namespace if not name.startswith("_"))])
    guess = f"did you mean {near}? " if near else ""
    return f"{guess}Named sets: {', '.join(sets)}"


def _is_folder(text: str) -> bool:
    try:
        is_there = Path(text).expanduser().is_dir()
    except (OSError, ValueError):
        return False
    return is_there and (os.sep in text or "/" in text or not text.isidentifier())


def settings_of(order: Order, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The settings and parameters that were said as flags: plain values, or dimensions.

    Raises:
        UsageError: a value is off; points at its word.
    """
    found: dict[str, Any] = {}
    for option in order.verb.options:
        if option.kind == "setting" and option.name in order.values:
            try:
                found[option.name] = _setting(option.name, order.words[option.name], namespace)
            except NbAutomlError as error:
                raise order.point(option.name, error) from error.__cause__
    return found


def _setting(name: str, word: Word, namespace: Mapping[str, Any]) -> Any:
    """The value of one setting.

    >>> _setting("lr", Word.at("1e-3", 0), {}), _setting("optimizer", Word.at("adam", 0), {})
    (0.001, 'adam')
    >>> _setting("lr", Word.at("Float(1e-4, 1e-1, log=True)", 0), {})
    Float(0.0001, 0.1, log=True)
    """
    if word.is_expanded:
        return word.value
    text = str(word)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass  # a name or an expression
    if name in _NAMED and text.isidentifier():
        is_own_loss = name == "loss" and text not in LOSSES and callable(namespace.get(text))
        return namespace[text] if is_own_loss else text
    try:
        return evaluate(text, namespace, **_DIMENSIONS)
    except UsageError as error:
        if text.isidentifier() and text not in namespace:
            return text  # a word: whoever takes it says whether it is one of its own
        raise error from error.__cause__
