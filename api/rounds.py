"""One look at all groups: what is pulled and encoded in it is shared by all who lack the same.

Floor 6. A group moves epoch by epoch, all changes of one epoch in one frame; in one step where it is merged, where a
member needs a snapshot, or where it is many epochs behind. So all members always stand at the same epoch of their
branches, or rather at what their branches had then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import gpu_engine as ge
from api.channel import text_frame
from api.feeds import Feed, FeedEndedError, Portion
from api.groups import Delivery, Plan

__all__ = ["FeedFailedError", "Round"]

MERGE_EPOCHS = 32
"""Who is further behind gets one merged change."""
PORTION_BYTES = 1024 * 1024
"""No further epoch joins a delivery that is larger than this."""

Entry = tuple[str, Portion]
"""A subscription's id and its change."""


class FeedFailedError(Exception):
    """Pulling a feed's changes failed."""

    def __init__(self, feed: Feed, error: Exception) -> None:
        super().__init__(str(error))
        self.feed, self.error = feed, error


class _OvershootError(Exception):
    """A member got a snapshot that is newer than where its group was to go."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


class Round:
    """Makes deliveries; keeps what it encoded, so it is to be dropped after one look."""

    def __init__(self) -> None:
        self.encoded = 0
        """Changes and snapshots turned into JSON."""
        self.merged = 0
        """Deliveries of one change for several epochs, because the client had not taken them one by one."""
        self._heads: dict[Feed, int] = {}
        self._portions: dict[tuple[Feed, int | None, int], Portion] = {}
        self._frames: dict[tuple[str | None, int, tuple[Entry, ...]], bytes] = {}

    def head(self, feed: Feed) -> int:
        """Return a feed's newest epoch, the same one for all groups: what is newer is for the next round."""
        if feed not in self._heads:
            self._heads[feed] = feed.head
        return self._heads[feed]

    def delivery(self, plan: Plan, name: str | None) -> Delivery:
        """Return the frames of one plan for the group `name`.

        Raises
        ------
        FeedFailedError
            If changes of one member could not be pulled.
        FeedEndedError
            If the live query of one member was closed meanwhile.
        """
        target, merge = plan.target, plan.merge
        while True:
            try:
                return self._delivery(plan, name, target, merge)
            except _OvershootError as overshoot:
                target, merge = overshoot.epoch, True

    def _delivery(self, plan: Plan, name: str | None, target: int, merge: bool) -> Delivery:
        epochs = list(plan.epochs)
        frames: list[bytes] = []
        step = target
        for step in _steps(plan.lacking, target, merge):
            entries: list[Entry] = []
            for place, member in enumerate(plan.members):
                epoch = epochs[place]
                if epoch is None or epoch < step:
                    portion = self._portion(member.feed, epoch, step)
                    if portion.reached > step and len(epochs) > 1:
                        raise _OvershootError(portion.reached)
                    epochs[place] = portion.reached
                    if portion.body is not None:
                        entries.append((member.id, portion))
            if entries:
                frames.append(self._frame(name, step, tuple(entries)))
            if sum(map(len, frames)) > PORTION_BYTES:
                break
        self.merged += plan.merge and bool(frames)
        return Delivery(b"".join(frames), len(frames), tuple(epochs), step >= target)

    def _portion(self, feed: Feed, epoch: int | None, until: int) -> Portion:
        key = (feed, epoch, until)
        found = self._portions.get(key)
        if found is None:
            try:
                found = self._portions[key] = feed.pull(epoch, until)
            except (FeedEndedError, ge.errors.SessionClosedError):
                raise
            except Exception as error:
                raise FeedFailedError(feed, error) from error
            self.encoded += found.body is not None
        return found

    def _frame(self, name: str | None, epoch: int, entries: tuple[Entry, ...]) -> bytes:
        key = (name, epoch, entries)
        if key not in self._frames:
            bodies = [portion.addressed_to(subscription_id) for subscription_id, portion in entries]
            self._frames[key] = text_frame(bodies[0] if name is None else _together(name, epoch, entries, bodies))
        return self._frames[key]


def _steps(epochs: Sequence[int | None], target: int, merge: bool) -> Sequence[int]:
    """Return the epochs at which all members are to meet, for those at `epochs` who lack something."""
    known = [epoch for epoch in epochs if epoch is not None]
    if merge or len(known) < len(epochs) or target - min(known) > MERGE_EPOCHS:
        return [target]
    return range(min(known) + 1, target + 1)


def _together(name: str, epoch: int, entries: tuple[Entry, ...], bodies: Sequence[bytes]) -> bytes:
    begins = [portion.from_epoch for _, portion in entries if portion.from_epoch is not None]
    head = {"type": "changes", "group": name, "epoch": epoch, "from_epoch": min(begins, default=None)}
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"changes":[' + b",".join(bodies) + b"]}"
