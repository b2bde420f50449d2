"""What a compression found, in words: a verdict a technique, and the model that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nbautoml.compress.limits import (
    LATENCY,
    SIZE,
    SPREAD,
    STORED,
    Limits,
    Picked,
    beyond,
    chosen_by,
    pick,
)
from nbautoml.compress.space import COMPRESSED
from nbautoml.spec.objective import Objective
from nbautoml.store import TrialRow

__all__ = ["TechniqueVerdict", "summary", "verdicts"]

# Dimensions of the space whose value names a technique in use.
_SWITCHES = ("pruning", "low_rank", "distillation", "quantization")
_MUCH_SMALLER = 0.9  # of the bytes of a weight: there are zeros, or shared values
_NOTABLE = 0.02  # a difference of less is the clock's


@dataclass(frozen=True)
class TechniqueVerdict:
    """What one technique did; where its model has others, too, the sentence is about all of them.

    Attributes:
        name: "int8_static", "channels" ...; the first of those that the sentence is about.
        is_kept: whether the model that was picked has it.
        text: the whole sentence.
    """

    name: str
    is_kept: bool
    text: str


def verdicts(
    rows: Sequence[TrialRow],
    objectives: tuple[Objective, ...],
    limits: Limits,
    named: Sequence[str] = (),
) -> list[TechniqueVerdict]:
    """A sentence about each technique that was tried; of several that speak of one model, one for all.

    Args:
        rows: trials of the run; those that failed say why.
        objectives: of the run.
        limits: that its models must keep to.
        named: words of the techniques that were asked for, where it is no search.
    """

    def parts_of(row: TrialRow) -> tuple[str, ...]:
        is_named = row.params.get("version") == COMPRESSED
        return tuple(named) if is_named else _parts(row.params)

    done = [row for row in rows if row.state == "complete"]
    origin = next((row for row in done if row.number == 0), None)
    chosen = pick(rows, objectives, limits)
    if origin is None or chosen is None:
        return []
    base = chosen_by(origin, objectives)
    parts = parts_of(next(row for row in rows if row.number == chosen.number))
    found: list[TechniqueVerdict] = []
    told: set[int] = set()
    names = dict.fromkeys(name for row in rows for name in parts_of(row))
    for name in names:
        having = [row for row in done if name in parts_of(row)]
        if not having:
            errors = [row.error for row in rows if name in parts_of(row) and row.error]
            text = f"{name}: failed, {errors[0].splitlines()[0]}" if errors else f"{name}: not run"
            found.append(TechniqueVerdict(name, is_kept=False, text=text))
            continue
        is_kept = name in parts
        row = (
            next(one for one in having if one.number == chosen.number)
            if is_kept
            else _telling(having, name, objectives, limits, origin)
        )
        if row.number in told:
            continue  # the sentence about this model names the technique
        sentence = compared(chosen_by(row, objectives), base, objectives[0])
        told.add(row.number)
        names_of_row = (name, *(other for other in parts_of(row) if other != name))
        company = f" with {', '.join(names_of_row[1:])}" if names_of_row[1:] else ""
        ending = "kept" if is_kept else _why_not(row, objectives, limits, origin)
        text = f"{name}{company}: {sentence} (trial {row.number}): {ending}"
        found.append(TechniqueVerdict(name, is_kept=is_kept, text=text))
    return found


def _parts(params: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the techniques in a point, in the order of `_SWITCHES`, another student first."""
    student = params.get("student", "same")
    is_other = params.get("distillation") == "on" and student != "same"
    return (
        *([f"{student}_student"] if is_other else []),
        *(
            str(params[name]) if params[name] != "on" else name
            for name in _SWITCHES
            if params.get(name, "off") != "off"
        ),
    )


def _telling(
    rows: Iterable[TrialRow],
    name: str,
    objectives: tuple[Objective, ...],
    limits: Limits,
    origin: TrialRow,
) -> TrialRow:
    """The trial that says most about a technique: it alone, else within the limits, else any."""

    def order(row: TrialRow) -> tuple[bool, float, int]:
        broken = beyond(row, origin, objectives, limits)
        return (_parts(row.params) != (name,), sum(broken.values()), row.number)

    return min(rows, key=order)


