r"""On a GPU: trials a second beside Optuna and a plain loop, and one fit beside a tight loop.

::

    python benchmarks/gpu.py [--quick] [--device cuda:0] [--out out]      # or: make bench-gpu

Writes gpu.json and gpu.md. Without CUDA it says so and ends with code 2; ``--device cpu --quick``
tries the program itself out, and its figures mean nothing.

It needs no network. A bare machine with torch >= 2.11 needs, beside this repository:

* wheels of what a run imports, made where there is a network (same Python and system)::

      pip download --only-binary :all: --no-deps -d wheels alembic cloudpickle colorlog joblib \
          lightning-utilities mako markupsafe narwhals numpy optuna packaging psutil pyyaml \
          safetensors scikit-learn scipy sqlalchemy threadpoolctl torchmetrics tqdm typing-extensions
      pip install --no-index --no-deps --find-links wheels wheels/*.whl      # on the machine

* the four files of MNIST, in the folder that the variable NBAUTOML_MNIST names; without them the
  figures of the CNN are left out.

Nothing is installed of nbautoml itself: it is imported from the repository, its front end is not
needed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
# The processes of a run import nbautoml too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)

import compiling
import torch
from figures import Figure, Goal
from fitting import TIGHT, our_fit, tight_fit, timed
from models import Cnn, Mlp, digits, mnist
from pages import Results, write
from peers import Job, by_optuna
from tuning import OPTUNA, by_us
from turns import Clock, TimeOverError, alternate

LIMIT_S = 540.0
N_IMAGES = 10_000


def tuning(
    name: str, job: Job, n_trials: int, n_peer: int, goal: float, clock: Clock, n: int
) -> list[Figure]:
    """Milliseconds a trial of whole runs."""
    peer = f"{OPTUNA}, n_jobs=1"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        ways: dict[str, Callable[[], float]] = {
            "nbautoml": partial(by_us, job, n_trials, Path(place), "auto"),
            peer: partial(by_optuna, job, n_peer, 1),
        }
        values = alternate(ways, repeats=n, clock=clock)
    return [
        Figure(
            f"{job.device}: a trial of {n_trials}, {name}",
            "ms",
            values,
            [Goal(1 / goal, peer)],
            method=(
                f"The same learning rates for both, Adam, batches of {job.batch}, "
                f"{job.epochs} epoch{'s' * (job.epochs > 1)}; from the call to the run's end, "
                f"with a warm runner. Optuna: {n_peer} trials a repeat."
            ),
        )
    ]


def fitting(name: str, job: Job, clock: Clock, n: int) -> list[Figure]:
    """Milliseconds of one fit."""
    from nbautoml.data import open_data, snapshot

    with tempfile.TemporaryDirectory() as place:
        spec = snapshot(job.split(), home_data=Path(place))
        data: Any = open_data(spec, Path(place), device=job.device)
        ways = {
            "nbautoml": lambda: timed(lambda: our_fit(job, data), 0.5),
            TIGHT: lambda: timed(lambda: tight_fit(job), 0.5),
        }
        values = alternate(ways, repeats=n, n_warm=1, clock=clock)
    return [Figure(f"{job.device}: one fit, {name}", "ms", values, [Goal(1.03, TIGHT)])]


def stacking(name: str, job: Job, widths: tuple[int, ...], clock: Clock, n: int) -> list[Figure]:
    """Milliseconds a trial of stacks alone: no processes, no record."""
    from nbautoml.data import open_data, snapshot
    from nbautoml.spec.fit import FitSettings
    from nbautoml.spec.objective import Objective
    from nbautoml.train.result import Silent
    from nbautoml.train.stacked import Member, StackedFit, bare, ready

    def train(width: int) -> float:
        stack = StackedFit(
            data, objective=Objective("accuracy", "maximize"), device=job.device, width=width
        )
        like = None
        for number in range(width):
            settings = FitSettings(
                optimizer="adam",
                lr=1e-3 * (1 + number % 10),
                batch_size=job.batch,
                epochs=job.epochs,
            )
            member = Member(
                number=number, build=job.net, settings=settings, seed=number, listener=Silent()
            )
            found = ready(member, data, torch.device(job.device), None, like)
            like = like or bare(found)
            stack.add_ready(found)
        begin = time.perf_counter()
        ended = list(stack.run())
        spent = (time.perf_counter() - begin) / width * 1000
        for _, result in ended:
            if isinstance(result, Exception):
                raise result
        return spent

    with tempfile.TemporaryDirectory() as place:
        spec = snapshot(job.split(), home_data=Path(place))
        data = open_data(spec, Path(place), device=job.device)
        values = alternate(
            {f"{width} as one": lambda width=width: train(width) for width in widths},
            repeats=n,
            n_warm=1,
            clock=clock,
        )
    return [
        Figure(
            f"{job.device}: a trial in a stack, {name}",
            "ms",
            values,
            method=(
                "From the first step to the last trial's end; building and taping are not counted."
            ),
        )
    ]


def parts(
    device: str, clock: Clock, *, is_quick: bool
) -> Iterator[tuple[str, Callable[[], Iterable[Figure]]]]:
    """What is measured, the most important first: a name, and what gives its figures."""
    n = 1 if is_quick else 5
    mlp = Job(Mlp, digits(), epochs=2 if is_quick else 10, device=device)
    images = mnist(640 if is_quick else N_IMAGES)
    cnn = Job(Cnn, images, epochs=1, device=device) if images is not None else None
    names = {"mlp": "MLP on digits", "cnn": "CNN on MNIST images"}
    jobs = {"mlp": mlp, "cnn": cnn}
    few, n_peer = 1 if is_quick else 3, 2 if is_quick else 4

    def run(key: str, job: Job, n_trials: int, goal: float, repeats: int) -> Iterable[Figure]:
        return tuning(names[key], job, n_trials, n_peer, goal, clock, repeats)

    for key, goal in (("mlp", 50.0), ("cnn", 20.0)):
        if (job := jobs[key]) is not None:
            size = 4 if is_quick else 64
            yield f"runs, {names[key]}", partial(run, key, job, size, goal, n)
    widths = (2, 4) if is_quick else (16, 64, 256)
    for key, job in jobs.items():
        if job is not None:
            longer = Job(job.net, job.data, job.epochs * 3, device=device)
            yield f"one fit, {names[key]}", partial(fitting, names[key], longer, clock, n)
            yield f"stacks, {names[key]}", partial(stacking, names[key], job, widths, clock, few)
    if not is_quick:
        yield "a long run", partial(run, "mlp", mlp, 512, 50.0, few)
    if device.startswith("cuda"):
        yield "compiled steps", partial(compiling.measure, device, width=64, epochs=6)


def measured(name: str, part: Callable[[], Iterable[Figure]]) -> Iterator[Figure]:
    """Its figures; what goes wrong is a figure that says so, and the others are measured."""
    try:
        yield from part()
    except TimeOverError as error:
        yield Figure(f"{name}: not finished", "", {}, notes=[f"The rest is {error}."])
    except Exception as error:
        traceback.print_exc()
        text = (str(error).strip().splitlines() or [""])[0]
        yield Figure(f"{name}: failed", "", {}, notes=[f"{type(error).__name__}: {text[:300]}"])


def name_of(device: str) -> str:
    """As a person knows it."""
    if not device.startswith("cuda"):
        return "NOT A GPU"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smallest sizes, one repeat")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="no turn begins after that")
    asked = parser.parse_args(words)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            f"no GPU that torch {torch.__version__} can use: nothing was measured "
            "(--device cpu --quick tries the program out)",
            file=sys.stderr,
        )
        return 2
    warnings.simplefilter("ignore")
    clock, begin = Clock(asked.limit_s), time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        if clock.left_s > 0:  # a process's first run loads what a call needs
            by_us(Job(Mlp, digits(), epochs=1, device=asked.device), 2, Path(place), "process")
    results = Results(is_quick=asked.quick, load=[os.getloadavg()[0]], device=name_of(asked.device))
    for name, part in parts(asked.device, clock, is_quick=asked.quick):
        for figure in measured(name, part):
            about = figure.about()
            about["notes"] += clock.taken()
            results.figures.append(about)
            results.seconds = {"gpu": time.monotonic() - begin}
            write(results, asked.out, "gpu")  # what is there stays, should the next one fail
    results.load.append(os.getloadavg()[0])
    print(write(results, asked.out, "gpu"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
