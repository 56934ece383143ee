"""A backend for tests without a GPU: its arrays refuse what a GPU refuses, and what crosses to it is counted.

The verbs compute on NumPy. What they are given must be as `ArrayBackend` says: there NumPy forgives much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_engine.backend.array_backend import Cells, DeviceColumn, Groups, HowFar, MemoryUse, T
from gpu_engine.backend.numpy_backend import NumpyBackend
from tests.strict.strict_array import StrictArray, refuse
from tests.strict.strict_index import StrictIndex
from tests.strict.strict_namespace import StrictNamespace
from tests.strict.transfers import TransferMeter


class StrictBackend:
    """Satisfies `ArrayBackend` with arrays that are no NumPy arrays."""

    name = "strict"
    chunk_rows = 1 << 14
    """Few, so that tests take several."""
    workers = 3
    """Scans are cut into so many parts, so that merging them is tried."""

    def __init__(self) -> None:
        self.meter = TransferMeter()
        self.xp: Any = StrictNamespace(self.meter)
        self._cpu = NumpyBackend()

    def from_host(self, host: Any, dtype: Any = None) -> StrictArray:
        if isinstance(host, StrictArray) or (isinstance(host, list) and any(isinstance(x, StrictArray) for x in host)):
            refuse("from_host of device arrays:", "They are where they belong.")
        copy = np.array(host, dtype)
        self.meter.up(copy.nbytes)
        return StrictArray(copy, self.meter)

    def to_host(self, array: Any) -> Any:
        host = _array(array, "to_host")
        self.meter.down(host.nbytes)
        return host.copy()

    def from_arrow(self, column: pa.Array) -> tuple[StrictArray, StrictArray | None]:
        data, valid = self._cpu.from_arrow(column)
        self.meter.up(data.nbytes + (0 if valid is None else valid.nbytes))
        return StrictArray(data.copy(), self.meter), None if valid is None else StrictArray(valid, self.meter)

    def to_arrow(self, data: Any, valid: Any, type: pa.DataType) -> pa.Array:
        values = _array(data, "to_arrow")
        present = None if valid is None else _array(valid, "to_arrow")
        self.meter.down(values.nbytes + (0 if present is None else present.nbytes))
        return self._cpu.to_arrow(values.copy(), present, type)

    def encode_strings(self, texts: pa.Array) -> tuple[pa.Array, StrictArray]:
        distinct, places = self._cpu.encode_strings(texts)
        self.meter.up(places.nbytes)
        return distinct, StrictArray(places, self.meter)

    def read_file(
        self, path: str, file_format: str, types: Mapping[str, pa.DataType], heard: HowFar
    ) -> pa.Table | None:
        return None

    def to_frame(self, columns: Mapping[str, DeviceColumn]) -> Any:
        return self._cpu.to_frame(columns)

    def scalar(self, array0d: Any) -> int | float | bool:
        host = _array(array0d, "scalar")
        if host.size != 1:
            refuse(f"scalar of an array of shape {host.shape}:", "It reads arrays with one element.")
        self.meter.scalar()
        return self._cpu.scalar(host)

    def enlarged(self, array: Any, used: int, capacity: int) -> StrictArray:
        host = _array(array, "enlarged")
        if not 0 <= used <= len(host) <= capacity:
            refuse(f"enlarged from {len(host)} rows, {used} in use, to {capacity}:", "They must not become fewer.")
        return StrictArray(self._cpu.enlarged(host, used, capacity), self.meter)

    def growth(self, array: Any, used: int, capacity: int) -> int:
        return self._cpu.growth(_array(array, "growth"), used, capacity)

    def group(self, keys: Any) -> Groups:
        host = _array(keys, "group")
        if host.dtype != np.int64 or host.ndim != 1:
            refuse(f"group of {keys!r}:", "Keys are (n,) int64.")
        self.meter.size()
        groups = self._cpu.group(host)
        return Groups(StrictArray(groups.keys, self.meter), StrictArray(groups.group_of, self.meter))

    def group_count(self, group_of: Any, size: int) -> StrictArray:
        return StrictArray(self._cpu.group_count(_groups(group_of, size), size), self.meter)

    def group_sum(self, values: Any, group_of: Any, size: int) -> StrictArray:
        host, groups = _array(values, "group_sum"), _groups(group_of, size)
        _same_length(host, groups)
        return StrictArray(self._cpu.group_sum(host, groups, size), self.meter)

    def group_min(self, values: Any, group_of: Any, size: int, initial: int | float) -> StrictArray:
        host, groups = _array(values, "group_min"), _groups(group_of, size)
        _same_length(host, groups)
        return StrictArray(self._cpu.group_min(host, groups, size, initial), self.meter)

    def group_max(self, values: Any, group_of: Any, size: int, initial: int | float) -> StrictArray:
        host, groups = _array(values, "group_max"), _groups(group_of, size)
        _same_length(host, groups)
        return StrictArray(self._cpu.group_max(host, groups, size, initial), self.meter)

    def take_cells(self, cells: Cells, places: Any) -> Cells:
        held = _cells(cells)
        return self._device_cells(self._cpu.take_cells(held, _places(places, len(held[1]))))

    def put_cells(self, cells: Cells, places: Any, new: Cells) -> None:
        held, numbers = _cells(cells), _cells(new)
        at = _places(places, len(held[1]))
        if len(np.unique(at)) != len(at):
            refuse("put_cells at one place twice:", "On a device any may win.")
        if any(a.shape != (len(at), b.shape[1]) for a, b in zip(numbers, held, strict=True)):
            refuse(f"put_cells of {new!r} at {len(at)} places of {cells!r}:", "They go together one by one.")
        self._cpu.put_cells(held, at, numbers)

    def sum_cells(self, cells: Cells, places: Any, added: Cells) -> tuple[Cells, Cells]:
        held, deltas = _cells(cells), (_array(added[0], "sum_cells"), _array(added[1], "sum_cells"))
        at = _places(places, len(held[1]))
        for delta, block in zip(deltas, held, strict=True):
            if delta.dtype != block.dtype or len(delta) != len(at) or delta.shape[1] > block.shape[1]:
                refuse(f"sum_cells of {added!r} at {len(at)} places of {cells!r}:", "The first columns are meant.")
        before, after = self._cpu.sum_cells(held, at, deltas)
        return self._device_cells(before), self._device_cells(after)

    def _device_cells(self, cells: Cells) -> Cells:
        return StrictArray(cells[0], self.meter), StrictArray(cells[1], self.meter)

    def alive(self, removed: Any, rows: Any, epoch: int, row_limit: int | None) -> StrictArray:
        ends = _buffer(removed, "int64")
        return StrictArray(self._cpu.alive(ends, _rows(rows, len(ends)), epoch, row_limit), self.meter)

    def alive_on_branches(
        self, removed: Any, rows: Any, marks: Any, first_marked: int, epoch_limits: Any, row_limits: Any
    ) -> StrictArray:
        ends, branches = _buffer(removed, "int64"), _buffer(marks, "int32")
        limits = _buffer(epoch_limits, "int64"), _buffer(row_limits, "int64")
        wanted = _rows(rows, min(len(ends), first_marked + len(branches)))
        return StrictArray(
            self._cpu.alive_on_branches(ends, wanted, branches, first_marked, *limits),
            self.meter,
        )

    def join_gather(self, pointers: Any, row_of_entity: Any, entities: int) -> StrictArray:
        places, rows = _array(pointers, "join_gather"), _buffer(row_of_entity, "int32")
        if places.dtype.kind != "i" or places.ndim != 1:
            refuse(f"join_gather of {pointers!r}:", "Pointers are (n,) integers.")
        if len(places) and places.max() > np.iinfo(np.int32).max:
            refuse(f"join_gather of a pointer {places.max()}:", "Entities are int32.")
        if not 0 <= entities <= len(rows):
            refuse(f"join_gather in {entities} of {len(rows)} places:", "They must be there.")
        return StrictArray(self._cpu.join_gather(places, rows, entities), self.meter)

    def order_by_code(self, codes: Any, size: int) -> StrictArray:
        return StrictArray(self._cpu.order_by_code(_groups(codes, size), size), self.meter)

    def int_index(self) -> StrictIndex:
        return StrictIndex(self.meter)

    def ignore_float_errors(self) -> AbstractContextManager[object]:
        return self._cpu.ignore_float_errors()

    def in_parallel(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Run one task after the other."""
        return [task() for task in tasks]

    def synchronize(self) -> None:
        """Return at once."""

    def memory(self) -> MemoryUse:
        return self._cpu.memory()


