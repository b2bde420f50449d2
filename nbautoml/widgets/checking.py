"""Does a JSON value have the shape that the wire declares? For what browsers send, and for tests of what we send."""

from __future__ import annotations

import types
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from nbautoml.events import WireError
from nbautoml.widgets.protocol import (
    Bye,
    CommandMessage,
    CurvesRequest,
    FromBrowser,
    Hello,
    TrialRequest,
)

__all__ = ["problem_with", "read_message"]

_FROM_BROWSER: dict[str, type] = {
    "hello": Hello,
    "bye": Bye,
    "command": CommandMessage,
    "curves": CurvesRequest,
    "trial": TrialRequest,
}
_MAX_NAME = 200
_MAX_TRIALS = 300


def read_message(found: Any) -> FromBrowser:
    """A message from a browser, checked field by field.

    Raises:
        WireError: it is none, or one of its names or lists is absurdly long.
    """
    kind = found.get("type") if isinstance(found, dict) else None
    shape = _FROM_BROWSER.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise WireError(f"unknown message type {str(kind)[:80]!r}")
    problem = problem_with(found, shape)
    if problem:
        raise WireError(f"{kind}: {problem}")
    for field in ("client", "cid", "run", "name"):
        if len(found.get(field, "")) > _MAX_NAME:
            raise WireError(f"{kind}: {field} is longer than {_MAX_NAME} characters")
    if len(found.get("trials", ())) > _MAX_TRIALS:
        raise WireError(f"{kind}: more than {_MAX_TRIALS} trials")
    return cast("FromBrowser", found)


def problem_with(value: Any, hint: Any, where: str = "") -> str:
    """What keeps a JSON value from being of a type of the wire, or "" when nothing does.

    >>> problem_with({"type": "bye", "client": "a", "run": 3}, Bye)
    'run is int, expected str'
    """
    if hint is Any:
        return ""
    if is_typeddict(hint):
        return _problem_with_object(value, hint, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        problems = [problem_with(value, option, where) for option in arguments]
        return "" if "" in problems else problems[0]
    if origin is Literal:
        return "" if value in arguments else f"{where or 'value'} is {str(value)[:80]!r}"
    if origin is list:
        if not isinstance(value, list):
            return _mismatch(where, value, "list")
        found = (problem_with(item, arguments[0], f"{where}[]") for item in value)
        return next(filter(None, found), "")
    if origin is dict:
        if not isinstance(value, dict):
            return _mismatch(where, value, "object")
        found = (
            problem_with(item, arguments[1], f"{where}.{key[:40]}") for key, item in value.items()
        )
        return next(filter(None, found), "")
    # JSON has one kind of number, and a bool is no number although Python holds it for one.
    allowed = (int, float) if hint is float else hint
    is_right = isinstance(value, allowed) and not (isinstance(value, bool) and hint is not bool)
    return "" if is_right else _mismatch(where, value, hint.__name__)


def _problem_with_object(value: Any, hint: Any, where: str) -> str:
    if not isinstance(value, dict):
        return _mismatch(where, value, "object")
    fields = get_type_hints(hint, include_extras=True)
    prefix = f"{where}." if where else ""
    for name, field in fields.items():
        is_optional = get_origin(field) is NotRequired
        if name not in value:
            if is_optional:
                continue
            return f"{prefix}{name} is missing"
        problem = problem_with(
            value[name], get_args(field)[0] if is_optional else field, f"{prefix}{name}"
        )
        if problem:
            return problem
    unknown = sorted(set(value) - set(fields))
    return f"{prefix}{str(unknown[0])[:80]} is unknown" if unknown else ""


def _mismatch(where: str, value: Any, expected: str) -> str:
    return f"{where or 'value'} is {type(value).__name__}, expected {expected}"
