"""Routes of dead letters: list them, try them again, discard them.

Floor 6. What is to happen to all of them is said with `"all": true`, never by leaving the ids out.
"""

from __future__ import annotations

import base64
from typing import Any

from flask import Blueprint, Response, request

import gpu_engine as ge
from api.errors import RequestError
from api.expect import expect_list, expect_members, expect_object
from api.service import json_body, reply, service

__all__ = ["dead_letter_routes"]

MOST_LETTERS = 10_000
DEFAULT_LETTERS = 100


def dead_letter_routes() -> Blueprint:
    """Return the blueprint with the routes under /dead-letters."""
    blueprint = Blueprint("dead_letters", __name__)
    blueprint.get("/dead-letters")(_list)
    blueprint.post("/dead-letters/replay")(_replay)
    blueprint.post("/dead-letters/discard")(_discard)
    return blueprint


def _list() -> Response:
    letters = service().session.dead_letters
    text = request.args.get("limit", str(DEFAULT_LETTERS))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 0 <= int(text) <= MOST_LETTERS:
        raise RequestError(
            "invalid_request", f"expected a whole number up to {MOST_LETTERS}, got {text[:40]!r}.", place="?limit"
        )
    table = request.args.get("table")
    if table is not None:
        service().session.tables[table]
    found = letters.list(table)
    shown = [_shown(letter) for letter in found[: int(text)]]
    return reply({"dead_letters": shown, "total": len(found), "dropped_total": letters.dropped_total})


def _replay() -> Response:
    report = service().session.dead_letters.replay(_ids())
    return reply({"replayed": list(report.replayed), "refused": dict(report.refused)})


def _discard() -> Response:
    return reply({"discarded": service().session.dead_letters.discard(_ids())})


def _ids() -> list[str] | None:
    """Return the ids that the body names, None for all."""
    body = expect_object(json_body(), "$")
    expect_members(body, ("ids", "all"), "$")
    if body.get("all") is True and "ids" not in body:
        return None
    if "all" in body:
        raise RequestError("invalid_request", 'give either ids or "all": true.', place="$.all")
    ids = expect_list(body.get("ids"), "$.ids", "ids", MOST_LETTERS)
    for i, one in enumerate(ids):
        if not isinstance(one, str):
            raise RequestError("invalid_request", "an id is a text.", place=f"$.ids[{i}]")
    return list(ids)


def _shown(letter: ge.DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON: the raw record in base64, and as text where it is one."""
    raw = letter.raw
    try:
        text = None if raw is None else raw.decode()
    except UnicodeDecodeError:
        text = None
    return {
        "id": letter.id,
        "table": letter.table,
        "source": letter.source,
        "position": dict(letter.position),
        "code": letter.code,
        "reason": letter.reason,
        "at": letter.at,
        "form": letter.form,
        "raw": None if raw is None else base64.b64encode(raw).decode(),
        "text": text,
    }