def _array(value: Any, where: str) -> Any:
    if not isinstance(value, StrictArray):
        refuse(f"{where} of a {type(value).__name__}:", "It takes device arrays.")
    return value._host


def _groups(group_of: Any, size: int) -> Any:
    """Return group ids, all of them in 0..size-1: elsewhere a GPU writes out of bounds."""
    host = _array(group_of, "group ids")
    if type(size) is not int:
        refuse(f"a size of {size!r}:", "Sizes are Python integers.")
    if host.dtype.kind not in "iu" or host.ndim != 1:
        refuse(f"group ids {group_of!r}:", "They are (n,) integers.")
    if len(host) and (host.min() < 0 or host.max() >= size):
        refuse(f"group ids from {host.min()} to {host.max()}:", f"They are in 0..{size - 1}.")
    return host


def _same_length(values: Any, groups: Any) -> None:
    if len(values) != len(groups):
        refuse(f"{len(values)} values for {len(groups)} group ids:", "They go together one by one.")


def _cells(cells: Cells) -> Cells:
    """Return both blocks of cells, as kernels read them."""
    hosts = tuple(_array(block, "cells") for block in cells)
    floats, integers = hosts
    if (str(floats.dtype), str(integers.dtype)) != ("float64", "int64"):
        refuse(f"cells {cells!r}:", "They are float64 and int64.")
    if floats.ndim != 2 or integers.ndim != 2 or len(floats) != len(integers):
        refuse(f"cells {cells!r}:", "Both blocks are (n, columns).")
    if not all(block.flags.c_contiguous for block in hosts):
        refuse(f"cells {cells!r}:", "Blocks are contiguous.")
    return floats, integers


def _places(places: Any, size: int) -> Any:
    """Return places, all of them in 0..size-1."""
    if not isinstance(places, StrictArray) or places.dtype != np.int64:
        refuse(f"places {places!r}:", "They are (k,) int64.")
    return _groups(places, size)


def _rows(rows: Any, size: int) -> Any:
    """Return a slice, or row numbers, all of them in 0..size-1."""
    return rows if isinstance(rows, slice) else _groups(rows, size)


def _buffer(array: Any, dtype: str) -> Any:
    """Return a one-dimensional buffer, as kernels read it."""
    host = _array(array, "a buffer")
    if host.dtype != dtype or host.ndim != 1 or not host.flags.c_contiguous:
        refuse(f"a buffer {array!r}:", f"It is (n,) {dtype} and contiguous.")
    return host
