"""Weights as the bytes that they take at least: zeros left out, shared values, entropy coded; and back.

What pruning of single weights and shared values give is not seen in a file of plain numbers. Here they
are written as Deep Compression's third step does it, each tensor in the shortest of these forms::

    plain    its bytes as they are
    shared   a table of its different values, and for each place which one, coded
    gaps     how many zeros lie before each value, coded, and the values
    both     the gaps, a table, and for each value which one, coded

"Coded" is Huffman's code as deflate writes it, with its tables; a decoder is in every language. Names and
shapes are left out: a model's blueprint has them.

Source: Han, Mao and Dally 2016, "Deep Compression", section 4; RFC 1951.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nbautoml.errors import UsageError
from nbautoml.measure.measurement import Measurement

__all__ = ["decode_weights", "encode_weights", "stored_size", "weights_in"]

Numbers = npt.NDArray[np.unsignedinteger]

PLAIN, SHARED, GAPS, BOTH = range(4)
FILLER = 255  # stands for as many zeros without a value after them
MOST_VALUES = 65_535  # in a table
_LOOKED_AT = 4096  # places
_UNSIGNED: dict[int, type[np.unsignedinteger]] = {
    1: np.uint8,
    2: np.uint16,
    4: np.uint32,
    8: np.uint64,
}


def encode_weights(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors one after another; one that lies under several names is written once.

    A negative zero becomes a zero; every other number comes back as it was, bit for bit.

    >>> weight = torch.zeros(100, 100)
    >>> weight[::7, ::9] = 0.5
    >>> data = encode_weights({"weight": weight})
    >>> len(data) < 200, torch.equal(decode_weights(data, {"weight": weight})["weight"], weight)
    (True, True)
    """
    return b"".join(_encoded(tensor) for _, tensor in _once(tensors))


