"""Text from anywhere, made fit to be shown: names, parameters and errors are whatever a person or a file put there."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

__all__ = [
    "Unit",
    "duration_label",
    "number_label",
    "one_line",
    "printable",
    "quantity_label",
    "unit_of",
    "value_label",
]

Unit = Literal["", "ms", "bytes", "mWh"]

# Control characters (escape sequences drive terminals, NUL breaks XML), characters that XML does
# not allow, and those that reorder the text around them (a name could then pose as another).
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def printable(text: Any, limit: int = 2_000) -> str:
    r"""The text without characters that act instead of being seen; too long ones are cut.

    >>> printable("red \x1b[31m") == "red \ufffd[31m"
    True
    >>> printable("abcdef", limit=4)
    'abc…'
    """
    shown = _UNPRINTABLE.sub("\ufffd", str(text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def one_line(text: Any, limit: int = 200) -> str:
    """`printable` without line breaks: for the cells of tables and for headings."""
    return printable(" ".join(str(text).split()), limit)


def number_label(value: float | None) -> str:
    """A number as it stands in a table: four digits, no trailing noise.

    >>> number_label(0.98765), number_label(1234567), number_label(None), number_label(3.0)
    ('0.9877', '1234567', '', '3')
    >>> number_label(0.0000123)
    '1.23e-05'
    """
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.6g}"


def unit_of(name: str) -> Unit:
    """The unit that the name of a metric ends in, "" for a plain number.

    >>> unit_of("latency_ms"), unit_of("size_bytes"), unit_of("energy_mwh"), unit_of("accuracy")
    ('ms', 'bytes', 'mWh', '')
    """
    endings: dict[str, Unit] = {"_ms": "ms", "_bytes": "bytes", "_mwh": "mWh"}
    return next((unit for ending, unit in endings.items() if name.endswith(ending)), "")


def quantity_label(value: float | None, unit: str) -> str:
    """A number with its unit; bytes in steps of a thousand.

    >>> quantity_label(1.5, "ms"), quantity_label(0.98765, ""), quantity_label(None, "ms")
    ('1.5 ms', '0.9877', '')
    >>> quantity_label(512, "bytes"), quantity_label(43_210, "bytes"), quantity_label(2.5e6, "bytes")
    ('512 B', '43.21 KB', '2.5 MB')
    """
    if value is None or not unit or not math.isfinite(value):
        return number_label(value)
    if unit != "bytes":
        return f"{number_label(value)} {unit}"
    power = min(int(math.log10(max(abs(value), 1)) // 3), 3)
    return f"{value / 1000**power:.4g} {('B', 'KB', 'MB', 'GB')[power]}"


def value_label(value: Any, limit: int = 60) -> str:
    """A parameter's value as it stands in a table."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value)
    if isinstance(value, (int, float)):
        return number_label(value)
    return one_line(value, limit)


def duration_label(seconds: float | None) -> str:
    """Seconds as people say them.

    >>> duration_label(0.42), duration_label(75), duration_label(3725), duration_label(200_000)
    ('0.4 s', '1 min 15 s', '1 h 2 min', '2 d 7 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for unit, size, smaller, share in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // share} {smaller}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
