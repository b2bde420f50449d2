"""Entry point of the supervisor's process: what takes longest is begun before anything else.

A cold start, in seconds of processor time (torch 2.13); lines that overlap are processes of their own::

    kernel       space, data, capsule, one batch, folder 0.03 (in a process's first call 0.3: imports)
    supervisor   Python 0.04, this module 0.04 | itself 0.1, the record 0.35, Optuna 0.15, trials
    forkserver                Python 0.06 | torch 1.2, trainer 0.3
    workers                                                   | forked, data 0.03, fit

All waits for the forkserver's imports; the supervisor is ready in half their time, and a worker
loads nothing. So what counts is what the forkserver loads (`nbautoml.engine.forking`), how
(`nbautoml.engine.loading`) and when. A new record takes 0.03, none of it migrations: its tables are
made as they are today. Nothing is gained by starting one worker before the others, which load
nothing, nor by loading less in the supervisor, where a second core is free.

A warm supervisor's worker also makes the first GPU ready (`nbautoml.tune.ahead`), which takes a run
there a second less. While it waits, `IDLE_LIMIT_S` at most, that holds some 0.5 GB of the GPU's memory:
CUDA's context and kernels. A run that does not begin on that GPU gets another worker, and the memory is
given back. The supervisor and the forkserver never touch a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nbautoml.engine.forking import SESSION_VARIABLE, start_forkserver
from nbautoml.engine.guard import opened_session

if TYPE_CHECKING:
    from nbautoml.engine.process_pool import ProcessPool

__all__ = ["main"]

IDLE_LIMIT_S = 1800.0  # a warm supervisor that nobody needed for so long frees its memory


def main(words: list[str] | None = None) -> int:
    """Own a run until it is over; returns the exit code of the process.

    Started with the run's folder, or warm: then it loads what every run needs, starts one worker,
    and waits on its standard input for the folder. When that input closes first, its kernel is gone
    and so is its purpose. `nbautoml.engine.client` starts it; a user never does.
    """
    parser = argparse.ArgumentParser(prog="nbautoml.engine.starting")
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--kind", default="", help="of the run")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (session := opened_session()) is not None:
        os.environ[SESSION_VARIABLE] = str(session)
    context = start_forkserver("warm" if asked.warm else asked.kind)
    # Only now: these load what the supervisor needs, and the forkserver loads meanwhile.
    from nbautoml.engine.devices import Layout
    from nbautoml.engine.process_pool import ProcessPool
    from nbautoml.engine.supervisor import supervise
    from nbautoml.store import Home, RunFolder

    layout = Layout(devices=("cpu",), n_threads=1)  # until the run is known
    pool = ProcessPool(layout, run_folder=Path(), home_data=Path(), context=context)
    home, folder = asked.home, asked.run
    if asked.warm:
        order = _warm_up(pool)
        if order is None:
            pool.close(grace_s=0.0)
            return 0
        os.chdir(order["cwd"])
        home, folder = Path(order["home"]), Path(order["run"])
    return supervise(Home(home), RunFolder(folder), pool)


def _warm_up(pool: ProcessPool) -> Mapping[str, str] | None:
    """Be ready for any run, then wait for one: one JSON line on standard input; None without one."""
    from nbautoml.engine.devices import Layout, are_shared, count_gpus
    from nbautoml.engine.supervisor import rehearse

    has_gpus = count_gpus() > 0 and are_shared()  # asked while the forkserver loads
    pool.warm()
    if has_gpus:
        first = Layout(devices=("cuda:0",), n_threads=1)
        pool.assign(first, run_folder=Path(), home_data=Path())
        pool.open_ahead("nbautoml.tune.ahead:make_ready")
    rehearse()
    ready, _, _ = select.select([sys.stdin], [], [], IDLE_LIMIT_S)
    line = sys.stdin.readline() if ready else ""
    order: dict[str, str] | None = json.loads(line) if line.strip() else None
    return order
