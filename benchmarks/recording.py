"""The chapter of the record: see `record`, which measures it."""

from __future__ import annotations

import record
from figures import Figure, Goal

LIMITS_MS = {"point": 0.1, "trial at 5000": 2.0, "open and read all 10000 trials": 1000.0}
METHODS = {
    "point": "One measured value, written in transactions of 100.",
    "trial": "All that is written of a trial of 10 epochs, each on its own, its end with an fsync.",
}


def measure(*, is_quick: bool) -> list[Figure]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = record.run(is_quick=is_quick)
    groups: dict[str, dict[str, list[float]]] = {}
    for name, row in rows.items():
        what, _, who = name.rpartition(", ")
        groups.setdefault(what, {})[who] = row["values"]
    return [
        Figure(
            f"recording: {what}",
            "ms",
            dict(sorted(ways.items(), key=_ours_first)),
            [Goal(LIMITS_MS[what])] if what in LIMITS_MS else [],
            method=METHODS.get(what.split()[0], ""),
        )
        for what, ways in groups.items()
    ]


def _ours_first(pair: tuple[str, list[float]]) -> bool:
    return pair[0] != "nbautoml"
