"""What the first stack of each worker would find out anew: found out once, before workers are forked.

Torch's table of the functions that a module may call took a fresh worker 20 ms of the first 130 of a
run, in which it trains nothing. Only the forkserver imports this. No thread is begun here, and no
gradient computed: a process whose torch has done either cannot be forked.
"""

from __future__ import annotations

import torch

from nbautoml.train.stacked.tape import name_of

__all__: list[str] = []

name_of(torch.relu)
