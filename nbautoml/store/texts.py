"""Values to the text columns of a record and back.

The columns hold JSON with Python's NaN and Infinity, so that any float comes back as it was.
"""

from __future__ import annotations

import functools
import json
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

__all__ = ["checksum", "clean", "from_text", "many_from_text", "point_checksum", "to_text"]

MAX_ERROR_CHARS = 2_000
MAX_TRACEBACK_CHARS = 20_000
MAX_LOG_CHARS = 10_000

_PASSWORD = re.compile(r"(\w://[^\s:/@]{0,200}:)[^\s/]{1,500}@")
_POINT = struct.Struct("<qqqd")
_NAN = float("nan")


def to_text(value: Any) -> str:
    """Compact JSON; what JSON cannot hold becomes its text, so that recording never fails on it.

    >>> to_text({"lr": 0.1, "units": (64, 32), "worst": float("inf")})
    '{"lr":0.1,"units":[64,32],"worst":Infinity}'
    """
    return _encode(value)


def _other(value: Any) -> Any:
    item = getattr(value, "item", None)  # numbers of numpy and torch
    if callable(item):
        try:
            return item()
        except (TypeError, ValueError, RuntimeError):
            return str(value)
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {str(key): value[key] for key in value.keys()}  # noqa: SIM118
    return str(value)


# Made once: `json.dumps` makes one a call, which takes longer than a trial's parameters.
_encode = json.JSONEncoder(separators=(",", ":"), default=_other).encode


def from_text(text: str) -> Any:
    """The value that `to_text` wrote."""
    return json.loads(text)


def many_from_text(texts: Sequence[str]) -> list[Any]:
    """`from_text` of many: one parse of all costs a third of one parse each."""
    found: list[Any] = json.loads(f"[{','.join(texts)}]")
    return found


def clean(value: Any, limit: int = MAX_LOG_CHARS) -> str:
    r"""Text that every database takes: no NUL, no lone surrogates, at most ``limit`` characters.

    >>> clean("a\x00b" + chr(0xD800))
    'a\ufffdb?'
    >>> clean("cannot connect to postgresql://ann:secret@db/team")
    'cannot connect to postgresql://ann:***@db/team'
    """
    text: str = str(value)
    if "://" in text:
        # A driver's error may quote the URL that it was given, with the password in it.
        text = _PASSWORD.sub(r"\1***@", text)
    if len(text) > limit:
        note = f" ... ({len(text):,} characters in all)"
        text = text[: limit - len(note)] + note if limit > 4 * len(note) else text[:limit]
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def point_checksum(trial: int, name: str, epoch: int, step: int, value: float | None) -> int:
    """CRC-32 of a point, in half a microsecond: there may be a million of them."""
    number = _NAN if value is None else value
    return zlib.crc32(_POINT.pack(trial, epoch, step, number), _name_checksum(name))


@functools.lru_cache(maxsize=1024)
def _name_checksum(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def checksum(columns: tuple[Any, ...]) -> int:
    """CRC-32 of a finished trial's columns: a flipped bit must not pass as a result."""
    return zlib.crc32(repr(columns).encode("utf-8", "surrogatepass"))
