"""A trial's numbers are its own: the same inline, in processes and in stacks."""

from __future__ import annotations

from nbautoml.testing.executor_contract import ExecutorContract


class TestOurExecutors(ExecutorContract):
    pass
