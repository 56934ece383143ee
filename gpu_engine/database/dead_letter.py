"""Dead letters: records that could not become rows, with all that is needed to try them again.

Floor 3. A dead letter travels as JSON with the transaction that went on without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["CSV", "KAFKA", "ROW", "DeadLetter", "raw_row"]

ROW = "row"
"""The raw record is one row as JSON."""
CSV = "csv"
"""The raw record is one line of a CSV file; the context has the header."""
KAFKA = "kafka"
"""The raw record is the value of a message; the context has the rest of it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that a table did not get."""

    id: str
    """Names it; the same record of the same source has the same id again."""
    table: str
    source: str
    """Where it came from: a file, or for example "kafka topic orders"."""
    position: Mapping[str, Any]
    """Where it is in there: line, row, or topic, partition and offset."""
    code: str
    """Stable code of the engine's error, else the name of the exception."""
    reason: str
    raw: bytes | None
    """The record as it came; None for a message without a value."""
    form: str
    """What the raw record is: row, csv or kafka."""
    at: str
    """When it was set aside, ISO 8601 in UTC."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What else is needed to try it again."""

    @classmethod
    def of(
        cls,
        table: str,
        source: str,
        position: Mapping[str, Any],
        error: BaseException,
        raw: bytes | None,
        form: str,
        context: Mapping[str, Any] | None = None,
    ) -> DeadLetter:
        """Return a new dead letter for an error."""
        name = json.dumps([table, source, position], sort_keys=True, default=str)
        code = str(getattr(error, "code", None) or type(error).__name__)
        reason = str(error) or type(error).__name__
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        digest = hashlib.blake2s(name.encode(), digest_size=10).hexdigest()
        return cls(digest, table, source, position, code, reason, raw, form, now, context or {})

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "id": self.id,
            "table": self.table,
            "source": self.source,
            "position": dict(self.position),
            "code": self.code,
            "reason": self.reason,
            "raw": None if self.raw is None else base64.b64encode(self.raw).decode(),
            "form": self.form,
            "at": self.at,
            "context": dict(self.context),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> DeadLetter:
        """Return what `to_json` gave."""
        raw = given["raw"]
        return cls(**{**given, "raw": None if raw is None else base64.b64decode(raw)})


def raw_row(row: Any) -> bytes:
    """Return a row, a tuple or a mapping, as JSON; what JSON lacks becomes text."""
    try:
        text = json.dumps(row, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a value that holds itself
        text = json.dumps(repr(row), ensure_ascii=False)
    return text.encode(errors="backslashreplace")  # what is no text in UTF-8 stays as an escape of JSON
