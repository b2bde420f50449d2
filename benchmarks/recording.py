"""The chapter of the record: see `record`, which measures it."""

from __future__ import annotations

import record
from figures import Figure

GOALS = {
    "point": "<= 0.1 ms",
    "trial at 5000": "<= 2 ms, flat to 5,000 trials",
    "open and read all 10000 trials": "<= 1000 ms",
}


def measure(*, is_quick: bool) -> list[Figure]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = record.run(is_quick=is_quick)
    groups: dict[str, dict[str, list[float]]] = {}
    for name, row in rows.items():
        what, _, who = name.rpartition(", ")
        # Three of the repeats: what quartiles and median are made of.
        low, high = row["spread"]
        groups.setdefault(what, {})[who] = [low, row["value"], high]
    return [
        Figure(
            f"record: {what}",
            "ms",
            dict(sorted(ways.items(), key=_ours_first)),
            GOALS.get(what, ""),
        )
        for what, ways in groups.items()
    ]


def _ours_first(pair: tuple[str, list[float]]) -> bool:
    return pair[0] != "nbautoml"
