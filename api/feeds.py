"""One live query, shared by all who subscribe to the same cells, and its changes as encoded frames.

Floor 6. A feed opens its live query with the first subscriber; the hub closes it some time after the last. Changes are
pulled by epoch, so a feed keeps nothing per subscriber; what it encodes for one it hands to every other at that epoch.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

import gpu_engine as ge
from api.channel import Channel, text_frame
from api.queries import CubeQuery
from api.wire import dump, rows

__all__ = ["Feed", "Frames", "Subscription"]

PORTION_BYTES = 1024 * 1024
"""No further change joins a portion that is larger than this."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One client's interest in one feed."""

    id: str
    """Chosen by the client; unique on its socket."""
    channel: Channel
    feed: Feed
    epoch: int | None = None
    """The client has everything up to here; None: it needs a snapshot."""
    closed: bool = False
    """Set under `lock`: once True, no further frame of this subscription goes out."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Frames:
    """What brings a subscriber from one epoch to `reached`."""

    bodies: tuple[bytes, ...]
    """JSON objects that lack only the subscription's id and the opening brace before it."""
    reached: int
    """The epoch up to which that is all; before the head if there was more than fits one portion."""

    def addressed_to(self, subscription_id: str) -> bytes:
        """Return the websocket frames for one subscriber; empty if no cell changed."""
        head = b'{"id":' + json.dumps(subscription_id).encode() + b","
        return b"".join(text_frame(head + body) for body in self.bodies)


class Feed:
    """The live query of one canonical query. The hub counts its users; see `Hub`."""

    def __init__(self, query: CubeQuery) -> None:
        self.query = query
        self.users = 0
        self.idle_since = 0.0
        self.subscriptions: set[Subscription] = set()
        self._live: ge.LiveQuery | None = None
        self._closed = False
        self._opening = threading.Lock()

    def open(self) -> None:
        """Open the live query unless it is; a second subscriber waits for the first one's opening."""
        with self._opening:
            if self._live is None and not self._closed:
                self._live = self.query.live()

    def close(self) -> None:
        """Close the live query; `pull` raises from now on."""
        with self._opening:
            self._closed = True
            live, self._live = self._live, None
        if live is not None:
            live.close()

    def pull(self, epoch: int | None) -> Frames:
        """Return the frames that bring a subscriber at `epoch` (None: nothing yet) to the present, or some way there.

        A portion is bounded, so that a slow subscriber who missed much does not hold much memory.
        """
        live = self._live
        if live is None:
            raise ge.errors.SessionClosedError
        changes, reached = live.changes_since(epoch)
        bodies: list[bytes] = []
        for change in changes:
            bodies.append(self._body(change))
            if sum(map(len, bodies)) > PORTION_BYTES:
                return Frames(tuple(bodies), change.epoch)
        return Frames(tuple(bodies), reached)

    def _body(self, change: ge.CellChange) -> bytes:
        message = {
            "type": "snapshot" if change.snapshot else "change",
            "branch": change.branch,
            "epoch": change.epoch,
            "from_epoch": change.from_epoch,
            "levels": [level.name for level in self.query.levels],
            "measures": self.query.measures,
            "added": rows(change.added),
            "changed": rows(change.changed),
            "changed_from": rows(change.changed_from),
            "removed": rows(change.removed),
        }
        return dump(message)[1:]
