"""One live query, shared by all who subscribe to the same cells, and its changes as encoded JSON.

Floor 6. A feed opens its live query with the first subscriber; the hub closes it some time after the last. Changes are
pulled by epoch, so a feed keeps nothing per subscriber; what it encodes for one goes to every other at that epoch.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

import pyarrow as pa

import gpu_engine as ge
from api.queries import CubeQuery
from api.wire import dump, paired_rows, rows

__all__ = ["Feed", "FeedEndedError", "Portion"]


class FeedEndedError(Exception):
    """The live query has been closed."""


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """What brings a subscriber from one epoch to `reached`: one change, one snapshot or nothing."""

    body: bytes | None
    """A JSON object that lacks only the subscription's id and the opening brace before it; None if no cell changed."""
    from_epoch: int | None
    """The epoch that the change starts from; None for a snapshot."""
    reached: int

    def addressed_to(self, subscription_id: str) -> bytes:
        """Return the JSON object for one subscriber."""
        return b'{"id":' + json.dumps(subscription_id).encode() + b"," + (self.body or b"")


class Feed:
    """The live query of one canonical query. The hub counts its users; see `Hub`."""

    def __init__(self, query: CubeQuery) -> None:
        self.query = query
        self.users = 0
        self.idle_since = 0.0
        self._live: ge.LiveQuery | None = None
        self._closed = False
        self._opening = threading.Lock()

    @property
    def head(self) -> int:
        """The newest epoch of the branch that the query is of."""
        return self._opened().epoch

    @property
    def branch(self) -> str:
        """The branch that the query is of."""
        return self._opened().branch

    def open(self) -> None:
        """Open the live query unless it is; a second subscriber waits for the first one's opening."""
        with self._opening:
            if self._live is None and not self._closed:
                self._live = self.query.live()

    def close(self) -> None:
        """Close the live query; whatever asks it from now on raises `FeedEndedError`."""
        with self._opening:
            self._closed = True
            live, self._live = self._live, None
        if live is not None:
            live.close()

    def pull(self, epoch: int | None, until: int) -> Portion:
        """Return all that changed in epoch < e <= until as one portion; for None, what there is at `until`.

        It is a snapshot where the changes are no longer kept, and a newer one where `until` is not kept either.
        """
        try:
            changes, reached = self._opened().changes_since(epoch, merge=True, until=until)
        except ge.errors.InvalidQueryError as error:
            if self._closed:
                raise FeedEndedError from error
            raise
        if not changes:
            return Portion(None, epoch, reached)
        change = changes[0]
        return Portion(self._body(change), change.from_epoch, reached)

    def _opened(self) -> ge.LiveQuery:
        live = self._live
        if live is None:
            raise FeedEndedError
        return live

    def _body(self, change: ge.CellChange) -> bytes:
        changed, changed_from = paired_rows(change.changed, change.changed_from, len(self.query.levels))
        message = {
            "type": "snapshot" if change.snapshot else "change",
            "branch": change.branch,
            "epoch": change.epoch,
            "from_epoch": change.from_epoch,
            "levels": [level.name for level in self.query.levels],
            "measures": self.query.measures,
            **({"types": _types(change.added.schema)} if change.snapshot else {}),
            "added": rows(change.added),
            "changed": changed,
            "changed_from": changed_from,
            "removed": rows(change.removed),
        }
        return dump(message)[1:]


def _types(schema: pa.Schema) -> list[str]:
    """Return the Arrow types of the columns, by name."""
    kinds = (field.type for field in schema)
    return [str(kind.value_type if pa.types.is_dictionary(kind) else kind) for kind in kinds]
