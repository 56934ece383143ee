"""Subscriptions that advance together over one socket, and where each of them stands.

Floor 6. A subscription of its own is a group without a name. A group is moved by the broadcaster, or by its socket's
thread while that holds it; whoever moves it makes a plan, encodes frames without any lock, and has them sent only if
the group is still as planned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from api.channel import Channel
from api.feeds import Feed

__all__ = ["Delivery", "Group", "Plan", "Subscription"]


@dataclass(slots=True, eq=False)
class Subscription:
    """One client's interest in one feed."""

    id: str
    """Chosen by the client; unique on its socket."""
    feed: Feed
    group: Group
    epoch: int | None = None
    """The client has everything up to here; None: it needs a snapshot."""
    paused: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a group lacked at one moment."""

    version: int
    members: tuple[Subscription, ...]
    """Those that are not paused."""
    epochs: tuple[int | None, ...]
    """Where each of them stands."""
    lacking: tuple[int | None, ...]
    """Where those stand whose branches have gone on."""
    target: int
    """Where they are to go."""
    merge: bool
    """Whether that is to be one change: the client has not taken earlier frames, or was paused."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Frames that bring the members of a plan some way or all the way."""

    blob: bytes
    """The frames as they go over the wire; empty if no cell changed."""
    frames: int
    epochs: tuple[int | None, ...]
    """Where each member of the plan stands once it has them."""
    complete: bool
    """Whether that is where the plan goes; there may be more than fits one delivery."""


@dataclass(slots=True, eq=False)
class Group:
    """Subscriptions of one socket, moved together."""

    channel: Channel
    name: str | None = None
    """Chosen by the client; None for a subscription of its own."""
    members: list[Subscription] = field(default_factory=list)
    held: bool = False
    """While True only the socket's own thread sends; it may wait for its client, the broadcaster may not."""
    behind: bool = False
    """The client did not take what it was offered, or was paused: it gets one merged change next."""
    _version: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, head_of: Callable[[Feed], int], *, own: bool = False) -> Plan | None:
        """Return what the members lack, None if nothing or if it is not for this thread to move them.

        Parameters
        ----------
        head_of : what counts as a feed's newest epoch
        own : whether the thread that holds the group asks
        """
        with self._lock:
            if self.held and not own:
                return None
            members = tuple(member for member in self.members if not member.paused)
            version, epochs, merge = self._version, tuple(member.epoch for member in members), self.behind
        heads = [head_of(member.feed) for member in members]
        stands = zip(epochs, heads, strict=True)
        lacking = tuple(epoch for epoch, head in stands if epoch is None or epoch < head)
        return Plan(version, members, epochs, lacking, max(heads), merge) if lacking else None

    def offer(self, plan: Plan, delivery: Delivery) -> bool:
        """Have frames taken by the channel, which never waits; False if they were not, or not meant any more."""
        with self._lock:
            if self._version != plan.version:
                return False
            if delivery.blob and not self.channel.offer(delivery.blob):
                self.behind |= self.channel.waiting
                return False
            self._advance(plan, delivery)
            return True

    def send(self, plan: Plan, delivery: Delivery) -> None:
        """Send frames and wait until the client takes them; for the thread that holds the group."""
        if delivery.blob:
            self.channel.send(delivery.blob)
        with self._lock:
            self._advance(plan, delivery)

    def fall_behind(self) -> None:
        """Note if the client has not taken its frames: the next change is merged then."""
        with self._lock:
            self.behind |= self.channel.waiting

    def hold(self, held: bool) -> None:
        """Take the group from the broadcaster, or give it back. What was planned before is void."""
        with self._lock:
            self.held = held
            self._version += 1

    def admit(self, subscription: Subscription) -> None:
        """Take a subscription in. What was planned before is void."""
        with self._lock:
            self.members.append(subscription)
            self._version += 1

    def pause(self, subscriptions: Sequence[Subscription], paused: bool) -> None:
        """Pause members or let them go on; who goes on gets one merged change. What was planned before is void."""
        with self._lock:
            for subscription in subscriptions:
                self.behind |= subscription.paused and not paused
                subscription.paused = paused
            self._version += 1

    def expel(self, subscription: Subscription) -> bool:
        """Let a subscription go; False if it has gone already."""
        with self._lock:
            if subscription.closed:
                return False
            subscription.closed = True
            self._version += 1
            self.members = [member for member in self.members if member is not subscription]
            return True

    def _advance(self, plan: Plan, delivery: Delivery) -> None:
        for member, epoch in zip(plan.members, delivery.epochs, strict=True):
            member.epoch = epoch
        self.behind = False
        self._version += 1
