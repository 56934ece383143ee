"""The answer to a write: what its commit did.

Floor 6.
"""

from __future__ import annotations

from flask import Response

import gpu_engine as ge
from api.service import reply

__all__ = ["committed"]


def committed(report: ge.CommitReport | None) -> Response:
    """Answer with what a commit did; a service's thread is never inside a transaction, so there is a report."""
    if report is None:
        raise RuntimeError("a request was handled inside a transaction")
    tables = {
        name: {
            "added": one.added,
            "updated": one.updated,
            "removed": one.removed,
            "unchanged": one.unchanged,
            "duplicates": one.duplicates,
        }
        for name, one in report.tables.items()
    }
    return reply({"tables": tables}, report.epoch, branch=report.branch)
