"""What the engine asks of an array library: the namespace `xp`, and the verbs where NumPy and CuPy differ.

Floor 1: imports nothing of the project. Engine code does plain array work (`+`, slicing, `xp.where`, ...) on arrays
of one backend and calls a verb of `ArrayBackend` where the libraries differ in name, cost or exactness. A backend is
chosen once per session (`choice.py`). `NumpyBackend` is the reference: every other backend must give its results
(tests/conformance/test_backends.py).

Two rules keep engine code the same on every device: an array never meets an array of another device (use `from_host`
and `to_host`), and a value leaves the device as one scalar through `scalar` only.

What holds on every device too: work happens in the order in which it is asked for, whatever thread asks. An array
that one thread has made is there for every thread that sees the object, and a buffer that is written over or let go
still serves whatever was asked of it before (a GPU does this by one stream; docs/decisions/0010 says why).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from gpu_engine.backend.int_index import IntIndex

__all__ = ["Array", "ArrayBackend", "Cells", "DeviceColumn", "Groups", "HowFar", "MemoryUse", "T", "range_within"]

T = TypeVar("T")

Array: TypeAlias = Any
"""An array of the backend in use: `numpy.ndarray` or `cupy.ndarray`.

The two share their operators and method names but no base class and no complete protocol that a type checker could
verify (`cupy` need not even be installed), so the alias is `Any`; docstrings state shapes and dtypes instead.
"""

Cells: TypeAlias = tuple[Array, Array]
"""(n, f) float64 and (n, i) int64: what n cells hold for f float and i integer primitives, C-contiguous. f may be 0."""

HowFar: TypeAlias = Callable[[int, int], None]
"""Told the rows and bytes of a file that are decoded so far; if the file is given up, they do not count."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The distinct values of a key array, and which of them each row has: `keys[group_of]` is the array again."""

    keys: Array
    """(g,) int64: the distinct keys, ascending."""
    group_of: Array
    """(n,) intp: position in `keys` of the key of each row, in 0..g-1."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory figures of the place where a backend keeps its arrays, in bytes."""

    used: int
    """What this process holds: its resident set on the CPU; on a GPU, what is taken of the device."""
    total: int
    """What the machine or device has in all."""
    available: int
    """What could still be allocated there, an estimate."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceColumn:
    """A column where it lies, for libraries that work there: by DLPack, or as a column of a cuDF frame."""

    data: Array
    """(n,) or (n, width): numbers; days since 1970 for dates, microseconds for timestamps, multiples of the unit for
    decimals, codes for text. Undefined where null."""
    valid: Array | None
    """(n,) bool, False where null; None when nothing is null."""
    type: pa.DataType
    """What the values stand for."""
    texts: pa.Array | None = None
    """For text: the text of each code, on the host. Code -1 is null."""

    def __len__(self) -> int:
        return len(self.data)

    def __dlpack__(self, **options: Any) -> Any:
        """Return `data` as a DLPack capsule: `cupy.from_dlpack(column)`, `torch.from_dlpack(column)`, ..."""
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return type and number of the device."""
        device: tuple[int, int] = self.data.__dlpack_device__()
        return device


