"""Routes of versions: pins, differences between two of them, compaction.

Floor 6. A version in JSON is {"branch": "master", "epoch": number}; both members may be left out, for master and for
the newest epoch of the branch.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from flask import Blueprint, Response

import gpu_engine as ge
from api.errors import RequestError, placed
from api.expect import expect_branch, expect_epoch, expect_members, expect_object, expect_text
from api.service import json_body, reply, reply_table, service, wants_arrow
from api.wire import rows

__all__ = ["CHANGE", "NamedPins", "marked", "version_of", "version_routes"]

CHANGE = "__change__"
"""First column of a difference as Arrow: which part of it each row belongs to."""

ROW_CHANGES = ("added", "removed", "updated_old", "updated_new")
MAX_PINS = 1_000
MAX_NAME = 200
MAX_ROWS = 100_000


def version_of(given: Any, place: str) -> tuple[str, int]:
    """Return the branch and epoch that JSON spells, the newest epoch of the branch by default."""
    body = expect_object({} if given is None else given, place)
    expect_members(body, ("branch", "epoch"), place)
    branch = expect_branch(body.get("branch"), f"{place}.branch")
    epoch = expect_epoch(body.get("epoch"), f"{place}.epoch")
    return branch, service().session.branches[branch].epoch if epoch is None else epoch


def marked(parts: Mapping[str, pa.Table]) -> pa.Table:
    """Return the parts of a difference as one table, whose first column says which part each row belongs to."""
    named = (part.add_column(0, CHANGE, pa.repeat(name, part.num_rows)) for name, part in parts.items())
    return pa.concat_tables(named)


def version_routes() -> Blueprint:
    """Return the blueprint with the routes /diff and /compact."""
    blueprint = Blueprint("versions", __name__)
    blueprint.post("/diff")(_diff)
    blueprint.post("/compact")(_compact)
    return blueprint


def _diff() -> Response:
    """Answer what differs: all tables as JSON, one of them as Arrow."""
    body = expect_object(json_body(), "$")
    expect_members(body, ("since", "until", "table"), "$")
    since, until = version_of(body.get("since"), "$.since"), version_of(body.get("until"), "$.until")
    as_arrow, session = wants_arrow(), service().session
    table = None if body.get("table") is None else expect_text(body["table"], "$.table", "the name of a table")
    if table is not None:
        with placed("$.table"):
            _ = session.tables[table]
    if as_arrow and table is None:
        raise RequestError("invalid_request", "an Arrow stream holds one table. Say which.", place="$.table")
    found = session.diff(since, until)
    if as_arrow and table is not None:
        return reply_table(marked(_parts(session, table, found)), until[1], until[0])
    shown = [name for name in found if table in (None, name)]
    parts = {name: _parts(session, name, found) for name in shown}
    count = sum(part.num_rows for each in parts.values() for part in each.values())
    if count > MAX_ROWS:
        message = f"{count} rows are too many for JSON, at most {MAX_ROWS}. Ask for Arrow, table by table."
        raise RequestError("answer_too_large", message, status=413)
    tables = {
        name: {
            "columns": each["added"].column_names,
            **{part: rows(content) for part, content in each.items()},
        }
        for name, each in parts.items()
    }
    return reply({"since": {"branch": since[0], "epoch": since[1]}, "tables": tables}, until[1], branch=until[0])


def _parts(session: ge.Session, table: str, found: Mapping[str, ge.TableDiff]) -> dict[str, pa.Table]:
    if table not in found:
        nothing = session.tables[table].to_arrow(0)
        return dict.fromkeys(ROW_CHANGES, nothing)
    return {part: getattr(found[table], part) for part in ROW_CHANGES}


def _compact() -> Response:
    return reply(dataclasses.asdict(service().session.compact()))


@dataclass(frozen=True, slots=True)
class NamedPin:
    """A pin that was made over HTTP."""

    id: int
    name: str
    pin: ge.Pin

    def about(self) -> dict[str, Any]:
        """Return what clients see of it."""
        return {"id": self.id, "name": self.name, "branch": self.pin.branch, "epoch": self.pin.epoch}


class NamedPins:
    """The pins of one application, a bounded number of them; each says whose it is, so that operators can remove it.

    Pins made in Python are listed too, without an id: whoever made them releases them.
    """

    def __init__(self, session: ge.Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._pins: dict[int, NamedPin] = {}
        self._ids = itertools.count(1)

    def routes(self) -> Blueprint:
        """Return the blueprint with the routes under /pins."""
        blueprint = Blueprint("pins", __name__)
        blueprint.get("/pins")(self._list)
        blueprint.post("/pins")(self._create)
        blueprint.delete("/pins/<int:pin>")(self._delete)
        return blueprint

    def _list(self) -> Response:
        with self._lock:
            ours = list(self._pins.values())
        others = Counter(self._session.statistics().pins)
        others.subtract((one.pin.branch, one.pin.epoch) for one in ours)
        foreign = [{"id": None, "name": None, "branch": branch, "epoch": epoch} for branch, epoch in others.elements()]
        oldest = self._session.statistics().oldest_epoch
        return reply({"pins": [*(one.about() for one in ours), *foreign], "most": MAX_PINS, "oldest_epoch": oldest})

    def _create(self) -> Response:
        body = expect_object(json_body(), "$")
        expect_members(body, ("name", "branch", "epoch"), "$")
        name = expect_text(body.get("name"), "$.name", "a text that says whose pin it is, or what for")
        if len(name) > MAX_NAME:
            raise RequestError("invalid_request", f"expected at most {MAX_NAME} characters.", place="$.name")
        branch = expect_branch(body.get("branch"), "$.branch")
        epoch = expect_epoch(body.get("epoch"), "$.epoch")
        with self._lock:
            if len(self._pins) >= MAX_PINS:
                message = f"there are {MAX_PINS} pins, which is the most. Delete one."
                raise RequestError("too_many_pins", message, status=409)
            made = NamedPin(next(self._ids), name, self._session.pin(epoch, branch))
            self._pins[made.id] = made
        return reply(made.about(), made.pin.epoch, status=201, branch=branch)

    def _delete(self, pin: int) -> Response:
        with self._lock:
            found = self._pins.pop(pin, None)
        if found is None:
            raise RequestError("unknown_pin", f"there is no pin {pin}. GET /pins lists them.", status=404)
        found.pin.release()
        return reply({"deleted": pin})
