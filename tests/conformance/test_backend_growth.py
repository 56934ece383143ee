"""Arrays that make room: what was in use stays, whatever the backend does with the memory."""

from __future__ import annotations

import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from tests.backends import BACKENDS


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    return BACKENDS[request.param]()


@pytest.mark.parametrize("width", [None, 3])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float64", "bool"])
@pytest.mark.parametrize(("used", "capacity"), [(0, 1), (0, 5000), (4, 4), (4, 5), (3, 1_000_000)])
def test_rows_in_use_are_kept_and_there_is_room(
    backend: ArrayBackend, dtype: str, width: int | None, used: int, capacity: int
) -> None:
    shape = 4 if width is None else (4, width)
    array = backend.xp.ones(shape if used else (0 if width is None else (0, width)), dtype=dtype)
    grown = backend.enlarged(array, used, capacity)
    assert len(grown) >= capacity
    assert grown.shape[1:] == array.shape[1:]
    assert grown.dtype == array.dtype
    assert backend.to_host(grown[:used]).tolist() == backend.to_host(array[:used]).tolist()


def test_rows_written_one_step_at_a_time(backend: ArrayBackend) -> None:
    xp = backend.xp
    array, written, steps = xp.zeros(8, dtype="int64"), 0, 0
    views = []
    for size in (8, 100, 5000, 70_000, 200_000, 200_000, 400_000):
        end = written + size
        if end > len(array):
            assert backend.growth(array, written, end) >= end - len(array)
            array, steps = backend.enlarged(array, written, end), steps + 1
        array[written:end] = xp.arange(written, end)
        written = end
        views.append(array[:written])
    assert steps >= 5
    for view in views:
        assert backend.scalar((view == xp.arange(len(view))).all())


def test_steps_are_few_for_rows_that_come_one_by_one(backend: ArrayBackend) -> None:
    array, steps = backend.xp.zeros(64, dtype="float64"), 0
    for length in range(1, 300_000, 50):
        if length > len(array):
            array, steps = backend.enlarged(array, length - 50, length), steps + 1
    assert steps < 40