class ArrayBackend(Protocol):
    """One place where arrays live, and the verbs that differ between such places.

    Verbs modify none of their arguments, but for `put_cells`. On a GPU they return before the work is done;
    `synchronize` waits for it. Any verb, and any array operation, raises MemoryError where there is no room.
    """

    @property
    def name(self) -> str:
        """What a user calls it: "cpu" or "gpu"."""
        ...

    @property
    def xp(self) -> Any:
        """The array namespace: the module `numpy` or `cupy`."""
        ...

    @property
    def chunk_rows(self) -> int:
        """Rows that a pass over a table best takes at a time: they fit the cache, or fill the device."""
        ...

    def from_host(self, host: Any, dtype: Any = None) -> Array:
        """Return a NumPy array or a sequence of numbers as an array of this backend.

        On the CPU an array of the right dtype is returned itself, not a copy.
        """
        ...

    def to_host(self, array: Array) -> Any:
        """Return the array as a `numpy.ndarray`; on the CPU it is `array` itself."""
        ...

    def from_arrow(self, column: pa.Array) -> tuple[Array, Array | None]:
        """Return the values of a fixed-width Arrow column, and which of them are there.

        Zero-copy where the layout allows it, also for slices: treat the result as read-only.

        Parameters
        ----------
        column : pyarrow.Array
            bool -> bool, int32 -> int32, int64 -> int64, float -> float32, double -> float64, date32 -> int32 (days),
            timestamp[us] -> int64 (microseconds), decimal128(p <= 18, s) -> int64 (value times 10**s, exact),
            fixed_size_list<double>[k] -> (n, k) float64. A ChunkedArray is not accepted.

        Returns
        -------
        values : (n,) or (n, k)
            0 (False) where the column is null.
        valid : (n,) bool or None
            False where the column is null; None when nothing is null.

        Raises
        ------
        TypeError
            If the column's type is none of those above.
        ValueError
            If a vector that is not null holds a null element.
        """
        ...

    def to_arrow(self, data: Array, valid: Array | None, type: pa.DataType) -> pa.Array:
        """Return values as an Arrow array of `type`, the inverse of `from_arrow`.

        On the CPU the result shares the memory of `data` where the layouts agree: do not write to it afterwards.
        (n, k) float64 data makes a fixed_size_list; decimals are made from scaled int64.

        Raises
        ------
        TypeError
            If `type` is none that `from_arrow` takes, or the dtype of `data` is not the one it gives for `type`.
        """
        ...

    def encode_strings(self, texts: pa.Array) -> tuple[pa.Array, Array]:
        """Return the distinct values of a text column, and which of them each row has.

        Parameters
        ----------
        texts : pyarrow.Array
            string, large_string or string_view, or a dictionary of them.

        Returns
        -------
        distinct : pyarrow.Array
            (k,) text on the host, each value once, in any order; a null may be among them.
        places : (n,) int32
            The row's value among `distinct`; -1, or the place of a null, where it is null.
        """
        ...

    def read_file(
        self, path: str, file_format: str, types: Mapping[str, pa.DataType], heard: HowFar
    ) -> pa.Table | None:
        """Return the rows of a "csv" or "parquet" file that the device has decoded; None where the host is to decode.

        The device takes large files of which it is sure that they hold what the host would read; the CPU takes none.
        Text comes as a dictionary. An error in the file gives None too: the host's reader explains it.
        """
        ...

    def to_frame(self, columns: Mapping[str, DeviceColumn]) -> Any:
        """Return columns as a `cudf.DataFrame` that shares the memory of all numbers and timestamps.

        Raises
        ------
        NeedsGpuError
            On the CPU.
        """
        ...

    def scalar(self, array0d: Array) -> int | float | bool:
        """Return the value of an array with one element. The only way by which values leave a device one by one."""
        ...

    def enlarged(self, array: Array, used: int, capacity: int) -> Array:
        """Return an array of at least `capacity` rows, the first `used` of them those of `array`.

        The others are 0, or what was written to `array` there. It may share the memory of `array`, which readers may go
        on reading up to `used`. Enough room is given ahead that an array which grows row by row costs what its rows
        cost; one without rows in use gets what it asks for.

        Parameters
        ----------
        array : (n,) or (n, width)
            Made by `enlarged`, or new; 0 <= used <= n <= capacity.

        Raises
        ------
        MemoryError
            If there is no room; nothing has changed by then.
        """
        ...

    def growth(self, array: Array, used: int, capacity: int) -> int:
        """Return how many rows `enlarged` would take memory for, given the same."""
        ...

    def group(self, keys: Array) -> Groups:
        """Return the distinct values of (n,) int64 `keys`, ascending, and the group of each row."""
        ...

    def group_count(self, group_of: Array, size: int) -> Array:
        """Return (size,) int64: the number of rows of each group. Group ids are in 0..size-1, here and below."""
        ...

    def group_sum(self, values: Array, group_of: Array, size: int) -> Array:
        """Return (size,) the sum of each group, 0 where it has no row; of (n, m) values (size, m), column by column.

        float64 for floating point values; int64 for integers and booleans: exact modulo 2**64, never rounded.
        """
        ...

    def group_min(self, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        """Return (size,) the least value of each group and `initial`; float64 for floats, int64 for integers.

        A group that has a NaN gives NaN.
        """
        ...

    def group_max(self, values: Array, group_of: Array, size: int, initial: int | float) -> Array:
        """Return (size,) the greatest value of each group and `initial`; float64 for floats, int64 for integers.

        A group that has a NaN gives NaN.
        """
        ...

    def take_cells(self, cells: Cells, places: Array) -> Cells:
        """Return the cells at (k,) int64 `places`, each in 0..n-1."""
        ...

    def put_cells(self, cells: Cells, places: Array, new: Cells) -> None:
        """Write k `new` cells into n `cells`, at (k,) distinct int64 `places` in 0..n-1; takes no memory on a GPU."""
        ...

    def sum_cells(self, cells: Cells, places: Array, added: Cells) -> tuple[Cells, Cells]:
        """Return the cells at (k,) int64 `places`, each in 0..n-1, and what they hold with `added`, k cells.

        `added` may have fewer columns than `cells`, and need not be contiguous; it is added to the first columns.
        Integers are added modulo 2**64. `cells` stay as they are, and both results are arrays of their own.
        """
        ...

    def alive(self, removed: Array, rows: Array | slice, epoch: int, row_limit: int | None) -> Array:
        """Return (n,) bool: which rows are below `row_limit` (None: no limit) and removed after `epoch`, if at all.

        Parameters
        ----------
        removed : (size,) int64
            The first epoch that no longer has the row.
        rows : slice or (n,) integers
            Rows `start` to `stop`; or row numbers, each in 0..size-1.

        Raises
        ------
        IndexError
            If a slice does not lie within `removed`.
        """
        ...

    def alive_on_branches(
        self,
        removed: Array,
        rows: Array | slice,
        marks: Array,
        first_marked: int,
        epoch_limits: Array,
        row_limits: Array,
    ) -> Array:
        """Return (n,) bool: `alive`, where epoch and row limit depend on the branch that a row was born on.

        Parameters
        ----------
        removed, rows
            As for `alive`.
        marks : (m,) int32
            The branch of rows `first_marked`, `first_marked` + 1, ...; those before are of branch 0.
        epoch_limits, row_limits : (branches,) int64
            Epoch and row limit by branch.

        Raises
        ------
        IndexError
            If a slice does not lie within `removed` and `marks`.
        """
        ...

    def join_gather(self, pointers: Array, row_of_entity: Array, entities: int) -> Array:
        """Return (n,) int64: the row of the entity that each of (n,) integer `pointers` points to, -1 for none.

        Parameters
        ----------
        pointers : (n,)
            Entities; -1, or any that is not below `entities`, finds none.
        row_of_entity : (size,) int32
            The row of each entity, -1 for none; only its first `entities` places count, size > 0.
        """
        ...

    def order_by_code(self, codes: Array, size: int) -> Array:
        """Return (n,) int64: the stable order that sorts `codes`, integers in 0..size-1, ascending."""
        ...

    def int_index(self) -> IntIndex:
        """Return a new, empty index."""
        ...

    def ignore_float_errors(self) -> AbstractContextManager[object]:
        """Return a context in which dividing by zero, overflow and inf - inf quietly give inf or NaN."""
        ...

    @property
    def workers(self) -> int:
        """How many tasks `in_parallel` runs at a time; 1 where the device is parallel by itself."""
        ...

    def in_parallel(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Return what each task returns, in their order; tasks may run at the same time, on threads that end with them.

        Raises
        ------
        Exception
            What the first task that failed raised, once all have ended.
        """
        ...

    def synchronize(self) -> None:
        """Wait until the device has finished all work given to it."""
        ...

    def memory(self) -> MemoryUse:
        """Return the memory figures of the process or device."""
        ...


def range_within(rows: slice, size: int) -> tuple[int, int]:
    """Return the first row of a range and their number.

    Raises
    ------
    IndexError
        If they do not all lie in 0..size-1: kernels do not look.
    """
    if not 0 <= rows.start <= rows.stop <= size:
        raise IndexError(f"rows {rows.start} to {rows.stop} of {size}")
    return rows.start, rows.stop - rows.start
