"""An interrupt waits until what must not be half done is whole.

Python raises `KeyboardInterrupt` between any two of its steps: after a file was locked and before
anybody could unlock it, say, or after a run's recipe was written and before its signature.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["interrupts_held"]


@contextlib.contextmanager
def interrupts_held(told: str = "") -> Iterator[None]:
    """Hold Ctrl-C back while the block runs, which must be short; then it comes as always.

    Where it comes to a thread other than the main one, or is not Python's to handle, nothing is done.
    When the block fails, its own error is the answer to the interrupt.

    Args:
        told: the text of the `KeyboardInterrupt`, for the person who pressed.

    >>> with contextlib.suppress(KeyboardInterrupt), interrupts_held():
    ...     signal.raise_signal(signal.SIGINT)
    ...     print("whole")
    whole
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if is_main else None
    if not callable(before):
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed and before is signal.default_int_handler:
        raise KeyboardInterrupt(told)
    if pressed:
        before(pressed[0], None)
