"""How long will it take? An estimate from what the finished trials took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

__all__ = ["NEWEST", "estimate_eta"]

NEWEST = 50  # of the finished trials: the sampler's later trials may be longer than its first


def estimate_eta(
    *,
    durations_s: Sequence[float],
    running_s: Sequence[float],
    running_shares: Sequence[float],
    n_left: int | None,
    n_workers: int,
    wall_left_s: float | None,
) -> float | None:
    """Seconds until the run is over, or None when nothing tells.

    A trial is expected to take the mean of the newest fifty finished ones (those that were stopped
    early count as they are: as many of the coming ones will be). Before the first has finished, a
    running trial that is a known share through its epochs tells instead. The work that is left is
    then spread over the workers::

        left = n_left * mean + sum(max(mean - running_s, 0))          [worker seconds]
        eta  = max(left / n_workers, longest of the running ones)     at most wall_left_s

    Args:
        durations_s: of the trials that ended by themselves, in the order in which they ended;
            only the newest fifty count.
        running_s: how long each running trial has been running.
        running_shares: how far each of them is, 0 to 1 (epochs done of epochs to do).
        n_left: trials that have not begun; None when only the time limits the run.
        n_workers: trials at once.
        wall_left_s: what is left of the time budget; None for no limit.

    >>> estimate_eta(durations_s=[2.0, 4.0], running_s=[1.0], running_shares=[0.5], n_left=4,
    ...              n_workers=2, wall_left_s=None)
    7.0
    """
    if durations_s:
        mean: float | None = fmean(durations_s[-NEWEST:])
    else:
        guesses = [
            spent / share
            for spent, share in zip(running_s, running_shares, strict=True)
            if share > 0
        ]
        mean = fmean(guesses) if guesses else None
    if n_left is None or mean is None:
        return wall_left_s
    rests = [max(mean - spent, 0.0) for spent in running_s]
    eta = max((n_left * mean + sum(rests)) / max(n_workers, 1), *rests, 0.0)
    return eta if wall_left_s is None else min(eta, wall_left_s)
