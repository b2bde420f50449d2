"""What may be done to a model, as frozen statements: one config a technique; pure data, no torch.

::

    Pruning       prune       channels (or heads, neurons) go, or single weights become zero
    LowRank       factorize   a layer becomes two thinner ones
    Sharing       share       weights become a few shared values
    Distillation  distill     it learns from what the original answers
    Penalty       penalize    training on with weights pulled to zero
    Quantization  quantize    numbers of 8 or 4 bits, or half floats; comes last

The first three are `Tuned`: the fine-tune that follows may listen to the original, too (``taught``).

`nbautoml.compress.table` says by which words they are asked for, and where their handlers are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from nbautoml.compress.checks import at_least, between, one_of, rate, softening
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.errors import RecipeError

__all__ = [
    "Distillation",
    "LowRank",
    "Penalty",
    "Pruning",
    "Quantization",
    "Sharing",
    "Technique",
]


@dataclass(frozen=True)
class Technique:
    """One thing to do to a model. Subclasses are plain data; a handler does the work."""

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON; `table.technique_from_json` reads it back."""
        body = {
            item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.init
        }
        body = {
            name: list(value) if isinstance(value, tuple) else value for name, value in body.items()
        }
        return {"technique": type(self).__name__, **body}


@dataclass(frozen=True, kw_only=True)
class Tuned(Technique):
    """A technique that trains what is left; the original may teach it while its form is held.

    A `Distillation` after it trains every weight, those that were pruned or shared, too.

    Attributes:
        taught: weight of the original's answers in the loss of its passes, in [0, 1]; the rest is
            the targets'. 0: the targets alone.
        temperature: softens these answers; above 0.

    Source: Hinton, Vinyals and Dean 2015.
    """

    taught: float = 0.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        between("taught", self.taught, 0, 1.0000001)
        softening(self.temperature)

    def _check_taught(self, epochs: int) -> None:
        """Refuse a teacher whom nobody hears."""
        if self.taught and not epochs:
            raise RecipeError(
                f"taught is {self.taught!r}, and epochs is 0: nothing is trained that could learn",
                hint="give it epochs, or leave taught out",
            )


@dataclass(frozen=True)
class Pruning(Tuned):
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
        pattern: for weights, "2:4" keeps two of every four neighbours, at once; ``sparsity`` is not
            asked then.
        schedule: for weights, "once", or little by little while training: "agp", "linear".
        heads: of `nn.MultiheadAttention`, whose width goes with its channels: "thinner" takes the
            same places out of each, "fewer" takes whole ones.
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
    heads: str = "thinner"
    n_rounds: int = 1
    epochs: int = 3
    lr: float | None = None
    regrow: bool = False
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        between("sparsity", self.sparsity, 0, 1)
        one_of("granularity", self.granularity, ("channels", "weights"))
        by_weights = ("l1", "l2", "lamp", "random")
        all_ways = ("l1", "l2", "fpgm", "taylor", "bn_scale", "lamp", "random")
        one_of("criterion", self.criterion, all_ways if self.is_structured else by_weights)
        one_of("scope", self.scope, ("global", "layer"))
        one_of("schedule", self.schedule, ("once", "agp", "linear"))
        one_of("heads", self.heads, ("thinner", "fewer"))
        for name, ratio in self.ratios.items():
            between(f"ratio of {name}", ratio, 0, 1)
        at_least("n_rounds", self.n_rounds, 1)
        at_least("epochs", self.epochs, 0)
        self._check_taught(self.epochs)
        rate(self.lr)
        self._check_together()
        object.__setattr__(self, "keep", tuple(self.keep))

    def _check_together(self) -> None:
        """Refuse settings of which one would silently do nothing beside another."""
        is_gradual = self.schedule != "once"
        refused = (
            (
                bool(self.pattern) and self.is_structured,
                f"pattern {self.pattern!r} is for single weights",
                'say granularity="weights", or leave the pattern out',
            ),
            (
                is_gradual and self.is_structured,
                f"schedule {self.schedule!r} is for single weights",
                'say granularity="weights"; channels go in steps with n_rounds',
            ),
            (
                self.n_rounds > 1 and not self.is_structured,
                f"n_rounds {self.n_rounds} is for channels",
                'single weights go little by little with schedule="agp"',
            ),
            (
                is_gradual and bool(self.pattern),
                f"pattern {self.pattern!r} has no schedule, and schedule is {self.schedule!r}",
                "a pattern takes some of each few neighbours, all at once: leave one of the two out",
            ),
            (
                is_gradual and not self.epochs,
                f"schedule {self.schedule!r} prunes while it trains, and epochs is 0",
                'give it epochs, or say schedule="once"',
            ),
            (
                self.regrow and not is_gradual,
                "regrow lets weights come back while the sparsity rises, and schedule is 'once'",
                'say schedule="agp" or "linear" beside granularity="weights"',
            ),
        )
        for is_so, what, hint in refused:
            if is_so:
                raise RecipeError(what, hint=hint)

    @property
    def is_structured(self) -> bool:
        """Whether the module becomes smaller, and not only its file."""
        return self.granularity == "channels"


