"""Admission: whether the rows of a commit have room, asked before any work.

Floor 3. The estimate counts what surely is taken: the rows as they arrive, their place in the table, and, where the
table's buffers are full, the larger buffers that are filled while the old ones still serve readers. What grouping and
indexes take beyond that, and providers, is not known before; if it is not there, the commit fails on its way and
leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.shortage import require
from gpu_engine.database.operation import Operation, Update, Upsert
from gpu_engine.storage.table_store import TableStore

__all__ = ["admit", "bytes_of_rows", "bytes_to_add"]


def admit(backend: ArrayBackend, operations: Iterable[Operation]) -> None:
    """Refuse operations whose rows have no room.

    Raises
    ------
    MemoryShortageError
        If the rows of one table need more memory than is available.
    """
    rows: dict[TableStore, int] = {}
    for operation in operations:
        if isinstance(operation, Upsert | Update):
            arriving = next(iter(operation.columns.values()), ())
            rows[operation.store] = rows.get(operation.store, 0) + len(arriving)
    for store, count in rows.items():
        require(backend, f"adding {count:,} rows to table {store.name!r}", bytes_to_add(store, count))


def bytes_to_add(store: TableStore, count: int) -> int:
    """Return about how many bytes it takes to add so many rows, those of the old buffers while they serve included."""
    removed = store.rows.removed
    needed = removed.length + count
    grown = store.backend.growth(removed.buffer, removed.length, needed) if needed > len(removed.buffer) else 0
    return bytes_of_rows(store, count + grown)


def bytes_of_rows(store: TableStore, count: int) -> int:
    """Return about how many bytes so many rows take, without indexes."""
    return count * store.row_bytes
