"""Reprocessing: every provider of a session computed anew from the rows and compared with what it holds.

Floor 5. A provider that differs shows in the session's health until an audit finds it right.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_engine.cube.audit import ProviderAudit, audit_provider
from gpu_engine.cube.cube import Cube
from gpu_engine.errors import AuditDifferenceError
from gpu_engine.supervisor import Supervisor

__all__ = ["AuditReport", "reprocess"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit of all providers has found."""

    providers: tuple[ProviderAudit, ...]
    """Every provider whose branch was there, those of live queries and of hierarchies included."""
    seconds: float

    @property
    def cells(self) -> int:
        """Cells compared."""
        return sum(audit.cells for audit in self.providers)

    @property
    def different_cells(self) -> int:
        """Cells that differ from their rows; 0 if all is well."""
        return sum(audit.different_cells for audit in self.providers)


def reprocess(cubes: Mapping[str, Cube], supervisor: Supervisor) -> AuditReport:
    """Return how the providers of all cubes compare with the rows, each at the newest version of its branch."""
    started = time.perf_counter()
    found = [audit for cube in cubes.values() for audit in _audits(cube, supervisor)]
    return AuditReport(tuple(found), time.perf_counter() - started)


def _audits(cube: Cube, supervisor: Supervisor) -> list[ProviderAudit]:
    """Return the audits of one cube; the first that differs is reported."""
    component = f"providers of cube {cube.name!r}"
    audits = [audit for provider in cube.providers if (audit := audit_provider(cube, provider)) is not None]
    wrong = next((audit for audit in audits if audit.different_cells), None)
    if wrong is None:
        supervisor.clear(component)
    else:
        first = str(wrong.differences[0])
        supervisor.report(
            component, AuditDifferenceError(cube.name, wrong.provider, wrong.epoch, wrong.different_cells, first)
        )
    return audits
