"""On the CPU, Arrow and NumPy share memory wherever their layouts agree."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gpu_engine.backend.numpy_backend import NumpyBackend

BACKEND = NumpyBackend()
SHARED = [pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), pa.timestamp("us")]


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def numbers(count: int, type: pa.DataType) -> pa.Array:
    return pa.array(range(count), pa.int64() if type.bit_width == 64 else pa.int32()).cast(type)


@pytest.mark.parametrize("type", SHARED, ids=str)
def test_reading_a_slice_copies_nothing(type: pa.DataType) -> None:
    column = numbers(20, type)
    values, valid = BACKEND.from_arrow(column.slice(5, 10))
    assert valid is None
    assert address(values) == column.buffers()[1].address + 5 * type.bit_width // 8


def test_reading_vectors_copies_nothing() -> None:
    column = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float64(), 2))
    values, _ = BACKEND.from_arrow(column.slice(1))
    assert address(values) == column.buffers()[-1].address + 16


@pytest.mark.parametrize("type", SHARED, ids=str)
def test_writing_copies_nothing(type: pa.DataType) -> None:
    data, _ = BACKEND.from_arrow(numbers(3, type))
    column = BACKEND.to_arrow(data, np.array([True, False, True]), type)
    assert column.buffers()[1].address == address(data)
    assert column.null_count == 1


def test_what_was_read_outlives_the_column() -> None:
    column = pa.array(range(100_000), pa.int64())
    values, _ = BACKEND.from_arrow(column)
    del column
    assert values.sum() == 100_000 * 99_999 // 2


def test_data_with_a_stride_is_written_as_it_reads() -> None:
    data = np.arange(12)
    assert BACKEND.to_arrow(data[::3], None, pa.int64()).to_pylist() == [0, 3, 6, 9]
    vectors = np.arange(12.0).reshape(3, 4)[:, ::2]
    assert BACKEND.to_arrow(vectors, None, pa.list_(pa.float64(), 2)).to_pylist() == [[0, 2], [4, 6], [8, 10]]


def test_from_host_of_an_array_is_that_array() -> None:
    data = np.arange(3)
    assert BACKEND.from_host(data) is data
    assert BACKEND.to_host(data) is data
