"""A line to a server that can be cut: what a lost wireless network is to a browser."""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["Wire"]


class Wire:
    """Carries bytes between a port of its own and another one, on loopback, until it is cut.

    Args:
        port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._is_cut = False
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> int:
        """End all connections, and refuse new ones until `mend`; how many there were."""
        with self._lock:
            self._is_cut = True
            ended, self._ends = self._ends, []
        for end in ended:
            _shut(end)
        return len(ended) // 2

    def mend(self) -> None:
        """Carry again."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        """End everything."""
        _shut(self._listener)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        with self._lock:
            if self._is_cut:
                near.close()
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [near, far]
            left = [near, far]
        for one, other in ((near, far), (far, near)):
            thread = threading.Thread(target=self._carry, args=(one, other, left), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, one: socket.socket, other: socket.socket, left: list[socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
        _shut(one)
        _shut(other)
        with self._lock:
            left.remove(one)
            if left:
                return
        for end in (one, other):  # both directions are over
            end.close()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
