"""Files that claim to hold weights and do not: pickles, archives, headers that lie.

Whoever executes what is in one of them leaves a marker behind.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch

__all__ = ["HOSTILE", "Trap", "hostile_files"]


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.marker), "w")


def _safetensors(header: object, body: bytes = b"", *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def _tensor(begin: int, end: int, shape: tuple[int, ...] = (1,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def _zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def _tarred(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _saved(write: object, *words: object, **more: object) -> bytes:
    file = io.BytesIO()
    write(file, *words, **more)  # type: ignore[operator]
    return file.getvalue()


def _npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def hostile_files(marker: Path) -> dict[str, bytes]:
    """The files by what they are; each that can act would make the marker."""
    trap = Trap(marker)
    pickles = {f"pickle protocol {n}": pickle.dumps(trap, protocol=n) for n in (0, 2, 5)}
    weights = pickle.dumps({"w": trap})
    objects = np.array([trap], dtype=object)
    torch_zip = _saved(lambda file: torch.save({"w": trap}, file))
    torch_old = _saved(
        lambda file: torch.save({"w": trap}, file, _use_new_zipfile_serialization=False)
    )
    said = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    deep = b"[" * 200_000 + b"]" * 200_000
    good = _safetensors({"w": _tensor(0, 4)}, bytes(4))
    return {
        **pickles,
        "torch.save": torch_zip,
        "torch.save of before": torch_old,
        "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + weights,
        "zip that leads out": _zipped((f"../{marker.name}", b"x"), (f"{marker}", b"x")),
        "pt2": _zipped(
            ("archive/archive_format", b"pt2"),
            ("archive/data/constants/data.pkl", weights),
            ("archive/extra/code.py", said.encode()),
        ),
        "TorchScript": _zipped(
            ("m/code/__torch__.py", said.encode()), ("m/data.pkl", weights), ("m/version", b"3")
        ),
        "archive in an archive": _zipped(
            ("weights.safetensors", _tarred("data.pkl", torch_zip)),
        ),
        "gzip": _tarred("../marker", weights),
        "npy of objects": _saved(np.save, objects, allow_pickle=True),
        "npz of objects": _saved(np.savez, w=objects),
        "npz of numbers": _saved(np.savez, w=np.ones(1)),
        "npy whose header is code": _npy(f"{{'descr': {said}, 'shape': (1,)}}"),
        "npy larger than it is": _npy(
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}"
        ),
        "npy of a negative shape": _npy(
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)
        ),
        "header of 2**62 bytes": _safetensors({"w": _tensor(0, 4)}, bytes(4), size=2**62),
        "header over its end": _safetensors({"w": _tensor(0, 4)}, size=5000),
        "tensors that overlap": _safetensors({"a": _tensor(0, 4), "b": _tensor(0, 4)}, bytes(4)),
        "offset below 0": _safetensors({"a": _tensor(-4, 0)}, bytes(4)),
        "offset over the end": _safetensors({"a": _tensor(0, 2**50)}, bytes(4)),
        "shape that overflows": _safetensors({"a": _tensor(0, 4, (2**62, 2**62))}, bytes(4)),
        "numbers of no type": _safetensors({"a": {**_tensor(0, 4), "dtype": "PICKLE"}}, bytes(4)),
        "pickle behind its end": good + weights,
        "header of 200,000 brackets": _safetensors(deep),
        "texts of 200,000 brackets": _safetensors(
            {"__metadata__": {"nbautoml": deep.decode()}, "w": _tensor(0, 4)}, bytes(4)
        ),
        "header that is a list": _safetensors([]),
        "header that is no text": _safetensors(b"\xff\xfe{}"),
        "half a file": good[: len(good) // 2],
        "nothing": b"",
    }


HOSTILE = tuple(hostile_files(Path("marker")))
