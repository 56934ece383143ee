"""Wording: how messages say what is near, what there is and how large it is.

Floor 1: imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["hint", "size"]


def hint(given: str, known: Sequence[str]) -> str:
    """Return the sentence that helps: the nearest known name, else the names that exist."""
    near = get_close_matches(given, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    if not known:
        return "There are none yet."
    shown = ", ".join(repr(name) for name in known[:20])
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return f"There are: {shown}{more}."


def size(nbytes: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{nbytes / 2**30:,.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:,.1f} MiB"
