"""The supervisor as it is, with a notary beside it, and where asked with a bullet at a chosen place.

The notary writes each end of a trial, once the record's writer has acknowledged it, into a file of
the test's own, synced: what stands there must be in the record after any kill.

Environment:
    NBAUTOML_TEST_ACKS: that file.
    NBAUTOML_TEST_KILL: "site:n": die (SIGKILL) at the n-th passing of a site; sites are
        "before-write", "before-commit" and "after-commit" of a batch that ends a trial.
    NBAUTOML_TEST_LIGHT: preload no torch in the forkserver, for objectives that use none.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from typing import Any

from nbautoml.events import Event, TrialEnded
from nbautoml.store import writer as writing

__all__ = ["main"]


class Bullet:
    """Kills this process at the n-th passing of a site."""

    def __init__(self, said: str) -> None:
        self.site, _, n = said.partition(":")
        self.n_left = int(n or 0)

    def pass_by(self, site: str) -> None:
        if site == self.site:
            self.n_left -= 1
            if self.n_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _ends(events: Sequence[Event]) -> list[TrialEnded]:
    return [event for event in events if isinstance(event, TrialEnded)]


def _notarise(path: str, bullet: Bullet) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    apply, write_batch = writing.Writer.apply, writing.write_batch

    def acked(self: writing.Writer, events: Sequence[Event]) -> int:
        ends = _ends(events)
        if ends:
            bullet.pass_by("before-write")
        seq = apply(self, events)
        if ends:
            bullet.pass_by("after-commit")
        for end in ends:
            line = json.dumps({"trial": end.trial, "state": end.state, "values": list(end.values)})
            os.write(handle, f"{line}\n".encode())
        if ends:
            os.fsync(handle)
        return seq

    def watched(connection: Any, batch: Any, **words: Any) -> None:
        write_batch(connection, batch, **words)
        if batch.is_final:
            bullet.pass_by("before-commit")

    writing.Writer.apply = acked  # type: ignore[method-assign]
    writing.write_batch = watched


def main() -> int:
    """As `nbautoml.engine.starting.main`."""
    from nbautoml.engine import forking, starting

    _notarise(os.environ["NBAUTOML_TEST_ACKS"], Bullet(os.environ.get("NBAUTOML_TEST_KILL", "")))
    if os.environ.get("NBAUTOML_TEST_LIGHT"):
        forking.PRELOAD = (
            "nbautoml.engine.loading",
            "nbautoml.engine.worker",
            "nbautoml.tune.objectives",
            "nbautoml.engine.guard",
        )
        starting.PRELOAD_BY_KIND = {}
    else:
        forking.PRELOAD += ("eager_worker",)
    return starting.main()
