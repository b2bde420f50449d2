"""Loaded beside the package in a test's forkserver: checkpoints as often as can be, and a bullet after one.

Environment:
    NBAUTOML_TEST_CHECKPOINT_S: seconds between two checkpoints of a trial, whatever they cost.
    NBAUTOML_TEST_SHOTS: while this file is there, each worker dies (SIGKILL) when its third to sixth
        checkpoint has got its name and nobody has been told of it; it leaves a line there.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from nbautoml.tune import checkpoints

__all__: list[str] = []


def write_eagerly(pause_s: float) -> None:
    """What is asked of users' runs, that checkpoints cost next to nothing, is not asked here."""
    checkpoints.Checkpoints.__init__.__kwdefaults__ |= {"share": 100.0, "least_s": pause_s}


def shoot_after_renaming(place: Path) -> None:
    """The worker dies between "checkpoint renamed" and "row written"."""
    save, n_saved = checkpoints.save_artifact, Counter[int]()

    def saved(*words: Any, **more: Any) -> Any:
        written = save(*words, **more)
        n_saved[written.trial] += 1
        # Two were told of before: a trial that kills its worker again and again has failed.
        if n_saved[written.trial] >= 3 + os.getpid() % 4 and place.exists():
            with place.open("a", encoding="utf-8") as file:
                file.write(f"{written.trial} {written.details['epoch']} {written.path}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    checkpoints.save_artifact = saved


if "NBAUTOML_TEST_CHECKPOINT_S" in os.environ:
    write_eagerly(float(os.environ["NBAUTOML_TEST_CHECKPOINT_S"]))
if "NBAUTOML_TEST_SHOTS" in os.environ:
    shoot_after_renaming(Path(os.environ["NBAUTOML_TEST_SHOTS"]))
