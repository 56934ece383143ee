"""Exports: the tables of one version as Parquet files, for whoever does not want our formats.

Floor 4.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_engine.database.commit import Version
from gpu_engine.database.database import Database
from gpu_engine.durability.arrow_file import row_batches
from gpu_engine.errors import InvalidModelError
from gpu_engine.storage.table_store import TableStore

__all__ = ["export_version"]


def export_version(
    database: Database, target: Path, branch: str, epoch: int | None, tables: Sequence[str] | None
) -> Mapping[str, int]:
    """Write each table of a version as TABLE.parquet into a new folder, and return the rows of each.

    Raises
    ------
    InvalidModelError
        If the folder exists, or the name of a table cannot be the name of a file.
    UnknownBranchError, EpochNotRetainedError, UnknownTableError
        If there is no such version or table.
    OSError
        If something cannot be written; there is no folder then.
    """
    version = database.version(branch, epoch)
    stores = [database.table(name) for name in (database.stores if tables is None else tables)]
    if target.exists():
        raise InvalidModelError(f"{target} exists already. Give a folder that does not exist.")
    for store in stores:
        if "/" in store.name or "\0" in store.name or store.name.startswith("."):
            raise InvalidModelError(f"table {store.name!r} cannot be the name of a file. Export the others by name.")
    unfinished = target.parent.absolute() / f".{target.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        counts = {store.name: _write(unfinished / f"{store.name}.parquet", version, store) for store in stores}
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return counts


def _write(path: Path, version: Version, store: TableStore) -> int:
    table = version.table(store)
    rows = table.alive_rows()
    with pq.ParquetWriter(path, store.arrow_schema) as writer:
        for batch in row_batches(table, rows, encoded=False):
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=store.arrow_schema))
    return len(rows)
