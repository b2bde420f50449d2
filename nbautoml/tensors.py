"""Files of tensors: read as safetensors and as plain arrays, and as nothing else.

Both forms hold numbers and texts. What is no such file (a pickle, an archive, a header that lies
about its bytes) is an error in words; there is no other reader to fall back on. Nothing of torch or
numpy is loaded before a file is read.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from nbautoml.errors import StoreError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["array_of", "metadata_of", "tensors_of"]

_HEADER_BYTES = 8
_HINT = "it is damaged, or another program wrote it; take it from a backup, or train again"


def tensors_of(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        StoreError: it is none.

    >>> tensors_of(b"PK and other bytes")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    nbautoml.errors.StoreError: these 18 bytes are no safetensors file: Error while ...
    Hint: it is damaged, or another program wrote it; take it from a backup, or train again
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(data))
    # A KeyError is a type of numbers that this torch does not have.
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise _refused("safetensors file", data, error) from error


def metadata_of(data: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file.

    Raises:
        StoreError: it is none.
    """
    size = int.from_bytes(data[:_HEADER_BYTES], "little")
    try:
        header = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + size])
        return {str(key): str(text) for key, text in header.get("__metadata__", {}).items()}
    # A header that is nested deeply enough ends in a RecursionError.
    except (ValueError, AttributeError, RecursionError) as error:
        raise _refused("safetensors file", data, error) from error


def array_of(data: bytes) -> np.ndarray[Any, Any]:
    """The array of a file in numpy's ``.npy`` form: one array of numbers, no objects, no archive.

    Raises:
        StoreError: it is none.

    >>> import numpy as np
    >>> file = io.BytesIO()
    >>> np.save(file, np.arange(3))
    >>> array_of(file.getvalue())
    array([0, 1, 2])
    """
    from numpy.lib import format as npy

    try:
        # Not numpy.load, which also opens archives (and, if told to, pickles).
        found: np.ndarray[Any, Any] = npy.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError, EOFError, TypeError, RecursionError, OverflowError) as error:
        raise _refused("file of one array of numbers", data, error) from error
    return found


def _refused(form: str, data: bytes, error: BaseException) -> StoreError:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return StoreError(f"these {len(data):,} bytes are no {form}: {why}", hint=_HINT)
