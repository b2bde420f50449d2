"""For tests that train in this process: one thread, and a listener."""

from __future__ import annotations

import pytest
import torch

from nbautoml.train import Silent

__all__ = ["Ear", "one_thread"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Ear(Silent):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.epochs: list[tuple[int, int, dict[str, float]]] = []

    def on_steps(self, steps, losses):
        self.steps += steps
        self.losses += losses

    def on_epoch(self, epoch, step, metrics):
        self.epochs.append((epoch, step, metrics))
        return False
