"""The one table of techniques: words of ``--method``, configs, and where their handlers are."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.compress.checks import one_of
from nbautoml.compress.techniques import (
    NEW_STUDENTS,
    Distillation,
    LowRank,
    Penalty,
    Pruning,
    Quantization,
    Sharing,
    Technique,
)
from nbautoml.errors import RecipeError

__all__ = ["TECHNIQUES", "Work", "technique_from_json", "techniques_from", "words_of", "work_of"]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A row of the table.

    Attributes:
        word: in ``--method``.
        config: its class.
        handler: "module:function", ``(piece, config, bench) -> Piece``.
        purpose: one line for people.
    """

    word: str
    config: type[Technique]
    handler: str
    purpose: str


TECHNIQUES: Mapping[str, Work] = {
    work.word: work
    for work in (
        Work(
            word="prune",
            config=Pruning,
            handler="nbautoml.compress.pruning:prune",
            purpose="take away channels, or single weights, that matter least",
        ),
        Work(
            word="factorize",
            config=LowRank,
            handler="nbautoml.compress.lowrank:factorize",
            purpose="each layer as two thinner ones",
        ),
        Work(
            word="share",
            config=Sharing,
            handler="nbautoml.compress.sharing:share",
            purpose="weights as a few shared values",
        ),
        Work(
            word="distill",
            config=Distillation,
            handler="nbautoml.compress.distillation:distill",
            purpose="train it on what the original answers",
        ),
        Work(
            word="penalize",
            config=Penalty,
            handler="nbautoml.compress.penalties:penalize",
            purpose="train on with weights pulled to zero",
        ),
        Work(
            word="quantize",
            config=Quantization,
            handler="nbautoml.compress.quantization:quantize",
            purpose="numbers of 8 or 4 bits, or half floats",
        ),
    )
}


def work_of(technique: Technique) -> Work:
    """The row of a config.

    Raises:
        RecipeError: it is no technique.
    """
    for work in TECHNIQUES.values():
        if type(technique) is work.config:
            return work
    names = ", ".join(work.config.__name__ for work in TECHNIQUES.values())
    raise RecipeError(f"{technique!r} is no technique", hint=f"one of: {names}")


def technique_from_json(found: Mapping[str, Any]) -> Technique:
    """The config that `Technique.to_json` wrote.

    Raises:
        RecipeError: no such technique, or a field that it doesn't have.
    """
    body = dict(found)
    name = body.pop("technique", "")
    for work in TECHNIQUES.values():
        if work.config.__name__ == name:
            known = {item.name for item in dataclasses.fields(work.config)}
            for field in body:
                one_of(f"a setting of {name}", field, sorted(known))
            return work.config(**body)
    raise RecipeError(f"there is no technique {name!r} in this nbautoml")


def words_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Words of the techniques that a recipe's settings name; none where it is a search.

    >>> words_of({"techniques": [Quantization("int8").to_json()]})
    ('quantize',)
    """
    found = settings.get("techniques", ())
    return tuple(work_of(technique_from_json(one)).word for one in found)


def techniques_from(
    found: Any, *, quantizer: str = "onnxruntime", student: str = "same"
) -> tuple[Technique, ...]:
    """Techniques as a person gave them: configs, or words with commas.

    Args:
        found: what was given.
        quantizer: who quantises where it is a word that asks for it; a config says it itself.
        student: who learns where it is a word that asks for it; likewise.

    Raises:
        RecipeError: an unknown word, with the nearest; something after quantisation, or before a
            student that takes the module's place; a module that learns from itself alone.

    >>> techniques_from("prune,quantize")[1].to
    'int8'
    >>> techniques_from("prun")
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: method is 'prun'
    Hint: did you mean 'prune'? One of: prune, factorize, share, distill, penalize, quantize
    """
    if isinstance(found, Technique):
        found = [found]
    if isinstance(found, str):
        found = [word.strip() for word in found.split(",") if word.strip()]
    listed = tuple(_technique(item, quantizer, student) for item in found)
    _check_first(listed[0] if listed else None)
    for first, second in itertools.pairwise(listed):
        _check_order(first, second)
    return listed


def _check_first(first: Technique | None) -> None:
    """Refuse a module that is to learn from itself, as it is, and from nothing else."""
    if isinstance(first, Distillation) and first.student == "same" and first.weight == 1:
        raise RecipeError(
            "distill stands first with weight 1, and its student is the original itself: it answers "
            "what its teacher answers, and there is nothing to learn",
            hint="give the targets a share (a weight below 1), prune first, or let a new module of "
            'the same class learn: student="own", arguments={...} as it was made with',
        )


def _check_order(first: Technique, second: Technique) -> None:
    """Refuse a technique that cannot do anything after another, or undoes it."""
    before, after = work_of(first).word, work_of(second).word
    if isinstance(first, Quantization):
        raise RecipeError(
            f"{after} stands after quantize, and cannot change what is quantised",
            hint="put quantize last",
        )
    if isinstance(second, Distillation) and second.student in NEW_STUDENTS:
        raise RecipeError(
            f"{after} stands after {before}, and its student, {second.student!r}, takes the module's "
            f"place: what {before} does would be lost",
            hint=f"put {after} first, or the module that comes out of {before} learns: "
            'student="same"',
        )


def _technique(item: Any, quantizer: str, student: str) -> Technique:
    if isinstance(item, Technique):
        work_of(item)
        return item
    if isinstance(item, str):
        one_of("method", item, tuple(TECHNIQUES))
        if TECHNIQUES[item].config is Quantization:
            return Quantization(backend=quantizer)
        if TECHNIQUES[item].config is Distillation:
            return Distillation(student=student)
        return TECHNIQUES[item].config()
    work_of(item)
    raise AssertionError("unreachable")
