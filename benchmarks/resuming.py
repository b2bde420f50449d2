"""What checkpoints cost, and how soon a run goes on after its supervisor was killed.

The share is the time inside the keeper (state, bytes, hash, write, fsync) by that of the whole fit,
for a fit that is stopped after some seconds; Adam, so that the file is three times the weights.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from figures import Figure, Goal
from turns import Clock, alternate

# Well beyond the two seconds that pass before a first checkpoint.
FIT_S = 4.0


def share_percent(hidden: int, data: Any, place: Path, *, is_each_epoch: bool) -> float:
    """Time of the checkpoints in percent of the fit's."""
    from models import Mlp

    from nbautoml.events import TrialSpec
    from nbautoml.spec.fit import FitSettings
    from nbautoml.spec.objective import Objective
    from nbautoml.train import Silent, fit
    from nbautoml.tune.checkpoints import Checkpoints, Pace

    spent = 0.0

    class Timed(Checkpoints):
        def keep(self, state: Any) -> None:
            nonlocal spent
            begin = time.perf_counter()
            super().keep(state)
            spent += time.perf_counter() - begin

    class Stops(Silent):
        until = time.perf_counter() + FIT_S

        def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
            return time.perf_counter() > self.until

    def forget(event: Any) -> None:
        """As the supervisor does: a file that is not needed is deleted."""
        written.append(event)
        if len(written) > 2:
            (place / "artifacts" / written.pop(0).path).unlink()

    written: list[Any] = []
    context: Any = SimpleNamespace(run_folder=place, emit=forget, device="cpu")
    always = {"share": 1e9, "least_s": 0.0} if is_each_epoch else {}
    keeper = Timed(TrialSpec(number=0, params={}, seed=0), context, pace=Pace(), **always)
    settings = FitSettings(epochs=100_000, optimizer="adam", batch_size=64)
    begin = time.perf_counter()
    fit(
        lambda: Mlp(hidden), data, settings, objective=Objective("accuracy", "maximize"),
        seed=0, device="cpu", listener=Stops(), keeper=keeper,
    )  # fmt: skip
    return 100 * spent / (time.perf_counter() - begin)


def resume_ms(place: Path) -> tuple[float, float]:
    """From the call to "running" again, and to the first epoch after the checkpoint; both cold."""
    import psutil
    from models import Mlp, digits

    import nbautoml
    from nbautoml.engine import client
    from nbautoml.store import Home

    run = nbautoml.train(Mlp, data=digits(), epochs=100_000, lr=0.001, home=place)
    with run.folder.reader() as reader:
        while not _checkpoints(reader):
            time.sleep(0.05)
        owner = psutil.Process(int(reader.run().owner_pid or 0))
        processes = [owner, *owner.children(recursive=True)]
        os.kill(owner.pid, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=20)
        client.forget_warm()
        epoch = max(_checkpoints(reader))
        begin = time.perf_counter()
        client.resume(Home(place), run.folder)
        while reader.run().state != "running":
            time.sleep(0.005)
        ready = time.perf_counter()
        # With the new attempt's start, what the old one measured after the checkpoint is dropped: an
        # epoch beyond it that is read afterwards is the new attempt's.
        while reader.trials()[0].attempt == 1:
            time.sleep(0.005)
        while reader.trials()[0].epoch <= epoch:
            time.sleep(0.005)
        goes_on = time.perf_counter()
        owner = psutil.Process(int(reader.run().owner_pid or 0))
    run.stop()
    run.wait()
    psutil.wait_procs([owner], timeout=20)
    return (ready - begin) * 1000, (goes_on - begin) * 1000


def _checkpoints(reader: Any) -> list[int]:
    """The epochs that can be gone on from."""
    return [int(row.details["epoch"]) for row in reader.artifacts() if row.kind == "checkpoint"]


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    import torch
    from models import digits

    from nbautoml.data import open_data, snapshot

    torch.set_num_threads(1)
    repeats = 2 if is_quick else 5
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        data = open_data(snapshot(digits(), home_data=place / "data"), place / "data")
        last: dict[str, float] = {}

        def ready() -> float:
            is_ready, last["goes on"] = resume_ms(place / "home")
            return is_ready

        ways = {"running again": ready, "first epoch after it": lambda: last["goes on"]}
        yield Figure(
            "resuming: a run whose supervisor was killed",
            "ms",
            alternate(ways, repeats=repeats, clock=clock),
            [Goal(2000.0)],
            method=(
                "From the call of resume, without a warm runner, to the state in the record and to "
                "the first epoch beyond the checkpoint; MLP on digits."
            ),
        )
        for hidden, n_weights in ((64, "9 thousand"), (1024, "1.1 million")):
            ways = {
                "nbautoml": lambda n=hidden: share_percent(n, data, place, is_each_epoch=False),
                "after every epoch": lambda n=hidden: share_percent(
                    n, data, place, is_each_epoch=True
                ),
            }
            yield Figure(
                f"resuming: checkpoints' share of a fit of {n_weights} weights",
                "%",
                alternate(
                    ways,
                    repeats={"nbautoml": repeats, "after every epoch": min(repeats, 2)},
                    clock=clock,
                ),
                [Goal(3.0)],
                method=f"Time in writing them by that of a fit of {FIT_S:g} s with Adam.",
            )