@dataclass(frozen=True)
class LowRank(Tuned):
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
        super().__post_init__()
        between("energy", self.energy, 0.01, 1)
        at_least("epochs", self.epochs, 0)
        self._check_taught(self.epochs)
        rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))


@dataclass(frozen=True)
class Sharing(Tuned):
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
        super().__post_init__()
        at_least("n_clusters", self.n_clusters, 2)
        at_least("epochs", self.epochs, 0)
        self._check_taught(self.epochs)
        rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))


STUDENTS = ("same", "half", "quarter", "shallow", "own", "given")
"""Who learns in a distillation."""
NEW_STUDENTS = frozenset({"own", "given"})
"""Those that take the module's place: nothing of what it has become is in them."""


@dataclass(frozen=True)
class Distillation(Technique):
    """Train it on what the original answers.

    Attributes:
        temperature: softens the answers; above 0.
        weight: of the teacher's answer in the loss, in [0, 1]; the rest is the target's.
        transfer: what else is taught: "none", "hints" (outputs of layers inside) or "attention"
            (where they are large).
        student: "same" (the module itself, as it has become); one of a share of its width, made
            of its most important channels: "half", "quarter"; "shallow", without half of the
            blocks inside that hand on the shape that they get; "own", a new module of the
            original's class, which learns from nothing; or "given", a module of any class that is
            handed over beside the techniques (``student=``, ``--student``), with its weights.
        arguments: that the own student is made with: ``{"hidden": 16}``.
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
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int = 5
    lr: float | None = None

    def __post_init__(self) -> None:
        softening(self.temperature)
        between("weight", self.weight, 0, 1.0000001)
        one_of("transfer", self.transfer, ("none", "hints", "attention"))
        if not isinstance(self.student, str):
            raise RecipeError(
                f"student is a {type(self.student).__name__}, and a config holds words and numbers",
                hint='write Distillation(student="given"), and hand the module over beside the '
                "techniques: student=my_module",
            )
        one_of("student", self.student, STUDENTS)
        if bool(self.arguments) != (self.student == "own"):
            raise RecipeError(
                f"student is {self.student!r}, and its arguments are {dict(self.arguments)!r}",
                hint='write student="own", arguments={"hidden": 16}: they are of its __init__',
            )
        at_least("epochs", self.epochs, 1)
        rate(self.lr)


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
        one_of("kind", self.kind, ("l1", "l2"))
        between("strength", self.strength, 0, 1)
        at_least("epochs", self.epochs, 1)
        rate(self.lr)


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
        backend: who does it: "onnxruntime", or "torchao" (PT2E: int8, static or aware, minmax or
            histogram). A file for ONNX Runtime stands for the model then, whoever made it.
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
        one_of("to", self.to, ("int8", "int4", "fp16", "bf16"))
        one_of("mode", self.mode, ("static", "dynamic", "weights", "aware"))
        one_of("calibration", self.calibration, ("minmax", "percentile", "entropy", "histogram"))
        one_of("per", self.per, ("channel", "tensor"))
        one_of("backend", self.backend, tuple(QUANTIZERS))
        QUANTIZERS[self.backend].check(self.to, self.mode, self.calibration)
        at_least("n_calibration", self.n_calibration, 1)
        if self.max_drop is not None:
            between("max_drop", self.max_drop, 0, 1)
        at_least("epochs", self.epochs, 0)
        rate(self.lr)
        object.__setattr__(self, "keep", tuple(self.keep))
