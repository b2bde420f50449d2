"""A small drawing kit: SVG built as nodes, so that no text in it can become markup."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from nbautoml.widgets.labels import one_line, quantity_label

__all__ = ["BEST", "GREY", "PALETTE", "Axis", "Plot", "data_uri", "ticks"]

# After Okabe and Ito (2008): told apart by colour-blind people; the blue is a little lighter than
# theirs, so that thin lines show on black as on white.
PALETTE = ("#2488C8", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
BEST = "#D55E00"
GREY = "#808080"

_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 52, 12, 22, 34


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About ``n`` round numbers from ``low`` to ``high``.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(n, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from numbers to pixels; names instead of numbers where ``names`` is given."""

    low: float
    high: float
    label: str = ""
    is_log: bool = False
    is_whole: bool = False  # epochs, steps, numbers of trials: no marks between them
    names: tuple[str, ...] = ()
    unit: str = ""

    @classmethod
    def around(
        cls,
        values: Iterable[float | None],
        *,
        label: str = "",
        is_log: bool = False,
        is_whole: bool = False,
        unit: str = "",
    ) -> Axis:
        """The axis that holds the values with a little air around them."""
        found = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not is_log)]
        low, high = (min(found), max(found)) if found else (1.0, 10.0) if is_log else (0.0, 1.0)
        if is_log:
            a, b = math.log10(low), math.log10(high)
            air = (b - a or 1.0) * 0.04
            ends = (max(a - air, -300.0), min(b + air, 300.0))
            return cls(low=10 ** ends[0], high=10 ** ends[1], label=label, is_log=True, unit=unit)
        air = (high - low) * 0.04 or abs(low) * 0.1 or 1.0
        return cls(low=low - air, high=high + air, label=label, is_whole=is_whole, unit=unit)

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; values outside lie at an end."""
        low, high = self.low, self.high
        if self.is_log:
            if value <= 0:
                return 0.0
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)

    def marks(self, n: int = 5) -> list[tuple[float, str]]:
        """Values that are written at the axis, with their texts."""
        if self.names:
            return [(float(i), one_line(name, 12)) for i, name in enumerate(self.names)]
        if not self.is_log:
            found = ticks(self.low, self.high, n)
            if self.is_whole:
                found = [value for value in found if value == int(value)]
            return [(value, quantity_label(value, self.unit)) for value in found]
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        stride = max((last - first) // n + 1, 1)
        powers = [10.0**power for power in range(first, last + 1, stride)]
        if len(powers) < 2:
            powers = [self.low, math.sqrt(self.low * self.high), self.high]
        if self.unit:
            return [(value, quantity_label(float(f"{value:.3g}"), self.unit)) for value in powers]
        return [(value, f"{value:.3g}") for value in powers]


@dataclass
class Plot:
    """One plot with two axes; draw into it, then take `text`.

    >>> plot = Plot(width=200, height=100, x=Axis(low=0, high=1), y=Axis(low=0, high=1, label="<b>"))
    >>> plot.line([0, 1], [0, 1], PALETTE[0])
    >>> "&lt;b&gt;" in plot.text()
    True
    """

    width: int
    height: int
    x: Axis
    y: Axis
    title: str = ""
    root: ET.Element = field(init=False)

    def __post_init__(self) -> None:
        self.root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {self.width} {self.height}",
                "width": str(self.width),
                "height": str(self.height),
                "font-family": "system-ui, sans-serif",
                "font-size": "11",
                "role": "img",
            },
        )
        name = ET.SubElement(self.root, "title")
        name.text = one_line(self.title or self.y.label)
        self._frame()

    def _frame(self) -> None:
        left, right = _MARGIN_LEFT, self.width - _MARGIN_RIGHT
        bottom = self.height - _MARGIN_BOTTOM
        for value, label in self.y.marks(4):
            height = self._y(value)
            self._add(
                "line", x1=left, x2=right, y1=height, y2=height, stroke=GREY, stroke_opacity=0.25
            )
            self.write(left - 5, height + 4, label, anchor="end")
        n_marks = max((right - left) // 60, 2)
        for value, label in self.x.marks(n_marks):
            self.write(self._x(value), bottom + 14, label, anchor="middle")
        self._add("line", x1=left, x2=right, y1=bottom, y2=bottom, stroke=GREY)
        self.write((left + right) / 2, self.height - 5, self.x.label, anchor="middle")
        self.write(4, 13, self.title or self.y.label, weight="600")

    def _x(self, value: float) -> float:
        left, right = _MARGIN_LEFT, self.width - _MARGIN_RIGHT
        return left + self.x.share(value) * (right - left)

    def _y(self, value: float) -> float:
        top, bottom = _MARGIN_TOP, self.height - _MARGIN_BOTTOM
        return bottom - self.y.share(value) * (bottom - top)

    def _add(self, tag: str, **attributes: float | str) -> ET.Element:
        texts = {
            name.replace("_", "-"): f"{value:.6g}" if isinstance(value, float) else str(value)
            for name, value in attributes.items()
        }
        return ET.SubElement(self.root, tag, texts)

    def write(
        self, x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400"
    ) -> None:
        """Text at pixels."""
        node = self._add(
            "text", x=round(x, 1), y=round(y, 1), fill=GREY, text_anchor=anchor, font_weight=weight
        )
        node.text = one_line(text, 80)

    def line(
        self,
        x: Sequence[float],
        y: Sequence[float | None],
        colour: str,
        *,
        width: float = 1.0,
        opacity: float = 1.0,
        is_stepped: bool = False,
        dash: str = "",
    ) -> None:
        """A line through the points; a missing value breaks it; a lone point becomes a dot."""
        pieces: list[list[tuple[float, float]]] = [[]]
        for at, value in zip(x, y, strict=True):
            if value is None or not math.isfinite(value):
                pieces.append([])
                continue
            if is_stepped and pieces[-1]:
                pieces[-1].append((self._x(at), pieces[-1][-1][1]))
            pieces[-1].append((self._x(at), self._y(value)))
        for piece in pieces:
            if len(piece) == 1:
                self._dot(*piece[0], colour, radius=width + 1.0, opacity=opacity)
            elif piece:
                points = " ".join(f"{a:.1f},{b:.1f}" for a, b in piece)
                self._add(
                    "polyline",
                    points=points,
                    fill="none",
                    stroke=colour,
                    stroke_width=width,
                    stroke_opacity=opacity,
                    **({"stroke_dasharray": dash} if dash else {}),
                )

    def shape(
        self,
        x: float,
        y: float,
        kind: str,
        colour: str,
        *,
        radius: float = 4.0,
        is_open: bool = False,
    ) -> None:
        """A "diamond", "square", "triangle" or "cross" at values of the axes: told apart without colours."""
        a, b, r = self._x(x), self._y(y), radius
        if kind == "cross":
            for sign in (-1, 1):
                ends = {"x1": a - r, "x2": a + r, "y1": b - sign * r, "y2": b + sign * r}
                self._add("line", stroke=colour, stroke_width=1.3, **ends)
            return
        corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
        if kind == "diamond":
            corners = [(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]
        if kind == "triangle":
            corners = [(0.0, -1.2), (1.2, 1.0), (-1.2, 1.0)]
        self._add(
            "polygon",
            points=" ".join(f"{a + dx * r:.1f},{b + dy * r:.1f}" for dx, dy in corners),
            fill="none" if is_open else colour,
            stroke=colour,
            stroke_width=1.4,
        )

    def note(self, x: float, y: float, text: str, *, anchor: str = "start") -> None:
        """Text beside a place of the axes."""
        shift = {"start": 6, "end": -6}.get(anchor, 0)
        self.write(self._x(x) + shift, self._y(y) - 5, text, anchor=anchor)

    def dot(
        self, x: float, y: float, colour: str, *, radius: float = 3.0, opacity: float = 1.0
    ) -> None:
        """A dot at values of the axes."""
        self._dot(self._x(x), self._y(y), colour, radius=radius, opacity=opacity)

    def _dot(self, x: float, y: float, colour: str, *, radius: float, opacity: float) -> None:
        self._add(
            "circle", cx=round(x, 1), cy=round(y, 1), r=radius, fill=colour, fill_opacity=opacity
        )

    def text(self) -> str:
        """The drawing as SVG markup."""
        return ET.tostring(self.root, encoding="unicode")


def data_uri(svg: str) -> str:
    """The drawing as an address for ``<img src=...>``: there no script in it could ever run."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")
