"""The same run in a real kernel with its panel open and with nothing shown: what watching costs.

Open: the run is shown below a cell, and a client says what a browser with our extension says; it
gets the deltas of every tick, and asks for the curves of new trials. The time is the record's own,
from the first trial's start to the last one's end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Figure, Goal
from turns import Clock, alternate

CLOSED = "panel closed"
TIMEOUT_S = 120.0

SETUP = """
import sys
sys.path.insert(0, {here!r})
import nbautoml
from models import Mlp, digits
from ours import warmed
from pathlib import Path
home = Path({home!r})
data = digits()
nbautoml.load_ipython_extension(get_ipython())
"""
BEGIN = """
warmed(home)
run = nbautoml.tune(Mlp, data=data, space={{"lr": nbautoml.Float(1e-4, 1e-1, log=True)}},
                    trials={n}, epochs={epochs}, batch_size=64, sampler="random", stopper="none",
                    executor="process", home=home)
print("RUN", run.id)
"""
SHOW = "from nbautoml.api.showing import show\nshow(run)"
SPENT = """
run.wait()
assert run.state == "finished", run.message
with run.folder.reader() as reader:
    trials = reader.trials()
print("SPENT", max(t.ended_at for t in trials) - min(t.started_at for t in trials))
"""


class Kernel:
    """A kernel, and what a front end says to it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.n_ticks = 0

    def run(self, code: str) -> str:
        """Execute a cell; what it printed."""
        asked = self._client.execute(code, store_history=False)
        printed = ""
        while True:
            message = self._client.get_iopub_msg(timeout=TIMEOUT_S)
            content, kind = message["content"], message["msg_type"]
            if kind == "comm_msg":
                self.n_ticks += content["data"].get("type") == "tick"
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "stream":
                printed += content["text"]
            elif kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return printed

    def watch(self, run_id: str) -> None:
        """What the panel says when it opens."""
        from nbautoml.widgets.protocol import COMMANDS_TARGET

        comm_id = uuid.uuid4().hex
        self._send("comm_open", {"comm_id": comm_id, "target_name": COMMANDS_TARGET, "data": {}})
        hello = {
            "type": "hello",
            "v": 1,
            "client": "bench",
            "cid": uuid.uuid4().hex,
            "run": run_id,
            "have": None,
        }
        self._send("comm_msg", {"comm_id": comm_id, "data": hello})

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._client.shell_channel.send(self._client.session.msg(kind, content))


@contextlib.contextmanager
def kernel(home: Path) -> Iterator[Kernel]:
    from jupyter_client.manager import KernelManager

    here = str(Path(__file__).resolve().parent)
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    paths = [here, str(Path(here).parent), os.environ.get("PYTHONPATH", "")]
    manager.start_kernel(env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT_S)
        found = Kernel(client)
        found.run(SETUP.format(here=here, home=str(home)))
        yield found
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def spent_s(front: Kernel, n_trials: int, epochs: int, *, is_open: bool) -> float:
    """Seconds of the run's trials, from the first one's start to the last one's end."""
    run_id = _word(front.run(BEGIN.format(n=n_trials, epochs=epochs)), "RUN")
    before = front.n_ticks
    if is_open:
        front.run(SHOW)
        front.watch(run_id)
    found = float(_word(front.run(SPENT), "SPENT"))
    if is_open and front.n_ticks == before:
        raise RuntimeError("the panel was told nothing while the run went on")
    return found


def _word(printed: str, name: str) -> str:
    for line in printed.splitlines():
        if line.startswith(name + " "):
            return line.split()[1]
    raise RuntimeError(f"the cell printed no {name}: {printed}")


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    n, epochs, repeats = (24, 20, 1) if is_quick else (40, 25, 9)
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        # A kernel for each way, for all its runs: to start one takes longer than a run.
        fronts = {
            is_open: stack.enter_context(kernel(Path(place, name)))
            for is_open, name in ((True, "open"), (False, "closed"))
        }
        for front in fronts.values():
            spent_s(front, 8, 5, is_open=False)  # loads what a first run loads
        values = alternate(
            {
                "panel open": lambda: spent_s(fronts[True], n, epochs, is_open=True),
                CLOSED: lambda: spent_s(fronts[False], n, epochs, is_open=False),
            },
            repeats=repeats,
            clock=clock,
        )
    yield Figure(
        f"watching: a run of {n} trials, MLP on digits, {epochs} epochs",
        "s",
        values,
        [Goal(1.02, CLOSED)],
        method=(
            "A real kernel for each way; open: shown below a cell, with a client that says what "
            "the browser says and takes what it is told. Two workers on all cores, so that "
            "what the panel costs is taken from them."
        ),
    )
