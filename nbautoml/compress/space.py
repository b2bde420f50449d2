"""What a search for a smaller model varies, and how a point of it reads as techniques.

::

    pruning       off | channels      with criterion, what becomes of heads, and a share for each group
                                      of layers
    low_rank      off | on            with the energy that is kept
    distillation  off | on            with the temperature, the student (also one that was given), what
                                      else is taught, and whether it comes first
    quantization  off | int8 ...      with how it is calibrated, and whether sensitive layers are spared
    first         which of pruning and low rank comes first
    epochs        fine-tuning: few while searching, all for those that are worth it
    lr_scale      its learning rate, as times the trainer's: what lost nine channels of ten needs more

Where techniques were named, only theirs vary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.table import technique_from_json
from nbautoml.compress.techniques import (
    NEW_STUDENTS,
    Distillation,
    LowRank,
    Pruning,
    Quantization,
    Technique,
)
from nbautoml.spec import Choice, Dimension, Float, Int, Space
from nbautoml.spec.fit import FitSettings

__all__ = [
    "AWARE",
    "BY_TORCHAO",
    "COMPRESSED",
    "ORIGINAL",
    "SEARCHED",
    "TRAINED",
    "is_trained",
    "original_point",
    "space_for",
    "techniques_of",
    "whole",
]

ORIGINAL, COMPRESSED = "original", "compressed"
"""The two versions that there are where techniques were named."""
QUANTIZED = QUANTIZERS["onnxruntime"].forms
BY_TORCHAO = "int8_static_torchao"
"""The form that another library than the run's quantiser makes; offered where it is installed."""
ROUNDED = ("int8_static", "int4_weights")
"""Forms of which layers may be spared: those that cost most."""
SEARCHED = ("prune", "factorize", "distill", "quantize")
"""Words of techniques that a search varies."""
AWARE = "int8_aware"
"""The form that is trained with its rounding, in passes of the same budget as all others."""
STUDENT = "student_"
"""Before the name of an argument of a student of the model's own class."""
TRAINED = frozenset({"pruning", "low_rank", "distillation"})
"""Dimensions whose techniques are fine-tuned; of quantisation only one form is."""
MOST_LR_SCALE = 20.0


def space_for(
    groups: Sequence[Sequence[str]],
    *,
    n_epochs: int,
    forms: Sequence[str],
    among: Iterable[str] = SEARCHED,
    has_blocks: bool = False,
    own: Mapping[str, Dimension] | None = None,
    has_given: bool = False,
    has_heads: bool = False,
    transfers: Sequence[str] = (),
    calibrations: Sequence[str] = ("minmax", "percentile", "entropy"),
) -> Space:
    """The space of a search.

    Args:
        groups: names of layers, in groups that get a share of their own; none where nothing may
            become narrower.
        n_epochs: the most fine-tuning passes.
        forms: ways to quantise that this machine can run.
        among: words of the techniques that it searches among.
        has_blocks: whether a student may have fewer blocks.
        own: arguments of the model's class that vary in a student of its own.
        has_given: whether a student was given.
        has_heads: whether an attention could have fewer heads, and not only thinner ones.
        transfers: what a teacher can show beside its answers: "hints", "attention".
        calibrations: that the quantiser knows.
    """
    among = set(among)
    found: dict[str, Any] = {}
    if groups and "prune" in among:
        when = ("pruning", "channels")
        found["pruning"] = Choice("off", "channels")
        found["criterion"] = Choice("l2", "lamp", "taylor", "fpgm", when=when)
        if has_heads:
            found["heads"] = Choice("thinner", "fewer", when=when)
        for at in range(len(groups)):
            found[f"sparsity_{at + 1}"] = Float(0.0, 0.95, when=when)
        if "factorize" in among:
            found["first"] = Choice("prune", "factorize", when=when)
    if "factorize" in among:
        found["low_rank"] = Choice("off", "on")
        found["energy"] = Float(0.5, 0.99, when=("low_rank", "on"))
    if "distill" in among:
        own = own or {}
        kinds = {"half": groups, "shallow": has_blocks, "own": own, "given": has_given}
        students = [name for name, is_there in kinds.items() if is_there]
        found |= _taught(students, own, transfers, has_others=bool(found))
    if "quantize" in among:
        found |= _stored(forms, calibrations)
    found["epochs"] = Int(0, n_epochs)
    if not TRAINED.isdisjoint(found):
        found["lr_scale"] = Float(1.0, MOST_LR_SCALE, log=True)
    return Space(found)


