"""Data known by name: scikit-learn's small real sets, and folders of IDX files (MNIST)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from nbautoml.data.arrays import Array
from nbautoml.errors import DataError, nearest

__all__ = ["LoadedSet", "load_idx_folder", "load_named", "named_sets", "read_idx"]

_TASKS = {
    "breast_cancer": "binary",
    "diabetes": "regression",
    "digits": "multiclass",
    "wine": "multiclass",
}
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE_BYTES = 16 << 20
_IDX_PARTS = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class LoadedSet:
    """A set of data with what is known about it; unpacks into ``X, y``.

    Attributes:
        inputs: features.
        target: labels or numbers.
        task: what is predicted.
        class_names: names of the classes 0, 1, ...
        feature_names: names of the features.
        should_standardise: features get mean 0 and deviation 1, by the training rows.
        notes: what was done to the values.

    >>> X, y = load_named("wine")
    >>> X.shape, y.shape
    ((178, 13), (178,))
    """

    inputs: Array
    target: Array
    task: str
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    should_standardise: bool = False
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Array]:
        return iter((self.inputs, self.target))

    def __len__(self) -> int:
        return 2


def named_sets() -> tuple[str, ...]:
    """Names that `load_named` knows.

    >>> named_sets()
    ('breast_cancer', 'diabetes', 'digits', 'wine')
    """
    return tuple(_TASKS)


def load_named(name: str) -> LoadedSet:
    """One of scikit-learn's built-in sets; nothing is downloaded.

    ``digits``: 1,797 images of 8 x 8, flat (64 features), pixels divided by 16 to lie in 0 to 1.
    ``wine``, ``breast_cancer``, ``diabetes``: tables; a snapshot standardises their features.

    Raises:
        DataError: no set of that name.

    >>> float(load_named("digits").inputs.max())
    1.0
    """
    if name not in _TASKS:
        near = nearest(name, _TASKS)
        raise DataError(
            f"there is no data set named {name!r}",
            hint=f"did you mean {near!r}?" if near else "named sets: " + ", ".join(_TASKS),
        )
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    features = np.asarray(bunch.data, dtype=np.float64)
    is_pixels = name == "digits"
    return LoadedSet(
        inputs=(features / 16).astype(np.float32) if is_pixels else features.astype(np.float32),
        target=np.asarray(bunch.target),
        task=_TASKS[name],
        class_names=tuple(str(item) for item in getattr(bunch, "target_names", ())),
        feature_names=tuple(str(item) for item in bunch.feature_names),
        should_standardise=not is_pixels,
        notes=("digits: 8 x 8 pixels of 0 to 16, flat, divided by 16",) if is_pixels else (),
    )


def load_idx_folder(path: str | Path, part: str = "train") -> LoadedSet:
    """Images and labels of a folder of IDX files, plain or gzipped, as MNIST comes in.

    Images get a channel: ``(rows, 1, height, width)``, uint8. Only one part is read, so that
    the other stays untouched for a final test.

    Args:
        path: folder with ``train-images-idx3-ubyte.gz`` and so on.
        part: "train" or "test" (the files that begin with ``t10k``).

    Raises:
        DataError: files missing, damaged, or not of the same length.
    """
    folder = Path(path).expanduser()
    if part not in _IDX_PARTS:
        raise DataError(f"part {part!r} is not known", hint="one of: train, test")
    images = read_idx(_idx_file(folder, _IDX_PARTS[part], "images"))
    labels = read_idx(_idx_file(folder, _IDX_PARTS[part], "labels"))
    if images.ndim == 3:
        images = images[:, None]
    if labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"the {part} files in {folder} do not fit: images of shape {images.shape}, labels of "
            f"shape {labels.shape}",
            hint="copy the folder again",
        )
    notes = [f"{folder.name}: images shaped {images.shape[1:]}"]
    if part == "train":
        notes.append(f"{folder.name}: the t10k files are left out, for a final test")
    return LoadedSet(images, labels.astype(np.int64), "multiclass", notes=tuple(notes))


def _idx_file(folder: Path, part: str, kind: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", hint="give the folder of the IDX files")
    found = sorted(folder.glob(f"*{part}-{kind}*idx*"))
    if len(found) > 1:  # the plain file beside its archive, or several sets in one folder
        found = [path for path in found if path.suffix != ".gz"] or found
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder} has {len(found)} files like {part}-{kind}-idx*-ubyte(.gz), expected one; it "
            f"holds {names}",
            hint="give a folder with MNIST's four files, or arrays (X, y)",
        )
    return found[0]


def read_idx(path: Path) -> Array:
    """The array in one IDX file; a name that ends in .gz is unpacked.

    Raises:
        DataError: not an IDX file, or cut off.

    Source: http://yann.lecun.com/exdb/mnist, "the IDX file format".
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as packed:
                return _parse_idx(cast("IO[bytes]", packed), path)
        with path.open("rb") as file:
            return _parse_idx(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="copy the file again") from error


def _parse_idx(file: IO[bytes], path: Path) -> Array:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not magic[3]:
        raise DataError(
            f"{path} is no IDX file: it begins with {magic!r}",
            hint="give a folder with MNIST's four files, or arrays (X, y)",
        )
    dtype = np.dtype(_IDX_TYPES[magic[2]])
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path} is cut off within its header", hint="copy the file again")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    expected = math.prod(shape) * dtype.itemsize
    content = bytearray()
    # Piece by piece: a damaged header may ask for more than there is memory.
    while len(content) <= expected and (piece := file.read(_PIECE_BYTES)):
        content += piece
    if len(content) != expected:
        told = "more" if len(content) > expected else f"{len(content)}"
        raise DataError(
            f"{path} should hold {expected} bytes of values for shape {shape}, it has {told}",
            hint="copy the file again",
        )
    return np.frombuffer(content, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
