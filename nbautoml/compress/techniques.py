"""What may be done to a model, as frozen statements: one config a technique; pure data, no torch.

::

    Pruning       prune       channels (or heads, neurons) go, or single weights become zero
    LowRank       factorize   a layer becomes two thinner ones
    Sharing       share       weights become a few shared values
    Distillation  distill     it learns from what the original answers
    Penalty       penalize    training on with weights pulled to zero
    Quantization  quantize    numbers of 8 or 4 bits, or half floats; comes last

`TECHNIQUES` is the one table: words of ``--method``, configs, and where their handlers are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from nbautoml.errors import RecipeError, nearest

__all__ = [
    "TECHNIQUES",
    "Distillation",
    "LowRank",
    "Penalty",
    "Pruning",
    "Quantization",
    "Sharing",
    "Technique",
    "Work",
    "technique_from_json",
    "techniques_from",
    "work_of",
]


def _one_of(label: str, value: Any, options: Sequence[str]) -> None:
    if value in options:
        return
    near = nearest(str(value), options)
    guess = f"did you mean {near!r}? " if near else ""
    raise RecipeError(f"{label} is {value!r}", hint=f"{guess}One of: {', '.join(options)}")


def _between(label: str, value: Any, low: float, high: float) -> None:
    """In [low, high)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
        raise RecipeError(
            f"{label} is {value!r}", hint=f"{label} is a number from {low:g} to below {high:g}"
        )


