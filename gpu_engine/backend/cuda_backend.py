"""The GPU backend: CuPy arrays, our kernels for what commits do, libcudf for bulk work.

Floor 1: imports cupy, numpy, pyarrow and errors; no CUDA library is imported before a `CudaBackend` is made. All work
goes through the default stream, so it is done in the order in which it was asked for, whatever thread asked
(docs/decisions/0010). A verb waits for the device only where its docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_engine.backend import cuda_arrow, cuda_csv, numpy_arrow
from gpu_engine.backend.array_backend import Array, Cells, DeviceColumn, Groups, HowFar, MemoryUse, T, range_within
from gpu_engine.backend.cuda_index import CudaIndex
from gpu_engine.backend.cuda_kernels import Kernels, cuda_kernels
from gpu_engine.backend.cuda_memory import Memory, device_memory
from gpu_engine.backend.int_index import IntIndex

__all__ = ["CudaBackend"]

BULK_ROWS = 1 << 16
"""From so many rows on it pays to look at the range of keys, to sort packed keys, or to let libcudf encode texts."""
SPREAD = 4
"""A range of keys is compact if it is at most so many times as long as the array."""
PRIVATE_ROWS = 4096
PRIVATE_THREADS = ((256, 24), (128, 48), (64, 96), (32, 192))
"""Threads of a block -> so many cells at most: that many copies of them fit into 48 KiB of shared memory."""
PRIVATE_CELLS = PRIVATE_THREADS[-1][1]
NO_LIMIT = (1 << 63) - 1


class CudaBackend:
    """The first visible GPU. Stateless but for the pool; safe to use from any thread.

    Parameters
    ----------
    memory, kernels
        What copies and what launches; by default those of the device. Tests run both on the CPU.
    """

    name = "gpu"
    chunk_rows = 1 << 23
    workers = 1
    """How many tasks run at a time: one launch uses the whole device."""

    def __init__(self, memory: Memory | None = None, kernels: Kernels | None = None) -> None:
        self._memory = memory or device_memory()
        self._kernels = kernels or cuda_kernels()
        self.xp: Any = self._memory.xp

    def from_host(self, host: Any, dtype: Any = None) -> Array:
        """Return numbers on the device; waits for nothing."""
        return self._memory.upload(np.asarray(host, dtype))

    def to_host(self, array: Array) -> Any:
        """Return the array on the host; waits for it."""
        return self._memory.download(array)

    def from_arrow(self, column: pa.Array) -> tuple[Array, Array | None]:
        """Return the values of an Arrow column, 0 where null, and which are there (None: all)."""
        values, valid = numpy_arrow.from_arrow(column)
        return self._memory.upload(values), None if valid is None else self._memory.upload(valid)

    def to_arrow(self, data: Array, valid: Array | None, type: pa.DataType) -> pa.Array:
        """Return an Arrow array on the host; waits for it."""
        present = None if valid is None else self._memory.download(valid)
        return numpy_arrow.to_arrow(self._memory.download(data), present, type)

    def encode_strings(self, texts: pa.Array) -> tuple[pa.Array, Array]:
        """Return the distinct texts and the rows' places; many plain texts are encoded by libcudf."""
        if pa.types.is_dictionary(texts.type) or len(texts) < BULK_ROWS:
            distinct, places = numpy_arrow.encode_strings(texts)
            return distinct, self._memory.upload(places)
        return cuda_arrow.encode_strings(texts)

    def read_file(
        self, path: str, file_format: str, types: Mapping[str, pa.DataType], heard: HowFar
    ) -> pa.Table | None:
        """Return the rows of a large file of plain columns; None for any other."""
        if file_format == "csv":
            return cuda_csv.read_csv(path, types, self, self._kernels, heard)
        return cuda_arrow.read_parquet(path, types, heard)

    def to_frame(self, columns: Mapping[str, DeviceColumn]) -> Any:
        """Return a cudf.DataFrame over the same memory; texts are made from their codes, and dates widened."""
        return cuda_arrow.frame(columns)

    def scalar(self, array0d: Array) -> int | float | bool:
        """Return the value of an array with one element; waits for it."""
        value: int | float | bool = self._memory.download(array0d).item()
        return value

    def enlarged(self, array: Array, used: int, capacity: int) -> Array:
        """Return a copy with twice the room, at least."""
        grown = self.xp.zeros((self.growth(array, used, capacity), *array.shape[1:]), dtype=array.dtype)
        grown[:used] = array[:used]
        return grown

    def growth(self, array: Array, used: int, capacity: int) -> int:
        """Return the rows of the copy: the array itself serves its readers meanwhile."""
        return capacity if used == 0 else max(capacity, 2 * len(array))

    def group(self, keys: Array) -> Groups:
        """Return the distinct keys, ascending, and each row's group; waits for their number.

        Keys are sorted; many keys of a compact range go through a table over the range instead.
        """
        if len(keys) >= BULK_ROWS:
            low, high = self._memory.download(self.xp.stack([keys.min(), keys.max()])).tolist()
            if high - low < SPREAD * len(keys):
                return self._group_by_table(keys, low, high - low + 1)
        order = self.xp.argsort(keys)
        ordered = keys[order]
        starts = self.xp.ones(len(keys), dtype="bool")
        starts[1:] = ordered[1:] != ordered[:-1]
        group_of = self.xp.empty(len(keys), dtype=self.xp.intp)
        group_of[order] = self.xp.cumsum(starts) - 1
        return Groups(ordered[starts], group_of)

    def _group_by_table(self, keys: Array, low: int, size: int) -> Groups:
        offsets = keys - low
        present = self.xp.zeros(size, dtype="bool")
        present[offsets] = True
        positions = self.xp.cumsum(present) - 1
        return Groups(self.xp.flatnonzero(present) + low, positions[offsets])

    def group_count(self, group_of: Array, size: int) -> Array:
        """Return (size,) int64: the rows of each group."""
        counts = self.xp.zeros(size, dtype="int64")
        groups = self._group_ids(group_of)
        self._into_cells("group_count", len(groups), 1, size, groups, len(groups), size, counts)
        return counts

    def group_sum(self, values: Array, group_of: Array, size: int) -> Array:
        """Return (size,) or (size, m) float64 or int64: the sum of each group; floats in no fixed order."""
        kind, values = self._widened(values)
        width = values.shape[1] if values.ndim == 2 else 1
        sums = self.xp.zeros((size, *values.shape[1:]), dtype=kind)
        arguments = (values, self._group_ids(group_of), len(values), width, size, sums)
        self._into_cells(f"group_sum_{kind}", len(values), width, size, *arguments)
        return sums

    def group_min(self, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        """Return (size,) float64 or int64: the least of each group and `initial`, NaN if the group has one."""
        return self._extreme("min", values, group_of, size, initial)

    def group_max(self, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        """Return (size,) float64 or int64: the greatest of each group and `initial`, NaN if the group has one."""
        return self._extreme("max", values, group_of, size, initial)

    def _extreme(self, which: str, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        kind, values = self._widened(values)
        result = self.xp.full(size, initial, dtype=kind)
        arguments = (values, self._group_ids(group_of), len(values), size, result)
        self._kernels.each(f"group_{which}_{kind}", len(values), *arguments)
        return result

    def _into_cells(self, name: str, rows: int, width: int, size: int, *arguments: Any) -> None:
        """Launch the form of a kernel that suits the number of cells: threads keep few of them to themselves."""
        cells = size * width
        if 0 < cells <= PRIVATE_CELLS and rows >= PRIVATE_ROWS:
            threads = next(threads for threads, most in PRIVATE_THREADS if cells <= most)
            self._kernels.private(f"{name}_private", rows, threads, 8 * threads * cells, *arguments)
        else:
            self._kernels.each(f"{name}_atomic", rows * width, *arguments)

    def _widened(self, values: Array) -> tuple[str, Array]:
        """Return the dtype of sums and extremes of such values, and the values in it."""
        kind = "float64" if values.dtype.kind == "f" else "int64"
        return kind, self.xp.ascontiguousarray(values.astype(kind, copy=False))

    def _group_ids(self, group_of: Array) -> Array:
        return self._contiguous(group_of, "int64")

    def _contiguous(self, array: Array, dtype: str) -> Array:
        """Return the array as kernels read it; itself if it is so already."""
        return self.xp.ascontiguousarray(array.astype(dtype, copy=False))

    def take_cells(self, cells: Cells, places: Array) -> Cells:
        """Return the cells at (k,) places, in one launch."""
        (floats, integers), taken = cells, self._room_for_cells(cells, len(places))
        places, widths = self._contiguous(places, "int64"), (floats.shape[1], integers.shape[1])
        arguments = (places, len(places), len(integers), floats, widths[0], taken[0], integers, widths[1], taken[1])
        self._kernels.each("cells_take", len(places) * sum(widths), *arguments)
        return taken

    def put_cells(self, cells: Cells, places: Array, new: Cells) -> None:
        """Write k cells at (k,) places, in one launch."""
        floats, integers = cells
        places, widths = self._contiguous(places, "int64"), (floats.shape[1], integers.shape[1])
        new_floats, new_integers = self._contiguous(new[0], "float64"), self._contiguous(new[1], "int64")
        arguments = (floats, widths[0], new_floats, integers, widths[1], new_integers)
        self._kernels.each("cells_put", len(places) * sum(widths), places, len(places), len(integers), *arguments)

    def sum_cells(self, cells: Cells, places: Array, added: Cells) -> tuple[Cells, Cells]:
        """Return the cells at (k,) places, and what they hold with `added`, in one launch."""
        count, places = len(places), self._contiguous(places, "int64")
        before, after = self._room_for_cells(cells, count), self._room_for_cells(cells, count)
        arguments: list[Any] = []
        for block, delta, kind, old, new in zip(cells, added, ("float64", "int64"), before, after, strict=True):
            arguments += [block, block.shape[1], self._contiguous(delta, kind), delta.shape[1], old, new]
        elements = count * (cells[0].shape[1] + cells[1].shape[1])
        self._kernels.each("cells_sum", elements, places, count, len(cells[1]), *arguments)
        return before, after

    def _room_for_cells(self, cells: Cells, count: int) -> Cells:
        floats, integers = cells
        return (
            self.xp.empty((count, floats.shape[1]), dtype="float64"),
            self.xp.empty((count, integers.shape[1]), dtype="int64"),
        )

    def alive(self, removed: Array, rows: Array | slice, epoch: int, row_limit: int | None) -> Array:
        """Return (n,) bool: which rows are below the limit and removed after `epoch`, in one launch."""
        return self._alive("", removed, rows, len(removed), epoch, NO_LIMIT if row_limit is None else row_limit)

    def alive_on_branches(
        self,
        removed: Array,
        rows: Array | slice,
        marks: Array,
        first_marked: int,
        epoch_limits: Array,
        row_limits: Array,
    ) -> Array:
        """Return (n,) bool: `alive` by the branch that each row was born on, in one launch."""
        size = min(len(removed), first_marked + len(marks))
        limits = (marks, first_marked, epoch_limits, row_limits, len(epoch_limits))
        return self._alive("_on_branches", removed, rows, size, *limits)

    def _alive(self, form: str, removed: Array, rows: Array | slice, size: int, *limits: Any) -> Array:
        """Launch the kernel for a range, or for given rows, all below `size`."""
        if isinstance(rows, slice):
            first, count = range_within(rows, size)
            alive = self.xp.empty(count, dtype="bool")
            self._kernels.each(f"alive_range{form}", count, removed, first, count, *limits, alive)
        else:
            count = len(rows)
            alive = self.xp.empty(count, dtype="bool")
            numbers = self._contiguous(rows, "int64")
            self._kernels.each(f"alive_rows{form}", count, removed, numbers, count, size, *limits, alive)
        return alive

    def join_gather(self, pointers: Array, row_of_entity: Array, entities: int) -> Array:
        """Return (n,) int64: the row that each of (n,) pointers leads to, -1 for none, in one launch."""
        count = len(pointers)
        rows = self.xp.empty(count, dtype="int64")
        narrow = self._contiguous(pointers, "int32")
        self._kernels.each("join_gather", count, narrow, count, row_of_entity, entities, rows)
        return rows

    def order_by_code(self, codes: Array, size: int) -> Array:
        """Return (n,) int64: the stable order that sorts `codes`.

        Many codes are sorted together with their row numbers, packed into one integer: half the memory traffic.
        """
        row_bits = len(codes).bit_length()
        if len(codes) < BULK_ROWS or max(size - 1, 0).bit_length() + row_bits > 63:
            return self.xp.argsort(codes, kind="stable")
        packed = codes.astype("int64")
        packed <<= row_bits
        packed |= self.xp.arange(len(codes))
        order = self.xp.sort(packed)
        order &= (1 << row_bits) - 1
        return order

    def int_index(self) -> IntIndex:
        """Return a new, empty index."""
        return CudaIndex(self.xp, self._kernels, self.scalar)

    def ignore_float_errors(self) -> AbstractContextManager[object]:
        """Return a context that does nothing: a GPU raises no such errors."""
        return nullcontext()

    def in_parallel(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Run one task after the other."""
        return [task() for task in tasks]

    def synchronize(self) -> None:
        """Wait until all work asked for so far is done; what failed on the device is raised here."""
        self._memory.synchronize()

    def memory(self) -> MemoryUse:
        """Return what is taken of the device, what it has, and what this process may still take, in bytes."""
        return self._memory.use()
