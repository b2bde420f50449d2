"""A PostgreSQL server for a test: started from the system's packages, on this machine alone."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

__all__ = ["PostgresServer", "find_postgres"]


def find_postgres(*, install: bool = False) -> Path | None:
    """The folder of ``initdb`` and ``postgres``, newest version first; None without any.

    Args:
        install: install Debian's package where there is none and it can be.
    """
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found:
        places.append(Path(found).resolve().parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    if install and _apt_install("postgresql"):
        return find_postgres()
    return None


def _apt_install(package: str) -> bool:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    words = [apt, "install", "-y", "-qq", "--no-install-recommends", package]
    quiet = {"DEBIAN_FRONTEND": "noninteractive", **os.environ}
    for command in ([apt, "update", "-qq"], words):
        done = subprocess.run(command, check=False, capture_output=True, env=quiet)
    return done.returncode == 0


class PostgresServer:
    """A server with a random password on a random loopback port, gone with `close`.

    Args:
        binaries: where ``initdb`` and ``postgres`` are, from `find_postgres`.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.password = f"p@ss/{secrets.token_hex(8)}"
        self._folder = Path(tempfile.mkdtemp(prefix="nbautoml-pg-"))
        password_file = self._folder / "password"
        password_file.write_text(self.password, encoding="utf-8")
        if os.geteuid() == 0:  # the server refuses to run as root
            for path in (self._folder, password_file):
                shutil.chown(path, "nobody")
        self._run(
            "initdb", "--username=tester", "--auth=scram-sha-256", f"--pwfile={password_file}",
            "--encoding=UTF8", "--locale=C", "--no-sync", f"--pgdata={self._data}",
        )  # fmt: skip
        self.port = _free_port()
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str = "postgres") -> str:
        """How to connect, password included."""
        password = quote(self.password, safe="")
        return f"postgresql://tester:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c fsync=off -k {self._folder}"
        self._run(
            "pg_ctl", "start", "--wait", "--silent", f"--pgdata={self._data}",
            f"--log={self._folder / 'log'}", f"--options={options}",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop it, cutting all connections."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self._data}")

    def close(self) -> None:
        """Stop it and delete everything."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        user = "nobody" if os.geteuid() == 0 else None
        done = subprocess.run(
            [str(self._binaries / program), *words],
            check=False,
            user=user,
            group="nogroup" if user else None,
            extra_groups=[] if user else None,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
        )
        if done.returncode != 0:
            message = (done.stderr or b"").decode("utf-8", "replace")
            raise RuntimeError(f"{program} ended with {done.returncode}: {message}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
