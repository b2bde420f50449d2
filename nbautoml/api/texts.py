"""A run in one line, its code as text, and small tables that show themselves."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from nbautoml.widgets.labels import number_label, printable

if TYPE_CHECKING:
    from nbautoml.capsule import Capsule
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import RunInfo

__all__ = ["Code", "Table", "run_line"]


def run_line(info: RunInfo, recipe: Recipe) -> str:
    """Where a run stands: ``'digits', running, 12/60 trials, best accuracy 0.974``."""
    n_all = recipe.budget.n_trials
    done = f"{info.n_finished}/{n_all}" if n_all is not None else f"{info.n_finished}"
    parts = [repr(printable(info.name, 100)), info.state]
    if recipe.kind != "train":
        parts.append(f"{done} trial{'' if done == '1' else 's'}")
    if recipe.kind == "compress":
        # The largest accuracy is the original's, mostly: what counts is what was picked.
        if info.message and info.state == "finished":
            parts.append(printable(info.message, 200))
    elif len(info.bests) > 1:
        each = (f"{name} {number_label(value)}" for name, value in info.bests.items())
        parts.append(f"best of each {', '.join(each)}")
    elif info.best_value is not None:
        parts.append(f"best {recipe.objectives[0].metric} {number_label(info.best_value)}")
    if info.message and info.state in {"failed", "interrupted"}:
        parts.append(printable(info.message, 200))
    return ", ".join(parts)


class Code(str):
    """A capsule's source as text that knows its capsule.

    Shown as code, not as a quoted string.
    """

    __slots__ = ("capsule",)
    capsule: Capsule

    def __new__(cls, capsule: Capsule) -> Self:
        """The source of a capsule."""
        made = super().__new__(cls, capsule.source)
        made.capsule = capsule
        return made

    @property
    def hash(self) -> str:
        """sha256 of the capsule: equal for equal code and captured values."""
        return self.capsule.hash

    def diff(self, other: Code) -> str:
        """How another capsule differs from this one, as a unified diff; empty when equal."""
        return self.capsule.diff(other.capsule)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


class Table:
    """Rows of text under heads; HTML in a notebook, aligned text in a terminal.

    >>> print(Table(["run", "state"], [["digits", "running"]]))
    run     state
    digits  running
    """

    def __init__(
        self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, note: str = ""
    ) -> None:
        self.heads, self.note = list(heads), note
        self.rows = [[printable(cell, 200) for cell in row] for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        lines = [self.heads, *self.rows] if self.rows else []
        widths = (
            [max(len(line[i]) for line in lines) for i in range(len(self.heads))] if lines else []
        )
        told = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*told, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        parts = []
        if self.rows:
            head = _html_row("th", self.heads)
            body = "".join(_html_row("td", row) for row in self.rows)
            parts.append(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")
        if self.note:
            parts.append(f"<p>{html.escape(self.note)}</p>")
        return f"<div>{''.join(parts)}</div>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def _html_row(tag: str, cells: Sequence[str]) -> str:
    # Left-aligned by attribute: notebooks align cells to the right, and styles do not survive.
    made = "".join(f'<{tag} align="left">{html.escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{made}</tr>"
