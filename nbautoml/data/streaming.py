"""Reading rows of memory maps ahead of time, in a thread, and sending them to a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["Reader"]


class Reader:
    """Gathers pieces of rows in the background: one is in use while the next is read.

    One thread suffices: it waits for the disk, and torch releases the interpreter's lock while
    it copies. The thread ends with the ``with`` block, also when the caller stops early.
    """

    def __init__(self, values: Sequence[Tensor], device: torch.device) -> None:
        self._values = values
        self._device = device
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nbautoml-data")
        # A stream of its own lets the copy to a CUDA device run beside the training step.
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, n_pieces: int, index: Callable[[int], Tensor]) -> Iterator[list[Tensor]]:
        """The pieces in order, on the device.

        Args:
            n_pieces: how many there are.
            index: row numbers of piece number i.
        """
        ahead: Future[tuple[list[Tensor], Any]] | None = None
        for number in range(n_pieces):
            now = ahead or self._pool.submit(self._gather, index, number)
            if number + 1 < n_pieces:
                ahead = self._pool.submit(self._gather, index, number + 1)
            rows, event = now.result()
            yield self._received(rows, event)

    def _gather(self, index: Callable[[int], Tensor], number: int) -> tuple[list[Tensor], Any]:
        # Sorted, so that a disk is read forwards; put into the wanted order in memory.
        ordered, place = torch.sort(index(number))
        back = torch.empty_like(place)
        back[place] = torch.arange(len(place), device="cpu")
        is_sorted = bool((place[1:] > place[:-1]).all())
        rows = []
        for values in self._values:
            read = values.index_select(0, ordered)
            if self._stream is None:
                rows.append(read if is_sorted else read.index_select(0, back))
                continue
            pinned = torch.empty(read.shape, dtype=read.dtype, pin_memory=True, device="cpu")
            rows.append(torch.index_select(read, 0, back, out=pinned))
        if self._stream is None:
            return [item.to(self._device) for item in rows], None
        with torch.cuda.stream(self._stream):
            sent = [item.to(self._device, non_blocking=True) for item in rows]
            event = self._stream.record_event()
        return sent, event

    def _received(self, rows: list[Tensor], event: Any) -> list[Tensor]:
        if event is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(event)
            for item in rows:
                # The memory belongs to the copying stream; do not reuse it before we are done.
                item.record_stream(current)
        return rows
