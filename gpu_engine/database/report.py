"""Reports: what a transaction did, for whoever made it.

Floor 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CommitReport", "TableReport"]


@dataclass(frozen=True, slots=True)
class TableReport:
    """What one commit did to one table, in rows."""

    added: int = 0
    """Rows whose key was new."""
    updated: int = 0
    """Rows that replaced one of the same key."""
    removed: int = 0
    """Rows that ended with nothing in their place."""
    unchanged: int = 0
    """Rows given that were equal to what was there."""
    duplicates: int = 0
    """Rows given whose key came again later in the same batch."""


@dataclass(frozen=True, slots=True)
class CommitReport:
    """What a transaction did. A transaction that changes nothing makes no epoch."""

    epoch: int
    """First epoch that shows the transaction: the new head, or the old one when nothing changed."""
    tables: Mapping[str, TableReport] = field(default_factory=dict)
    """Tables that the transaction wrote to."""
    branch: str = "master"
