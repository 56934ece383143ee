"""The verbs of the backend that commits and scans spend their time in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gpu_engine.backend.array_backend import ArrayBackend

CELLS, FLOATS, INTEGERS = 2_400, 5, 4


@pytest.fixture
def keys(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, CELLS, rows)


def bench_group(timed: Callable[..., Any], backend: ArrayBackend, keys: np.ndarray) -> None:
    groups = timed(backend.group, backend.from_host(keys))
    assert (backend.to_host(groups.keys[groups.group_of]) == keys).all()


def bench_group_sum(timed: Callable[..., Any], backend: ArrayBackend, keys: np.ndarray) -> None:
    values = np.arange(len(keys), dtype=np.float64)
    sums = timed(backend.group_sum, backend.from_host(values), backend.from_host(keys), CELLS)
    assert backend.to_host(sums).sum() == values.sum()


def bench_group_max(timed: Callable[..., Any], backend: ArrayBackend, keys: np.ndarray) -> None:
    values = np.arange(len(keys), dtype=np.float64)
    greatest = timed(backend.group_max, backend.from_host(values), backend.from_host(keys), CELLS, float("-inf"))
    assert backend.to_host(greatest).max() == len(keys) - 1


def bench_order_by_code(timed: Callable[..., Any], backend: ArrayBackend, keys: np.ndarray) -> None:
    order = backend.to_host(timed(backend.order_by_code, backend.from_host(keys), CELLS))
    assert (order == np.argsort(keys, kind="stable")).all()


def bench_encode_strings(timed: Callable[..., Any], backend: ArrayBackend, keys: np.ndarray) -> None:
    texts = pa.array([f"product-{key:04}" for key in keys])
    distinct, places = timed(backend.encode_strings, texts)
    assert distinct.take(pa.array(backend.to_host(places))).equals(texts)


def bench_sum_cells(timed: Callable[..., Any], backend: ArrayBackend) -> None:
    """What a commit of 100 rows adds to some 190 of 2,400 cells, in one call for all measures."""
    touched = np.sort(np.random.default_rng(1).choice(CELLS, 190, replace=False))
    cells = backend.xp.zeros((CELLS, FLOATS), "float64"), backend.xp.ones((CELLS, INTEGERS), "int64")
    added = backend.xp.ones((190, FLOATS - 1), "float64"), backend.xp.ones((190, INTEGERS), "int64")
    before, after = timed(backend.sum_cells, cells, backend.from_host(touched), added)
    assert backend.to_host(after[1] - before[1]).min() == 1


@pytest.mark.parametrize("known", [True, False], ids=["known keys", "unknown keys"])
def bench_index_lookup(timed: Callable[..., Any], backend: ArrayBackend, rows: int, known: bool) -> None:
    index, keys = backend.int_index(), np.random.default_rng(2).permutation(max(rows, 100_000)) * 7
    index.insert(backend.from_host(keys))
    asked = keys[:rows] if known else keys[:rows] + 1
    ids = backend.to_host(timed(index.lookup, backend.from_host(asked)))
    assert (ids == (np.arange(rows) if known else -1)).all()


def bench_index_insert(timed: Callable[..., Any], backend: ArrayBackend, rows: int) -> None:
    keys = backend.from_host(np.random.default_rng(3).permutation(rows))
    ids = timed(lambda: backend.int_index().insert(keys))
    assert (backend.to_host(ids) == np.arange(rows)).all()
