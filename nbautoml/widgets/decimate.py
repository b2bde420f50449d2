"""Fewer points and fewer digits for the same picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["decimate", "six_digits"]


def six_digits(value: float | None) -> float | None:
    """A float with six significant digits: what a screen can show; None when it is not finite.

    >>> six_digits(0.123456789), six_digits(float("nan")), six_digits(3)
    (0.123457, None, 3)
    """
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def decimate(
    x: Sequence[float], y: Sequence[float | None], n: int
) -> tuple[list[float], list[float | None]]:
    """At most ``n`` of the points of a line, so chosen that it looks the same.

    Ends are kept; between them each bucket gives the point that spans the largest triangle with
    the point chosen before it and the mean of the bucket behind it. Points without a value are
    dropped, unless all points are kept.

    Source: S. Steinarsson, Downsampling Time Series for Visual Representation (2013), section 4.2.

    Args:
        x: ascending.
        y: as long as ``x``.
        n: at least 2.

    >>> decimate([1, 2, 3, 4, 5], [0, 0, 9, 0, 0], 3)
    ([1, 3, 5], [0, 9, 0])
    """
    if len(x) <= n:
        return list(x), list(y)
    points = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    if len(points) <= n:
        return [a for a, _ in points], [b for _, b in points]
    if n <= 2:
        ends = (points[0], points[-1])
        return [a for a, _ in ends], [b for _, b in ends]
    chosen = [points[0]]
    width = (len(points) - 2) / (n - 2)
    for bucket in range(n - 2):
        start, stop = 1 + int(bucket * width), 1 + int((bucket + 1) * width)
        behind = points[stop : 1 + int((bucket + 2) * width)] or points[-1:]
        mean_x = sum(a for a, _ in behind) / len(behind)
        mean_y = sum(b for _, b in behind) / len(behind)
        last_x, last_y = chosen[-1]
        chosen.append(
            max(
                points[start:stop],
                key=lambda p: abs(
                    (last_x - mean_x) * (p[1] - last_y) - (last_x - p[0]) * (mean_y - last_y)
                ),
            )
        )
    chosen.append(points[-1])
    return [a for a, _ in chosen], [b for _, b in chosen]
