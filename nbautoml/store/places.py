"""What kind of disk a path lies on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["is_on_network"]

_NETWORK = frozenset({"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"})
_NETWORK |= {"smb3", "smbfs", "beegfs", "virtiofs", "vboxsf", "drvfs", "gpfs", "fuse.sshfs"}


def is_on_network(path: Path, mounts: Iterable[str] | None = None) -> bool:
    """Whether a path lies on a disk that other machines may write to, as far as is known.

    Args:
        path: file or folder.
        mounts: lines as in Linux's ``/proc/mounts``, which is the default.

    >>> lines = ["/dev/sda / ext4 rw", "box:/home /home nfs4 rw", "tmpfs /home/ann/x tmpfs rw"]
    >>> [is_on_network(Path(p), lines) for p in ("/srv/x", "/home/ann/run", "/home/ann/x/run")]
    [False, True, False]
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return False
    parts = Path(os.path.abspath(path)).parts  # noqa: PTH100 (resolve() would ask a dead server)
    kind, depth = "", -1
    for line in mounts:
        words = line.split()
        if len(words) < 3:
            continue
        # Blanks in a mount point are written as octal.
        above = Path(words[1].replace("\\040", " ")).parts
        if parts[: len(above)] == above and len(above) >= depth:
            kind, depth = words[2], len(above)
    return kind in _NETWORK
