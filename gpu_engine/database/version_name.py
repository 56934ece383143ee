"""How users name a version: a branch and an epoch.

Floor 3. A number that is no whole one would be compared with epochs as if it were one, and be taken for the one below.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from gpu_engine.errors import InvalidQueryError

__all__ = ["epoch_named", "version_named"]


def epoch_named(given: Any) -> int:
    """Return an epoch as a user gives it; InvalidQueryError if it is no whole number."""
    try:
        if not isinstance(given, bool):
            return operator.index(given)
    except TypeError:
        pass
    raise InvalidQueryError([f"epoch {given!r}: give a whole number."])


def version_named(given: Any, what: str) -> tuple[str, int]:
    """Return the branch and the epoch of a pair of them; InvalidQueryError, which says `what` it is, if it is none."""
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        raise InvalidQueryError([f"{what} {given!r}: give a branch and an epoch, such as ('master', 7)."])
    branch, epoch = given
    return branch, epoch_named(epoch)