def _stored(forms: Sequence[str], calibrations: Sequence[str]) -> dict[str, Dimension]:
    found: dict[str, Dimension] = {}
    if forms:
        found["quantization"] = Choice("off", *forms)
    if "int8_static" in forms:
        when = ("quantization", "int8_static")
        found["calibration"] = Choice(*calibrations, when=when)
        found["per"] = Choice("channel", "tensor", when=when)
    rounded = tuple(form for form in ROUNDED if form in forms)
    if rounded:
        found["spared"] = Choice("off", "on", when=("quantization", rounded))
    return found


def _taught(
    students: Sequence[str],
    own: Mapping[str, Dimension],
    transfers: Sequence[str],
    *,
    has_others: bool,
) -> dict[str, Dimension]:
    when = ("distillation", "on")
    found: dict[str, Dimension] = {"distillation": Choice("off", "on")}
    found["temperature"] = Float(1.0, 10.0, log=True, when=when)
    if students:
        found["student"] = Choice("same", *students, when=when)
    if transfers:
        # Layers of one name are compared, and a new student may have none of them.
        of_teacher = tuple({"same", *students} - NEW_STUDENTS)
        alike = ("student", of_teacher) if students else when
        found["transfer"] = Choice("none", *transfers, when=alike)
    for name, dimension in own.items():
        parent = dimension.when[0] if dimension.when is not None else ""
        within: Any = ("student", "own")
        if dimension.when is not None and parent in own:
            within = (f"{STUDENT}{parent}", dimension.when[1])
        found[f"{STUDENT}{name}"] = _under(dimension, within)
    if has_others:
        found["taught"] = Choice("last", "first", when=when)
    return found


def _under(dimension: Dimension, when: Any) -> Dimension:
    """The dimension under another condition."""
    if isinstance(dimension, Choice):
        return Choice(*dimension.options, when=when)
    assert isinstance(dimension, (Int, Float))
    return dataclasses.replace(dimension, when=when)


def original_point(space: Space) -> dict[str, Any]:
    """The point that leaves the model as it is."""
    return {
        name: dimension.low if isinstance(dimension, (Int, Float)) else "off"
        for name, dimension in space.items()
        if dimension.when is None
    }


