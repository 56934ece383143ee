"""What a JSON value has to be: its type, its size, the members that it may have.

Floor 6. Each function returns the value, or raises a `RequestError` that names its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from api.errors import RequestError
from api.wire import BRANCH

__all__ = [
    "MAX_EPOCH",
    "expect_branch",
    "expect_count",
    "expect_digits",
    "expect_epoch",
    "expect_list",
    "expect_members",
    "expect_object",
    "expect_text",
    "kind_of",
]

MAX_EPOCH = 2**53


def expect_branch(value: Any, place: str) -> str:
    """Return the name of a branch, master for null, else raise a `RequestError` that names `place`."""
    if value is None:
        return BRANCH
    if not isinstance(value, str):
        raise RequestError("invalid_request", f"expected the name of a branch, got {kind_of(value)}.", place=place)
    return value


def expect_epoch(value: Any, place: str) -> int | None:
    """Return an epoch or None if `value` is one of the two, else raise a `RequestError` that names `place`."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise RequestError("invalid_request", f"expected an epoch (a whole number), got {kind_of(value)}.", place=place)


def expect_object(value: Any, place: str) -> dict[str, Any]:
    """Return `value` if it is a JSON object, else raise a `RequestError` that names `place`."""
    if not isinstance(value, dict):
        raise RequestError("invalid_request", f"expected a JSON object, got {kind_of(value)}.", place=place)
    return value


def expect_members(value: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    """Refuse a member that nobody reads: it is a misspelling more often than not."""
    for name in value:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known)}."
            raise RequestError("invalid_request", f"unknown member {name!r}. {hint}", place=place)


def expect_list(value: Any, place: str, what: str, limit: int) -> list[Any]:
    """Return `value` if it is a list of at most `limit` items, else raise a `RequestError` that names `place`."""
    if not isinstance(value, list):
        raise RequestError("invalid_request", f"expected a list of {what}, got {kind_of(value)}.", place=place)
    if len(value) > limit:
        raise RequestError("invalid_request", f"{len(value)} {what} are too many, at most {limit}.", place=place)
    return value


def kind_of(value: Any) -> str:
    """Return what JSON calls the type of `value`, with its article."""
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def expect_text(value: Any, place: str, what: str) -> str:
    """Return `value` if it is a text with at least one character."""
    if not isinstance(value, str) or not value:
        raise RequestError("invalid_request", f"expected {what}, got {kind_of(value)}.", place=place)
    return value


def expect_count(value: Any, place: str, most: int) -> int:
    """Return `value` if it is a whole number from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise RequestError("invalid_request", f"expected a whole number from 0 to {most}.", place=place)
    return value


def expect_digits(text: str, most: int, place: str) -> int:
    """Return the whole number up to `most` that a part of an address spells."""
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > most:
        raise RequestError("invalid_request", f"expected a whole number up to {most}, got {text[:40]!r}.", place=place)
    return int(text)
