"""What a sampler or stopper is chosen by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from nbautoml.spec.objective import Direction
from nbautoml.spec.space import Space

__all__ = ["Situation", "derived_seed"]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The study as far as its parts need to know it.

    Attributes:
        space: what varies; empty where an objective says it while it runs.
        directions: one an objective.
        seed: the study's own.
        n_trials: how many trials there will be; None when time decides.
        max_epochs: the most reports a trial can make; None when nobody knows.
    """

    space: Space
    directions: tuple[Direction, ...]
    seed: int = 0
    n_trials: int | None = None
    max_epochs: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the dimensions become known only while trials run."""
        return len(self.space) == 0

    @property
    def n_objectives(self) -> int:
        """How many values a trial has."""
        return len(self.directions)


def derived_seed(*parts: int | str) -> int:
    """A seed of 32 bits that depends on all parts and on nothing else.

    A draw whose generator is seeded by (study, trial) is the same however many trials were drawn
    before it in this process: a study that is rebuilt from its record goes on as if it had never
    been away.

    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(1, 0)
    (True, False)
    """
    text = ":".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
