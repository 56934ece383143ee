"""The ledger of files: which files a table has taken in, as they were then, kept with the rows.

Floor 5. A restart asks it which files are new. In memory only it is never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["FIRST_ROWS", "loaded_as", "stamps"]

FIRST_ROWS = "first rows of table {}"
"""Name under which the first rows of a table are noted that came from no file."""


def stamps(table: str, files: Iterable[Path]) -> dict[str, Any]:
    """Return the positions that say that a table has files as they are now; read them after this."""
    return {_source(table, file): _stamp(file) for file in files}


def loaded_as(positions: Mapping[str, Any], table: str, file: Path) -> bool | None:
    """Return whether a table has a file as it is now; None if it never had it."""
    known = positions.get(_source(table, file))
    return None if known is None else bool(known == _stamp(file))


def _source(table: str, file: Path) -> str:
    return f"file {file.absolute()} of table {table}"


def _stamp(file: Path) -> dict[str, int]:
    state = file.stat()
    return {"size": state.st_size, "modified_ns": state.st_mtime_ns}
