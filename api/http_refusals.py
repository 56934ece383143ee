"""What HTTP itself refuses, before any route has its say: what was asked, what there is, what to do.

Floor 6. It speaks of the request at hand.
"""

from __future__ import annotations

from difflib import get_close_matches

from flask import current_app, request
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

__all__ = ["explained"]

PREFIX = "/api/v1/"


def explained(error: HTTPException) -> tuple[str, tuple[str, ...]]:
    """Return the message for an error, and the names that would have been known in place of a wrong one."""
    if isinstance(error, MethodNotAllowed):
        possible = tuple(sorted(error.valid_methods or ()))
        return f"{request.method} is not possible at {request.path!r}. Possible: {', '.join(possible)}.", possible
    if isinstance(error, NotFound):
        rules = {rule.rule for rule in current_app.url_map.iter_rules()}
        addresses = tuple(sorted(rule for rule in rules if rule.startswith(PREFIX)))
        near = get_close_matches(_tail(request.path), map(_tail, addresses), n=1)
        hint = f"Did you mean {PREFIX + near[0]!r}?" if near else "docs/http.md has all addresses."
        return f"there is nothing at {request.path!r}. {hint}", addresses
    if isinstance(error, RequestEntityTooLarge):
        most = current_app.config["MAX_CONTENT_LENGTH"]
        return f"the body is too large, at most {most:,} bytes. Send it in parts.", ()
    if isinstance(error, BadRequest) and error.description == BadRequest.description:
        return "the body cannot be read: it is cut off, or not framed as its headers say. Send it again, whole.", ()
    return error.description or error.name, ()


def _tail(address: str) -> str:
    """Return an address without what all of them begin with, which would make any two look alike."""
    return address.removeprefix(PREFIX)
