"""The reference backend: NumPy arrays in the memory of the process.

Floor 1: imports errors, numpy and pyarrow only. Other backends must give the results of this one
(tests/conformance/test_backends.py). Each verb is chosen to be cheap both for a commit of 100 rows, where the number of
NumPy calls counts, and for a bulk of millions, where memory traffic does.
Figures are for 100 rows / 5 million rows into 2,400 groups, on a 2-core Xeon with AVX-512 and NumPy 2.4.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_engine.backend import numpy_arrow, numpy_memory
from gpu_engine.backend.array_backend import Array, Cells, DeviceColumn, Groups, HowFar, MemoryUse, T, range_within
from gpu_engine.backend.numpy_index import NumpyIndex
from gpu_engine.backend.numpy_sort import distinct, order_within
from gpu_engine.errors import NeedsGpuError

__all__ = ["NumpyBackend"]

MANY_ROWS, FEW_COLUMNS = 1024, 8
"""From so many rows of at most so many columns on, `group_sum` takes half the time column by column."""


class NumpyBackend:
    """The CPU: every call has finished when it returns. Stateless; safe to use from any thread."""

    name = "cpu"
    xp: Any = np
    chunk_rows = 1 << 18
    """2 MB a column. With half as many rows two threads scan 5 to 15% slower: they take turns more often."""

    def from_host(self, host: Any, dtype: Any = None) -> Array:
        """Return `host` as an array; itself if it is one of that dtype."""
        return np.asarray(host, dtype)

    def to_host(self, array: Array) -> Any:
        """Return the array itself."""
        return array

    def from_arrow(self, column: pa.Array) -> tuple[Array, Array | None]:
        """Return the values of an Arrow column, 0 where null, and which are there (None: all)."""
        return numpy_arrow.from_arrow(column)

    def to_arrow(self, data: Array, valid: Array | None, type: pa.DataType) -> pa.Array:
        """Return an Arrow array of `type`; it shares the memory of `data` but for booleans and decimals."""
        return numpy_arrow.to_arrow(data, valid, type)

    def encode_strings(self, texts: pa.Array) -> tuple[pa.Array, Array]:
        """Return the distinct texts and the place of each row's; one pass over the rows."""
        return numpy_arrow.encode_strings(texts)

    def read_file(
        self, path: str, file_format: str, types: Mapping[str, pa.DataType], heard: HowFar
    ) -> pa.Table | None:
        """Return None: here the loaders decode."""
        return None

    def to_frame(self, columns: Mapping[str, DeviceColumn]) -> Any:
        """Refuse: cuDF works on GPUs only."""
        raise NeedsGpuError("a cuDF frame", self.name)

    def scalar(self, array0d: Array) -> int | float | bool:
        """Return the value of an array with one element."""
        value: int | float | bool = array0d.item()
        return value

    def enlarged(self, array: Array, used: int, capacity: int) -> Array:
        """Return an array with more room, in the same place if address space could be reserved (1 us)."""
        return numpy_memory.enlarged(array, used, capacity)

    def growth(self, array: Array, used: int, capacity: int) -> int:
        """Return how many rows that takes."""
        return numpy_memory.growth(array, used, capacity)

    def group(self, keys: Array) -> Groups:
        """Return the distinct keys, ascending, and each row's group.

        Notes
        -----
        7 us for 100 rows (`np.unique` takes 10). 5 million rows: 35 ms for 2,400 keys in a compact range, 60 ms for a
        million, 170 ms for keys that span less than 2**40, 420 ms for any int64.
        """
        return Groups(*distinct(keys))

    def group_count(self, group_of: Array, size: int) -> Array:
        """Return (size,) int64: the rows of each group (0.8 us / 10 ms)."""
        return np.bincount(group_of, minlength=size)

    def group_sum(self, values: Array, group_of: Array, size: int) -> Array:
        """Return (size,) or (size, m) float64 or int64: the sum of each group, of each of m columns.

        Notes
        -----
        Floats: `bincount` (1.0 us / 12 ms). Integers: `add.at`, which is exact, takes 1.8 us / 12 ms; `bincount` would
        convert to float64 first (1.0 us / 23 ms) and round beyond 2**53. Many rows of few columns are added up column
        by column, others in one call, which needs an array of places.
        """
        if values.ndim == 2 and len(values) > MANY_ROWS and values.shape[1] <= FEW_COLUMNS:
            return np.stack([self.group_sum(column, group_of, size) for column in values.T], axis=1)
        if values.ndim == 2:
            columns = values.shape[1]
            places = (group_of[:, None] * columns + np.arange(columns)).ravel()
            return self.group_sum(values.ravel(), places, size * columns).reshape(size, columns)
        if values.dtype.kind == "f":
            return np.bincount(group_of, values, size).astype(np.float64, copy=False)  # int64 if there are no rows
        sums = np.zeros(size, np.int64)
        np.add.at(sums, group_of, values.astype(np.int64, copy=False))
        return sums

    def group_min(self, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        """Return (size,) float64 or int64: the least of each group and `initial`, NaN if the group has one.

        Notes
        -----
        `minimum.at` takes 4.4 us / 13 ms; sorting the rows by group first would take 90 ms.
        """
        values = _widened(values)
        least = np.full(size, initial, values.dtype)
        with np.errstate(invalid="ignore"):  # NaN is an answer here
            np.minimum.at(least, group_of, values)
        return least

    def group_max(self, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        """Return (size,) float64 or int64: the greatest of each group and `initial`, NaN if the group has one."""
        values = _widened(values)
        greatest = np.full(size, initial, values.dtype)
        with np.errstate(invalid="ignore"):
            np.maximum.at(greatest, group_of, values)
        return greatest

    def take_cells(self, cells: Cells, places: Array) -> Cells:
        """Return the cells at (k,) places."""
        floats, integers = cells
        return floats.take(places, 0), integers.take(places, 0)

    def put_cells(self, cells: Cells, places: Array, new: Cells) -> None:
        """Write k cells at (k,) places."""
        floats, integers = cells
        floats[places], integers[places] = new

    def sum_cells(self, cells: Cells, places: Array, added: Cells) -> tuple[Cells, Cells]:
        """Return the cells at (k,) places, and what they hold with `added`."""
        before = self.take_cells(cells, places)
        after = before[0].copy(), before[1].copy()
        for block, delta in zip(after, added, strict=True):
            block[:, : delta.shape[1]] += delta
        return before, after

    def alive(self, removed: Array, rows: Array | slice, epoch: int, row_limit: int | None) -> Array:
        """Return (n,) bool: which rows are below the limit and removed after `epoch`, if at all."""
        if type(rows) is slice:
            first, _ = range_within(rows, len(removed))
            alive = removed[rows] > epoch
            if row_limit is not None:
                alive[max(row_limit - first, 0) :] = False
            return alive
        alive = removed[rows] > epoch
        if row_limit is not None:
            alive &= rows < row_limit
        return alive

    def alive_on_branches(
        self,
        removed: Array,
        rows: Array | slice,
        marks: Array,
        first_marked: int,
        epoch_limits: Array,
        row_limits: Array,
    ) -> Array:
        """Return (n,) bool: `alive` by the branch that each row was born on."""
        if type(rows) is not slice:
            branches = np.where(rows >= first_marked, marks[np.maximum(rows - first_marked, 0)], 0)
            return _alive_by_branch(removed[rows], rows, branches, epoch_limits, row_limits)
        first, count = range_within(rows, min(len(removed), first_marked + len(marks)))
        stop = first + count
        marked = min(max(first, first_marked), stop)
        numbers, branches = np.arange(marked, stop), marks[marked - first_marked : stop - first_marked]
        alive = _alive_by_branch(removed[marked:stop], numbers, branches, epoch_limits, row_limits)
        if marked == first:
            return alive
        on_root = self.alive(removed, slice(first, marked), int(epoch_limits[0]), int(row_limits[0]))
        return np.concatenate([on_root, alive])

    def join_gather(self, pointers: Array, row_of_entity: Array, entities: int) -> Array:
        """Return (n,) int64: the row that each of (n,) pointers leads to, -1 for none."""
        pointers = np.where(pointers < entities, pointers, -1)
        rows = row_of_entity.take(np.maximum(pointers, 0)).astype(np.int64)
        return np.where(pointers >= 0, rows, -1)

    def order_by_code(self, codes: Array, size: int) -> Array:
        """Return (n,) int64: the stable order that sorts `codes`.

        Notes
        -----
        1.2 us / 30 ms for up to 4,096 codes, which are counted. Radix sorting (a stable argsort of uint16) takes 80 ms
        for up to 65,536 codes and 225 ms in two passes beyond.
        """
        return order_within(codes, 0, size - 1)

    def int_index(self) -> NumpyIndex:
        """Return a new, empty index."""
        return NumpyIndex()

    def ignore_float_errors(self) -> AbstractContextManager[object]:
        """Return NumPy's own context; it holds for the calling thread."""
        return np.errstate(all="ignore")

    @property
    def workers(self) -> int:
        """Return how many cores this process may use: NumPy lets go of the interpreter while it works."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def in_parallel(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Run the first task on this thread and each of the others on one of its own."""
        if len(tasks) == 1:
            return [tasks[0]()]
        with ThreadPoolExecutor(len(tasks) - 1, thread_name_prefix="gpu-engine scan") as pool:
            others = [pool.submit(task) for task in tasks[1:]]
            first = tasks[0]()
        return [first, *(other.result() for other in others)]

    def synchronize(self) -> None:
        """Return at once: a NumPy call has finished when it returns."""

    def memory(self) -> MemoryUse:
        """Return the resident memory of the process, the memory of the machine, and what is left of it, in bytes."""
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page
        return MemoryUse(used=_resident_pages(page) * page, total=total, available=_available(total))


def _alive_by_branch(ends: Array, rows: Array, branches: Array, epoch_limits: Array, row_limits: Array) -> Array:
    alive: Array = ends > epoch_limits[branches]
    alive &= rows < row_limits[branches]
    return alive


def _widened(values: Array) -> Array:
    """Return values as float64 or int64: `ufunc.at` is fast only where no cast is needed."""
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64, copy=False)


def _resident_pages(page: int) -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no /proc here (macOS): the peak is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // page


def _available(total: int) -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # no /proc here: the system will refuse what it has not got
        return total
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), total)
