"""What to run, as a frozen statement that fits in a file: the first thing in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbautoml.errors import RecipeError, nearest
from nbautoml.spec.budget import Budget
from nbautoml.spec.data import DataSpec
from nbautoml.spec.objective import Objective
from nbautoml.spec.space import Space

__all__ = ["EXECUTORS", "ROLES", "Execution", "Recipe", "Target"]

ROLES = ("module", "objective", "estimator")
EXECUTORS = ("auto", "inline", "process", "vectorized")
RECIPE_VERSION = 1


def _one_of(what: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        near = nearest(value, options)
        raise RecipeError(
            f"{what} {value!r} is not known",
            hint=f"did you mean {near!r}?" if near else "one of: " + ", ".join(options),
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is trained.

    Attributes:
        role: "module" (a class, built per trial), "objective" (a function of an Optuna
            trial) or "estimator" (a scikit-learn class, tuned by cross-validation).
        symbol: its name inside the capsule.
        capsule_hash: sha256 of the capsule it was submitted with.
        loss: name inside the capsule of a loss that the user wrote, or "".
    """

    role: str
    symbol: str
    capsule_hash: str
    loss: str = ""

    def __post_init__(self) -> None:
        _one_of("role", self.role, ROLES)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How and where: executor, workers, device, and what happens when the kernel goes.

    Attributes:
        executor: "process" (workers of their own, a trial each), "vectorized" (the same, with
            many trials trained as one in each), "inline" (this process, blocking), or "auto":
            the first task measures which of the first two is faster.
        n_workers: trials at once; None lets the engine choose.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        detach: True: the run goes on when its kernel is shut down on purpose.
        deterministic: True: the trial table hangs neither on the number of workers nor on who
            was faster; trials are drawn in rounds.
    """

    executor: str = "auto"
    n_workers: int | None = None
    device: str = "auto"
    detach: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        _one_of("executor", self.executor, EXECUTORS)
        if self.n_workers is not None and self.n_workers < 1:
            raise RecipeError(
                f"workers must be at least 1, got {self.n_workers}",
                hint="leave it out to let the engine choose",
            )
        kind = self.device.partition(":")[0]
        if kind not in {"auto", "cpu", "cuda", "mps"}:
            raise RecipeError(
                f"device {self.device!r} is not known", hint="one of: auto, cpu, cuda, cuda:1, mps"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run's numbers, and nothing else.

    Attributes:
        kind: which driver runs it: "tune", "train", and later kinds.
        name: label that a person gave it; never a path.
        run_id: generated; names the run's folder.
        space: what varies.
        fixed: plain values for the module's parameters and the trainer's settings.
        objectives: what is judged, first one first.
        data: the snapshot that is trained on; None for an objective that brings its own.
        seed: every random number of the run derives from it.
        settings: what runs of this kind alone need, as plain JSON: limits of a compression.
    """

    kind: str
    name: str
    run_id: str
    target: Target
    data: DataSpec | None
    space: Space
    fixed: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    budget: Budget
    seed: int = 0
    sampler: str = "auto"
    stopper: str = "auto"
    execution: Execution = field(default_factory=Execution)
    enqueued: tuple[Mapping[str, Any], ...] = ()
    created_at: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON object, with the format's version."""
        return {
            "version": RECIPE_VERSION,
            "kind": self.kind,
            "name": self.name,
            "run_id": self.run_id,
            "target": vars(self.target),
            "data": self.data.to_json() if self.data else None,
            "space": self.space.to_json(),
            "fixed": dict(self.fixed),
            "objectives": [vars(objective) for objective in self.objectives],
            "budget": vars(self.budget),
            "seed": self.seed,
            "sampler": self.sampler,
            "stopper": self.stopper,
            "execution": vars(self.execution),
            "enqueued": [dict(params) for params in self.enqueued],
            "created_at": self.created_at,
            "versions": dict(self.versions),
            "source": dict(self.source),
            **({"settings": dict(self.settings)} if self.settings else {}),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_json` wrote.

        Raises:
            RecipeError: written by a newer version, or not a recipe.
        """
        version = found.get("version")
        if not isinstance(version, int) or version > RECIPE_VERSION:
            raise RecipeError(
                f"this recipe has format {version!r}, this nbautoml reads up to {RECIPE_VERSION}",
                hint="upgrade nbautoml to open this run",
            )
        try:
            return cls(
                kind=found["kind"],
                name=found["name"],
                run_id=found["run_id"],
                target=Target(**found["target"]),
                data=DataSpec.from_json(found["data"]) if found["data"] else None,
                space=Space.from_json(found["space"]),
                fixed=dict(found["fixed"]),
                objectives=tuple(Objective(**item) for item in found["objectives"]),
                budget=Budget(**found["budget"]),
                seed=found["seed"],
                sampler=found["sampler"],
                stopper=found["stopper"],
                execution=Execution(**found["execution"]),
                enqueued=tuple(found["enqueued"]),
                created_at=found["created_at"],
                versions=dict(found["versions"]),
                source=dict(found.get("source", {})),
                settings=dict(found.get("settings", {})),
            )
        except (KeyError, TypeError) as error:
            raise RecipeError(f"not a recipe: {error}") from error