def _at_least(label: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise RecipeError(f"{label} is {value!r}", hint=f"{label} is a whole number from {low}")


def _rate(value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise RecipeError(f"lr is {value!r}", hint="lr is a number above 0")
    if value is not None and not 0 < value < float("inf"):
        raise RecipeError(f"lr is {value!r}", hint="lr is a number above 0")


@dataclass(frozen=True)
class Technique:
    """One thing to do to a model. Subclasses are plain data; a handler does the work."""

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON; `technique_from_json` reads it back."""
        body = {
            item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.init
        }
        body = {
            name: list(value) if isinstance(value, tuple) else value for name, value in body.items()
        }
        return {"technique": type(self).__name__, **body}


@dataclass(frozen=True)
class Pruning(Technique):
    """Take away what matters least.

    Attributes:
        sparsity: share to take away, in [0, 1).
        granularity: "channels": whole channels, neurons, heads; the module becomes smaller.
            "weights": single weights become zero; it is smaller in a file, not faster.
        criterion: what matters: "l1", "l2", "fpgm", "taylor", "bn_scale", "lamp", "random" for
            channels; "l1", "l2" (the same order), "lamp", "random" for weights. Only lamp's scores
            can be compared between layers of any scale: with the others prefer scope "layer".
        scope: "global": one ranking of all layers; "layer": the same share of each.
        ratios: shares for layers by name (a prefix of a name counts for all below it); they go
            before ``sparsity``.
        pattern: for weights, "2:4" keeps two of every four neighbours; ``sparsity`` is not asked then.
        schedule: "once", or little by little while training: "agp", "linear".
        n_rounds: for channels, how often it prunes and fine-tunes.
        epochs: fine-tuning passes afterwards (in total, over all rounds).
        lr: of the fine-tuning; the trainer's when left out.
        regrow: for weights with a schedule, dropped ones may come back.
        keep: names of layers that are left alone.

    Source: Han et al. 2015; for channels Li et al. 2017, "Pruning Filters for Efficient ConvNets".

    >>> Pruning(sparsity=1.5)
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: sparsity is 1.5
    Hint: sparsity is a number from 0 to below 1
    """

    sparsity: float = 0.5
    _: KW_ONLY
    granularity: str = "channels"
    criterion: str = "lamp"
    scope: str = "global"
    ratios: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pattern: str = ""
    schedule: str = "once"
    n_rounds: int = 1
    epochs: int = 3
    lr: float | None = None
    regrow: bool = False
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _between("sparsity", self.sparsity, 0, 1)
        _one_of("granularity", self.granularity, ("channels", "weights"))
        by_weights = ("l1", "l2", "lamp", "random")
        all_ways = ("l1", "l2", "fpgm", "taylor", "bn_scale", "lamp", "random")
        _one_of("criterion", self.criterion, all_ways if self.is_structured else by_weights)
        _one_of("scope", self.scope, ("global", "layer"))
        _one_of("schedule", self.schedule, ("once", "agp", "linear"))
        for name, ratio in self.ratios.items():
            _between(f"ratio of {name}", ratio, 0, 1)
        if self.pattern and self.is_structured:
            raise RecipeError(
                f"pattern {self.pattern!r} is for single weights",
                hint='say granularity="weights", or leave the pattern out',
            )
        _at_least("n_rounds", self.n_rounds, 1)
        _at_least("epochs", self.epochs, 0)
        _rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))

    @property
    def is_structured(self) -> bool:
        """Whether the module becomes smaller, and not only its file."""
        return self.granularity == "channels"


@dataclass(frozen=True)
class LowRank(Technique):
    """Layers as two thinner ones each, by singular values.

    Attributes:
        energy: share of each layer's squared singular values that is kept, in (0, 1).
        epochs: fine-tuning passes afterwards.
        lr: of the fine-tuning; the trainer's when left out.
        keep: names of layers that are left alone.

    Source: Denton et al. 2014.
    """

    energy: float = 0.9
    _: KW_ONLY
    epochs: int = 3
    lr: float | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _between("energy", self.energy, 0.01, 1)
        _at_least("epochs", self.epochs, 0)
        _rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))


@dataclass(frozen=True)
class Sharing(Technique):
    """Weights of a layer as a few shared values (k-means), smaller once they are entropy coded.

    Attributes:
        n_clusters: values a layer.
        epochs: passes that train the shared values.
        lr: of these passes; a tenth of the trainer's when left out.
        keep: names of layers that are left alone.

    Source: Han, Mao and Dally 2016, "Deep Compression", section 3.
    """

    n_clusters: int = 32
    _: KW_ONLY
    epochs: int = 2
    lr: float | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _at_least("n_clusters", self.n_clusters, 2)
        _at_least("epochs", self.epochs, 0)
        _rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))


@dataclass(frozen=True)
class Distillation(Technique):
    """Train it on what the original answers.

    Attributes:
        temperature: softens the answers; above 0.
        weight: of the teacher's answer in the loss, in [0, 1]; the rest is the target's.
        transfer: what else is taught: "none", "hints" (outputs of layers inside) or "attention"
            (where they are large).
        student: "same" (the module itself, as it has become), or one of a share of its width,
            made of its most important channels: "half", "quarter".
        epochs: passes over the data.
        lr: of these passes.

    Source: Hinton, Vinyals and Dean 2015; hints Romero et al. 2015; attention Zagoruyko and
    Komodakis 2017.
    """

    temperature: float = 4.0
    _: KW_ONLY
    weight: float = 0.7
    transfer: str = "none"
    student: str = "same"
    epochs: int = 5
    lr: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise RecipeError(
                f"temperature is {self.temperature!r}", hint="temperature is a number above 0"
            )
        _between("weight", self.weight, 0, 1.0000001)
        _one_of("transfer", self.transfer, ("none", "hints", "attention"))
        _one_of("student", self.student, ("same", "half", "quarter"))
        _at_least("epochs", self.epochs, 1)
        _rate(self.lr)


@dataclass(frozen=True)
class Penalty(Technique):
    """Train on with weights pulled to zero: what matters little becomes small, and goes cheaply.

    Attributes:
        kind: each step "l2" takes alpha * lambda * theta off theta, "l1" alpha * lambda (down to 0).
        strength: lambda.
        epochs: passes over the data.
        lr: alpha of these passes.
    """

    kind: str = "l1"
    _: KW_ONLY
    strength: float = 1e-4
    epochs: int = 3
    lr: float | None = None

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("l1", "l2"))
        _between("strength", self.strength, 0, 1)
        _at_least("epochs", self.epochs, 1)
        _rate(self.lr)


@dataclass(frozen=True)
class Quantization(Technique):
    """Smaller numbers. Nothing that changes weights can come after it.

    Attributes:
        to: "int8", "int4" (weights only), "fp16", "bf16".
        mode: for int8: "static" (activations by calibration), "dynamic" (by each batch), "weights"
            (weights alone), "aware" (trained with the rounding, then static).
        calibration: how ranges of activations are found: "minmax", "percentile", "entropy",
            "histogram".
        per: scales of weights: "channel" or "tensor".
        n_calibration: rows of training data that are looked at.
        backend: what does it: "onnxruntime", whose file then stands for the model.
        max_drop: leaves the layers in full precision that cost most, until the metric on
            calibration rows drops by no more than this; None quantises all.
        epochs: passes of quantisation-aware training.
        lr: of these passes.
        keep: names of layers that are left alone.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference".
    """

    to: str = "int8"
    _: KW_ONLY
    mode: str = "static"
    calibration: str = "minmax"
    per: str = "channel"
    n_calibration: int = 256
    backend: str = "onnxruntime"
    max_drop: float | None = None
    epochs: int = 2
    lr: float | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("to", self.to, ("int8", "int4", "fp16", "bf16"))
        _one_of("mode", self.mode, ("static", "dynamic", "weights", "aware"))
        _one_of("calibration", self.calibration, ("minmax", "percentile", "entropy", "histogram"))
        _one_of("per", self.per, ("channel", "tensor"))
        _one_of("backend", self.backend, ("onnxruntime",))
        _at_least("n_calibration", self.n_calibration, 1)
        if self.max_drop is not None:
            _between("max_drop", self.max_drop, 0, 1)
        _at_least("epochs", self.epochs, 0)
        _rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))


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
                _one_of(f"a setting of {name}", field, sorted(known))
            return work.config(**body)
    raise RecipeError(f"there is no technique {name!r} in this nbautoml")


def techniques_from(found: Any) -> tuple[Technique, ...]:
    """Techniques as a person gave them: configs, or words with commas.

    Raises:
        RecipeError: an unknown word, with the nearest; or something after quantisation.

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
    listed = tuple(_technique(item) for item in found)
    for at, technique in enumerate(listed[:-1]):
        if isinstance(technique, Quantization):
            after = work_of(listed[at + 1]).word
            raise RecipeError(
                f"{after} stands after quantize, and cannot change what is quantised",
                hint="put quantize last",
            )
    return listed


def _technique(item: Any) -> Technique:
    if isinstance(item, Technique):
        work_of(item)
        return item
    if isinstance(item, str):
        _one_of("method", item, tuple(TECHNIQUES))
        return TECHNIQUES[item].config()
    work_of(item)
    raise AssertionError("unreachable")
