"""What a worker that waits does on a GPU before it hears of a run, so that no first trial waits for it.

CUDA makes all ready when it is first used, anew in each process. On an H200 with a slow host (torch
2.11): its context 0.38 s, the first product of matrices (cuBLAS) 0.16, the first convolution (cuDNN)
0.39, and 0.14 for the kernels that the first epoch of a stack calls.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from nbautoml.spec.data import DataSpec, InputSpec
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.data import TrainData
    from nbautoml.events import TaskContext

__all__ = ["make_ready", "rehearse_training"]

N_CLASSES, SIDE, BATCH_SIZE = 4, 8, 16
SETTINGS = FitSettings(epochs=2, batch_size=BATCH_SIZE)
BEST = Objective("accuracy", "maximize")


def make_ready(context: TaskContext) -> None:
    """Have the context's device ready: `rehearse_training` there."""
    import torch

    torch.set_num_threads(context.n_threads)
    rehearse_training(context.device)


def rehearse_training(device: str) -> None:
    """Train two small networks, alone and in stacks, and forget them.

    Nothing is printed, random generators are as before, and of the device's memory only that is kept
    which CUDA and its libraries have taken for themselves.

    Raises:
        Exception: the device cannot be used; a run there will be told the same.
    """
    import torch

    from nbautoml.train import free_memory
    from nbautoml.train.seeds import isolated_rng

    place = torch.device(device)
    try:
        with warnings.catch_warnings(), isolated_rng(place):
            warnings.simplefilter("ignore")  # who would read them is not there yet
            _train(device)
    finally:
        free_memory(place)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)  # what a trial takes is judged by it


def _train(device: str) -> None:
    """One by one first: a stack may be refused, and then most has been loaded."""
    from nbautoml.train import Silent, fit
    from nbautoml.train.stacked import Member, StackedFit

    data, ear = _pictures(device), Silent()
    fit(_cnn, data, SETTINGS, objective=BEST, seed=0, device=device, listener=ear)
    for build in (_mlp, _cnn):
        stack = StackedFit(data, objective=BEST, device=device, width=2)
        for seed in range(2):
            stack.add(Member(number=seed, build=build, settings=SETTINGS, seed=seed, listener=ear))
        for _, ended in stack.run():
            if isinstance(ended, Exception):
                raise ended


def _mlp() -> nn.Module:
    from torch import nn

    ends = nn.Linear(SIDE**2, 16), nn.Linear(16, N_CLASSES)
    return nn.Sequential(nn.Flatten(), ends[0], nn.ReLU(), nn.Dropout(0.1), ends[1])


def _cnn() -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(SIDE**2, N_CLASSES),
    )  # fmt: skip


def _pictures(device: str) -> TrainData:
    """Grey pictures, two batches to train on and one to validate on."""
    import torch

    from nbautoml.data.loading import resident

    n_train, n_valid = 2 * BATCH_SIZE, BATCH_SIZE
    spec = DataSpec(
        digest="0" * 64, task="multiclass", n_rows=n_train, n_valid_given=n_valid,
        n_train=n_train, n_valid=n_valid,
        inputs=(InputSpec(name="x", shape=(1, SIDE, SIDE), dtype="float32"),), layout="single",
        target_shape=(), target_dtype="int64", classes=tuple(map(str, range(N_CLASSES))),
    )  # fmt: skip
    pictures = torch.linspace(-1, 1, n_train * SIDE**2).view(n_train, 1, SIDE, SIDE).to(device)
    labels = (torch.arange(n_train) % N_CLASSES).to(device)
    valid = pictures[:n_valid], labels[:n_valid]
    return resident(spec, (pictures, labels), valid)
