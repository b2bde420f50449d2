"""Trials in rounds: a study whose answers hang on what was tried, and not on who was faster.

::

    round 0: draw 0..7 --> train, in any order, on any number of workers --> tell 0, 1, ... 7
    round 1: draw 8..15    the stopper knows round 0 and the trial itself     tell 8, ... 15

The rule: a trial is drawn from all that was told and the trials of its own round with smaller
numbers; it is stopped by all that was told and its own curve. Trials are told when their whole
round has ended, in the order of their numbers. So nothing depends on the order in which reports
come in, nor on how many workers there are, and a study that is rebuilt from its record goes on
as if it had never been away.

What that costs: a sampler and a stopper know nothing of the other trials of the round, no trial
of the first round is stopped, workers wait at the end of a round for its slowest trial, and more
workers than a round has trials have nothing to do. The waiting alone takes, for 64 trials, between
nothing (trials alike) and a tenth more on two workers, up to a half more on four
(``benchmarks/README.md``).
"""

from __future__ import annotations

from nbautoml.errors import RecipeError

__all__ = ["BLIND", "ROUND", "WIDE_ROUND", "check_can_be_in_rounds", "round_size"]

ROUND = 8
WIDE_ROUND = 64
# These look at nothing that came before.
BLIND = frozenset({"random", "qmc", "grid", "brute"})


def round_size(sampler: str, stopper: str) -> int:
    """Trials in a round: it must not hang on the machine, so it is a fixed number.

    Where nobody learns from a trial the next may be drawn long before.

    >>> round_size("tpe", "asha"), round_size("random", "asha"), round_size("random", "none")
    (8, 8, 64)
    """
    return WIDE_ROUND if sampler in BLIND and stopper == "none" else ROUND


def check_can_be_in_rounds(*, is_open: bool) -> None:
    """Refuse what cannot be promised.

    Raises:
        RecipeError: the space becomes known only while trials run.
    """
    if is_open:
        raise RecipeError(
            "an objective asks for its values while it runs, and draws numbers of its own: "
            "its trials cannot be made deterministic from outside",
            hint="leave out --deterministic, and seed what the objective does by trial.number",
        )