def whole(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """A point with the first option of each choice that it leaves open, without what it does not have.

    >>> space = Space({"quantization": Choice("off", "int8"),
    ...                "per": Choice("channel", "tensor", when=("quantization", "int8"))})
    >>> whole({"quantization": "int8", "first": "prune"}, space)
    {'quantization': 'int8', 'per': 'channel'}
    """
    found = {name: value for name, value in params.items() if name in space}
    for name in space.order:
        dimension = space[name]
        if not space.is_active(name, found):
            found.pop(name, None)
        elif name not in found and isinstance(dimension, Choice):
            found[name] = dimension.options[0]
    return found


def techniques_of(
    params: Mapping[str, Any], settings: Mapping[str, Any], *, lr: float = FitSettings.lr
) -> tuple[Technique, ...]:
    """The techniques that a trial's parameters stand for.

    Args:
        params: a point of `space_for`, or ``{"version": ...}`` where the techniques were given.
        settings: the recipe's: "techniques" (given ones), "groups" (layers by group), "student"
            (arguments of the original's class) and "quantizer" (who quantises).
        lr: the trainer's, which "lr_scale" multiplies.
    """
    if "version" in params:
        is_origin = params["version"] == ORIGINAL
        return () if is_origin else tuple(map(technique_from_json, settings["techniques"]))
    epochs = int(params.get("epochs", 0))
    n_aware = _aware_epochs(params, epochs)
    epochs -= n_aware
    steps = [*_shrinking(params, settings["groups"], epochs)]
    if params.get("distillation") == "on" and epochs:
        said = {
            "student": str(params.get("student", "same")),
            "transfer": str(params.get("transfer", "none")),
            **_arguments(params, settings),
        }
        # What is shrunk has no blocks any more that may go, and a new module knows nothing of it.
        is_new = said["student"] in {"shallow", *NEW_STUDENTS}
        if is_new:  # it may lack some layers: each that it has loses the mean share
            steps = [_changed(s, ratios={}) if isinstance(s, Pruning) else s for s in steps]
        is_first = params.get("taught") == "first" or said["student"] in NEW_STUDENTS
        if said["student"] == "shallow" and steps and epochs > 1 and not is_first:
            # Blocks and channels go at once, but for a pass between, and what is left learns for long.
            one = Distillation(params["temperature"], epochs=1, **said)
            rest = Distillation(params["temperature"], epochs=epochs - 1, transfer=said["transfer"])
            steps = [one, *map(_without_epochs, steps), rest]
        elif is_first and steps and epochs > 1:
            # It learns first, and what that made is shrunk: the passes are shared between the two.
            half = epochs // 2
            steps = [_with_epochs(step, epochs - half) if _epochs(step) else step for step in steps]
            steps.insert(0, Distillation(params["temperature"], epochs=half, **said))
        else:
            # The fine-tuning is the teacher's; pruning alone need not train twice.
            steps = [_without_epochs(step) for step in steps]
            taught = Distillation(params["temperature"], epochs=epochs, **said)
            steps = [taught, *steps] if is_new else [*steps, taught]
    scale = float(params.get("lr_scale", 1.0))
    if scale != 1.0:
        steps = [_changed(step, lr=lr * scale) if _epochs(step) else step for step in steps]
    if params.get("quantization", "off") != "off":
        who = str(settings.get("quantizer", "onnxruntime"))
        if params["quantization"] == BY_TORCHAO:
            steps.append(Quantization("int8", mode="static", backend="torchao"))
        else:
            most = float(settings.get("limits", {}).get("max_drop", 0.01)) / 2
            steps.append(_quantization(params, who, n_aware, most))
    return tuple(steps)


def _arguments(params: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a student of the model's own class is made with."""
    if params.get("student") != "own":
        return {}
    varied = {
        name.removeprefix(STUDENT): value
        for name, value in params.items()
        if name.startswith(STUDENT)
    }
    return {"arguments": {**settings["student"], **varied}}


def _shrinking(
    params: Mapping[str, Any], groups: Sequence[Iterable[str]], epochs: int
) -> list[Technique]:
    steps: list[Technique] = []
    if params.get("pruning") == "channels":
        ratios = {
            layer: float(params[f"sparsity_{at + 1}"])
            for at, layers in enumerate(groups)
            for layer in layers
        }
        mean = sum(ratios.values()) / max(len(ratios), 1)
        steps.append(
            Pruning(
                mean,
                criterion=params["criterion"],
                scope="layer",
                ratios=ratios,
                heads=str(params.get("heads", "thinner")),
                epochs=epochs,
            )
        )
    if params.get("low_rank") == "on":
        # Of two that train, the last one does it for both.
        steps = [_without_epochs(step) for step in steps]
        steps.append(LowRank(float(params["energy"]), epochs=epochs))
        if params.get("first") == "factorize":
            steps = [_without_epochs(steps[-1]), _with_epochs(steps[0], epochs)]
    return steps


def _epochs(step: Technique) -> int:
    return step.epochs if isinstance(step, (Pruning, LowRank, Distillation)) else 0


def _without_epochs(step: Technique) -> Technique:
    return _with_epochs(step, 0)


def _with_epochs(step: Technique, epochs: int) -> Technique:
    return _changed(step, epochs=epochs) if isinstance(step, (Pruning, LowRank)) else step


def _changed(step: Technique, **changes: Any) -> Technique:
    return technique_from_json({**step.to_json(), **changes})


def is_trained(params: Mapping[str, Any]) -> bool:
    """Whether more passes could make the model of a point better."""
    return params.get("quantization") == AWARE or any(
        params.get(name, "off") != "off" for name in TRAINED
    )


def _aware_epochs(params: Mapping[str, Any], epochs: int) -> int:
    """Of all passes those with the rounding in them: all where nothing else trains, else a quarter."""
    if params.get("quantization") != AWARE:
        return 0
    if all(params.get(name, "off") == "off" for name in TRAINED):
        return epochs
    return max(1, epochs // 4) if epochs > 1 else 0


def _quantization(
    params: Mapping[str, Any], quantizer: str, n_aware: int, max_drop: float
) -> Quantization:
    to, _, mode = str(params["quantization"]).partition("_")
    said: dict[str, Any] = {"backend": quantizer, **({"mode": mode} if mode else {})}
    if mode == "aware":
        said["epochs"] = n_aware
    for name in ("calibration", "per"):
        if name in params:
            said[name] = str(params[name])
    if params.get("spared") == "on":
        said["max_drop"] = min(max_drop, 0.999)  # of what may be lost the rounding may lose half
    return Quantization(to, **said)
