"""Names in addresses: whatever a branch may be called, slashes and line ends included.

Floor 6.
"""

from __future__ import annotations

from werkzeug.routing import BaseConverter

__all__ = ["AnyName"]


class AnyName(BaseConverter):
    """All of the rest of an address. Only for the end of a route."""

    regex = r"[\s\S]+"
    part_isolating = False
