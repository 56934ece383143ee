"""Arrow columns as NumPy arrays and back, sharing memory wherever the two layouts agree.

Floor 1: imports numpy and pyarrow only. Numbers, dates, times and vectors have one layout in both; booleans are bits in
Arrow and bytes in NumPy, and decimals are 16 bytes wide in Arrow, so these two are converted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["encode_strings", "from_arrow", "to_arrow"]

Values = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

DECIMAL_DIGITS = 18
"""Decimals of so many digits always fit into an int64."""

_PLAIN: dict[pa.DataType, np.dtype[Any]] = {
    pa.int32(): np.dtype(np.int32),
    pa.int64(): np.dtype(np.int64),
    pa.float32(): np.dtype(np.float32),
    pa.float64(): np.dtype(np.float64),
    pa.date32(): np.dtype(np.int32),
}
_INT64 = np.dtype(np.int64)
_FLOAT64 = np.dtype(np.float64)
_BOOL = np.dtype(np.bool_)


def from_arrow(column: pa.Array) -> tuple[Values, Bools | None]:
    """Return the values, 0 where null, and which are there; see `ArrayBackend.from_arrow`."""
    if not isinstance(column, pa.Array):
        raise TypeError(f"an Arrow array is needed, not a {type(column).__name__}. Combine the chunks first.")
    values = _values(column)
    if not column.null_count:
        return values, None
    valid = _bits(column.buffers()[0], column.offset, len(column))
    if values.ndim == 1:
        return np.where(valid, values, values.dtype.type(0)), valid
    return np.where(valid[:, None], values, 0.0), valid


def to_arrow(data: Values, valid: Bools | None, type: pa.DataType) -> pa.Array:
    """Return an Arrow array of `type` that shares the memory of `data` if it can; see `ArrayBackend.to_arrow`."""
    expected = _dtype(type, digits=38)
    if data.dtype != expected:
        raise TypeError(f"a column of type {type} is made from {expected} values, not from {data.dtype}")
    present = None if valid is None else _packed(valid)
    if type in _PLAIN:
        return pa.Array.from_buffers(type, len(data), [present, pa.py_buffer(np.ascontiguousarray(data))])
    if pa.types.is_fixed_size_list(type):
        return _vectors_to_arrow(data, present, type)
    if expected == _BOOL:
        content = _packed(data)
    elif pa.types.is_decimal128(type):
        content = pa.py_buffer(np.stack((data, data >> 63), axis=1))  # low word, sign of the high word
    else:
        content = pa.py_buffer(np.ascontiguousarray(data))
    return pa.Array.from_buffers(type, len(data), [present, content])


def encode_strings(texts: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Return the distinct texts and the place of each row's, -1 where null; see `ArrayBackend.encode_strings`."""
    coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    places, valid = from_arrow(coded.indices.cast(pa.int32()))
    return coded.dictionary, places if valid is None else np.where(valid, places, np.int32(-1))


def _dtype(type: pa.DataType, digits: int) -> np.dtype[Any]:
    """Return the dtype that stands for an Arrow type; decimals may have so many digits."""
    plain = _PLAIN.get(type)
    if plain is not None:
        return plain
    if pa.types.is_timestamp(type) and type.unit == "us":
        return _INT64
    if pa.types.is_boolean(type):
        return _BOOL
    if pa.types.is_decimal128(type) and type.precision <= digits:
        return _INT64
    if pa.types.is_fixed_size_list(type) and type.value_type == pa.float64():
        return _FLOAT64
    raise TypeError(
        f"Arrow type {type} is not one of bool, int32, int64, float, double, date32, timestamp[us], "
        f"decimal128 of at most {digits} digits, fixed_size_list<double>"
    )


def _values(column: pa.Array) -> Values:
    size = len(column)
    plain = _PLAIN.get(column.type)
    if plain is not None and size:
        return np.frombuffer(column.buffers()[1], plain, size, plain.itemsize * column.offset)
    dtype = _dtype(column.type, DECIMAL_DIGITS)
    if pa.types.is_fixed_size_list(column.type):
        return _vector_values(column)
    if not size:
        return np.empty(0, dtype)
    content = column.buffers()[1]
    if dtype == _BOOL:
        return _bits(content, column.offset, size)
    if pa.types.is_decimal128(column.type):
        words = np.frombuffer(content, _INT64, 2 * size, 16 * column.offset)
        return np.ascontiguousarray(words[::2])
    return np.frombuffer(content, dtype, size, dtype.itemsize * column.offset)


def _vector_values(column: pa.Array) -> Values:
    width = column.type.list_size
    # `values` ignores the offset and keeps what lies under null vectors; `flatten` would drop it.
    elements = column.values.slice(column.offset * width, len(column) * width)
    values, present = from_arrow(elements)
    vectors = values.reshape(len(column), width)
    if present is not None:
        _reject_null_elements(column, present.reshape(len(column), width))
    return vectors


def _reject_null_elements(column: pa.Array, present: Bools) -> None:
    broken = ~present.all(axis=1)
    if column.null_count:
        broken &= _bits(column.buffers()[0], column.offset, len(column))
    if broken.any():
        row = int(broken.argmax())
        raise ValueError(f"row {row}: {column[row].as_py()!r} has a null element. Give a whole vector, or null.")


def _vectors_to_arrow(data: Values, present: pa.Buffer | None, type: pa.DataType) -> pa.Array:
    if data.ndim != 2 or data.shape[1] != type.list_size:
        raise TypeError(f"a column of type {type} is made from (n, {type.list_size}) values, not from {data.shape}")
    elements = to_arrow(data.reshape(-1), None, pa.float64())
    return pa.Array.from_buffers(type, len(data), [present], children=[elements])


def _bits(bitmap: pa.Buffer, offset: int, size: int) -> Bools:
    """Return bits `offset` .. `offset + size` of an Arrow bitmap as bytes."""
    first, skip = divmod(offset, 8)
    packed = np.frombuffer(bitmap, np.uint8, (skip + size + 7) // 8, first)
    return np.unpackbits(packed, count=skip + size, bitorder="little")[skip:].view(np.bool_)


def _packed(flags: Bools) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))