def _why_not(
    row: TrialRow, objectives: tuple[Objective, ...], limits: Limits, origin: TrialRow
) -> str:
    figures, base = chosen_by(row, objectives), chosen_by(origin, objectives)
    broken = beyond(row, origin, objectives, limits)
    if broken:
        return f"not kept, beyond the limit of {', '.join(broken)}"
    if figures.get(LATENCY, 0) > base.get(LATENCY, math.inf) * (1 + _NOTABLE):
        return "not kept, slower here"
    return "not kept, another model is smaller or faster"


def compared(figures: Mapping[str, float], base: Mapping[str, float], objective: Objective) -> str:
    """A model beside the original, in one sentence.

    >>> compared(
    ...     {"accuracy": 0.97, "latency_ms": 0.25, "size_bytes": 3e5},
    ...     {"accuracy": 0.98, "latency_ms": 1.0, "size_bytes": 9e5},
    ...     Objective("accuracy", "maximize"),
    ... )
    '4x faster (1 to 0.25 ms), 3x smaller (900 to 300 KB), accuracy 0.98 to 0.97'
    """
    metric = objective.metric
    parts = []
    before, after = base.get(LATENCY, math.nan), figures.get(LATENCY, math.nan)
    spread = f", spread {figures[SPREAD]:.2g}" if SPREAD in figures else ""
    if before and after and math.isfinite(before) and math.isfinite(after):
        parts.append(
            f"{_ratio(before, after, 'faster', 'slower')} ({before:.3g} to {after:.3g} ms{spread})"
        )
    before, after = base.get(SIZE, math.nan), figures.get(SIZE, math.nan)
    if before and after and math.isfinite(before) and math.isfinite(after):
        sizes = f"{before / 1000:.4g} to {after / 1000:.4g} KB"
        parts.append(f"{_ratio(before, after, 'smaller', 'larger')} ({sizes})")
    if _is_coded(figures, base):
        before, after = base[STORED], figures[STORED]
        sizes = f"{before / 1000:.4g} to {after / 1000:.4g} KB"
        parts.append(f"{_ratio(before, after, 'smaller', 'larger')} once entropy coded ({sizes})")
    parts.append(f"{metric} {base[metric]:.4g} to {figures[metric]:.4g}")
    return ", ".join(parts)


def _is_coded(figures: Mapping[str, float], base: Mapping[str, float]) -> bool:
    """Whether a weight takes fewer bytes than one of the original, once both are entropy coded."""
    needed = (STORED, "weights")
    if not all(found.get(name, 0) > 0 for found in (figures, base) for name in needed):
        return False
    after, before = (found[STORED] / found["weights"] for found in (figures, base))
    return after < _MUCH_SMALLER * before


def _ratio(before: float, after: float, better: str, worse: str) -> str:
    ratio = before / after
    if abs(ratio - 1) < _NOTABLE:
        return f"as {'fast' if better == 'faster' else 'large'}"
    return f"{ratio:.3g}x {better}" if ratio > 1 else f"{1 / ratio:.3g}x {worse}"


def summary(
    rows: Sequence[TrialRow],
    objectives: tuple[Objective, ...],
    limits: Limits,
    *,
    n_held_out: int = 0,
) -> tuple[Picked | None, str]:
    """The model that was asked for, and a line about it.

    Args:
        rows: trials of the run.
        objectives: of the run.
        limits: that it must keep to.
        n_held_out: rows by which it is chosen that the search did not see; 0 where it saw all.
    """
    chosen, text = _summary(rows, objectives, limits)
    if n_held_out and chosen is not None:
        text += f" (by {n_held_out:,} validation rows that the search did not see)"
    return chosen, text


def _summary(
    rows: Sequence[TrialRow], objectives: tuple[Objective, ...], limits: Limits
) -> tuple[Picked | None, str]:
    chosen = pick(rows, objectives, limits)
    if chosen is None:
        return None, "the original was not measured"
    row = next(one for one in rows if one.number == chosen.number)
    base = chosen_by(next(one for one in rows if one.number == 0), objectives)
    told = compared(chosen_by(row, objectives), base, objectives[0])
    if chosen.broken:
        names = ", ".join(chosen.broken)
        return (
            chosen,
            f"no model keeps to the limit of {names}; trial {row.number} is nearest: {told}",
        )
    if chosen.number == 0:
        return (
            chosen,
            "nothing that was tried is smaller or faster within the limits: the original stays",
        )
    return chosen, f"trial {row.number}: {told}"
