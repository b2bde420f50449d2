"""A trial's numbers are its own: the same inline, in processes and in stacks; modules without a state."""

from __future__ import annotations

from nbautoml.testing.executor_contract import ExecutorContract
from nbautoml.testing.small_modules import KINDS


class TestOurExecutors(ExecutorContract):
    kinds = tuple(KINDS)[:2]