def decode_weights(data: bytes, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `encode_weights` wrote.

    Args:
        data: that it wrote.
        like: tensors of the same names, shapes and kinds, of which some may be one.

    Raises:
        UsageError: it was not written of such tensors.
    """
    found: dict[tuple[object, ...], torch.Tensor] = {}
    rest = data
    for name, tensor in _once(like):
        try:
            real = _real(tensor)
            bits, rest = _decoded(rest, real.numel(), _UNSIGNED[real.element_size()])
        except (IndexError, ValueError, zlib.error) as error:
            raise UsageError(
                f"the coded weights do not fit {name} of {tuple(tensor.shape)}: {error}",
                hint="give the tensors (or others of their shapes and kinds) that were encoded",
            ) from error
        flat = torch.from_numpy(bits.copy()).view(tensor.dtype)
        found[_place(tensor)] = flat.reshape(tensor.shape)
    if rest:
        raise UsageError(f"{len(rest):,} bytes are left over", hint="some tensors are missing")
    return {name: found[_place(tensor)] for name, tensor in like.items()}


def stored_size(tensors: Mapping[str, torch.Tensor]) -> Measurement:
    """Bytes that tensors take when they are coded."""
    return Measurement(
        value=len(encode_weights(tensors)),
        unit="B",
        method="weights written without zeros, with shared values, deflated",
    )


def weights_in(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, as a file holds them."""
    found = module.state_dict().items()
    return {name: tensor for name, tensor in found if isinstance(tensor, torch.Tensor)}


def _once(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Tied weights lie under several names."""
    seen: set[tuple[object, ...]] = set()
    for name, tensor in tensors.items():
        if _place(tensor) not in seen:
            seen.add(_place(tensor))
            yield name, tensor


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    """Two views of one place are one tensor where they show the same."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


# -- one tensor -------------------------------------------------------------------------------


def _encoded(tensor: torch.Tensor) -> bytes:
    flat = _real(tensor.detach().cpu()).flatten()
    if flat.is_floating_point() and flat.element_size() > 1:  # nothing adds floats of 8 bits
        flat = flat + 0.0  # a pruned weight may be a negative zero
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = flat.view(whole[flat.element_size()]).numpy().view(_UNSIGNED[flat.element_size()])
    return min([bytes([PLAIN]) + bits.tobytes(), *_coded_forms(bits)], key=len)


def _real(tensor: torch.Tensor) -> torch.Tensor:
    """Complex numbers as pairs."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _coded_forms(bits: Numbers) -> list[bytes]:
    """The forms beside the plain one that may be shorter."""
    forms = []
    if _has_repeats(bits):
        forms += [bytes([SHARED]) + told for told in _shared(bits)]
    places = np.flatnonzero(bits)
    if len(places) < len(bits):
        values, gaps = bits[places], _packed(_gaps(places))
        forms.append(bytes([GAPS]) + gaps + values.tobytes())
        if _has_repeats(values):
            forms += [bytes([BOTH]) + gaps + told for told in _shared(values)]
    return forms


def _has_repeats(bits: Numbers) -> bool:
    """Whether some places say that numbers come again: to sort them all takes time, mostly for nothing."""
    some = bits[:: max(1, len(bits) // _LOOKED_AT)]
    return 2 * len(np.unique(some)) <= len(some) + 1


def _shared(bits: Numbers) -> list[bytes]:
    """A table of the different numbers, and which one is where; nothing where there are too many."""
    table, codes = np.unique(bits, return_inverse=True)
    if len(table) > MOST_VALUES:
        return []
    return [
        len(table).to_bytes(2, "little") + table.tobytes() + _packed(_bytes_of(codes, len(table)))
    ]


def _decoded(data: bytes, n: int, kind: type[np.unsignedinteger]) -> tuple[Numbers, bytes]:
    """The numbers of one tensor, and what comes after it."""
    form, rest = data[0], data[1:]
    if form == PLAIN:
        return _taken(rest, n, kind)
    if form == SHARED:
        return _read_shared(rest, n, kind)
    if form not in (GAPS, BOTH):
        raise ValueError(f"there is no form {form}")
    written, rest = _unpacked(rest)
    steps = np.where(written == FILLER, FILLER, written.astype(np.int64) + 1)
    places = (np.cumsum(steps) - 1)[written != FILLER]
    read = _taken if form == GAPS else _read_shared
    values, rest = read(rest, len(places), kind)
    bits = np.zeros(n, kind)
    bits[places] = values
    return bits, rest


def _gaps(places: npt.NDArray[np.int64]) -> bytes:
    """How many zeros lie before each place, as bytes, long runs as several."""
    gaps = np.diff(places, prepend=-1) - 1
    ends = np.cumsum(gaps // FILLER + 1) - 1
    written = np.full(int(ends[-1]) + 1 if len(ends) else 0, FILLER, np.uint8)
    written[ends] = gaps % FILLER
    return written.tobytes()


def _bytes_of(codes: npt.NDArray[np.int64], n_values: int) -> bytes:
    """Codes as bytes; where one does not hold them, all low ones and then all high ones."""
    low = (codes & 255).astype(np.uint8).tobytes()
    return low if n_values <= 256 else low + (codes >> 8).astype(np.uint8).tobytes()


def _read_shared(data: bytes, n: int, kind: type[np.unsignedinteger]) -> tuple[Numbers, bytes]:
    n_values = int.from_bytes(data[:2], "little")
    table, rest = _taken(data[2:], n_values, kind)
    read, rest = _unpacked(rest)
    codes = read[:n].astype(np.int64)
    if n_values > 256:
        codes += read[n:].astype(np.int64) << 8
    if len(codes) != n:
        raise ValueError(f"{len(codes)} values where {n} are needed")
    return table[codes], rest


def _taken(data: bytes, n: int, kind: type[np.unsignedinteger]) -> tuple[Numbers, bytes]:
    size = n * np.dtype(kind).itemsize
    if len(data) < size:
        raise ValueError(f"{len(data)} bytes where {size} are needed")
    return np.frombuffer(data[:size], kind), data[size:]


def _packed(symbols: bytes) -> bytes:
    """The shorter one of Huffman's code alone, and with runs of one symbol found."""
    return min((_deflated(symbols, how) for how in (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)), key=len)


def _deflated(symbols: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return packer.compress(symbols) + packer.flush()


def _unpacked(data: bytes) -> tuple[npt.NDArray[np.uint8], bytes]:
    opener = zlib.decompressobj(-zlib.MAX_WBITS)
    found = opener.decompress(data)
    if not opener.eof:
        raise ValueError("it ends too early")
    return np.frombuffer(found, np.uint8), opener.unused_data
