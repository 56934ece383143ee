"""The broadcaster: one thread brings every subscriber of every live query up to date after each commit.

Floor 6. A subscriber is a feed and an epoch; subscribers of one socket that advance together are a group. After a
commit on any branch the thread pulls what each group lacks, once for all who lack the same, and offers the frames; who
cannot take them stays at its epoch and is tried again a moment later, when all that it missed has become one change.
While everybody takes their frames the thread sleeps until a commit, or until somebody wakes it. So no queue
exists, a slow reader delays nobody, and one that takes nothing at all is cut off after `patience` seconds. What a
client asked for itself (first frames, what a pause left out) is sent by its own socket's thread: a large snapshot
delays nobody either.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import gpu_engine as ge
from api.channel import text_frame
from api.errors import RequestError, answer
from api.feeds import Feed, FeedEndedError
from api.groups import Delivery, Group, Plan, Subscription
from api.queries import CubeQuery
from api.rounds import FeedFailedError, Round
from api.wire import dump

__all__ = ["Hub", "HubStatistics"]

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.02
"""How long to wait before a subscriber that has not taken its frames is offered them again."""
OPENING_PULLS = 3


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Figures of the broadcaster since it was made, for operators and tests."""

    feeds: int
    """Distinct live queries open now, with those that wait for their subscribers to come back."""
    subscribers: int
    """Subscriptions now, over all sockets."""
    paused: int
    """Those of them that are paused."""
    rounds: int
    """Times that the broadcaster looked at its subscribers."""
    frames_encoded: int
    """Changes and snapshots turned into JSON; several subscribers share one."""
    frames_sent: int
    """Frames handed to sockets."""
    merged: int
    """Deliveries of one change for several epochs to clients that had not taken them one by one, or were paused."""
    dropped: int
    """Sockets cut off because their client took nothing for too long."""
    failures: int
    """Live queries ended because pulling their changes failed."""


class Hub:
    """Owns the feeds, their subscriptions and the broadcasting thread, which starts with the first subscription."""

    def __init__(self, session: ge.Session, linger_seconds: float = 30.0) -> None:
        self.linger_seconds = linger_seconds
        """How long a live query outlives its last subscriber, who may come back and resume where it was."""
        self._session = session
        self._lock = threading.Lock()
        self._feeds: dict[str, Feed] = {}
        self._runs: dict[str, str] = {}
        self._groups: set[Group] = set()
        self._newest = -1
        self._due = False
        self._started = False
        self._stop_letting_go = session.branches.before_delete(self._let_go)
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._rounds = self._encoded = self._sent = self._merged = self._dropped = self._failures = 0

    def run_of(self, branch: str) -> str:
        """Return what names this life of the service and of a branch: epochs of another life mean nothing in it."""
        with self._lock:
            return self._runs.setdefault(branch, uuid.uuid4().hex)

    def subscribe(
        self, group: Group, subscription_id: str, query: CubeQuery, epoch: int | None, *, paused: bool = False
    ) -> Subscription:
        """Return a new subscription of a group; its acknowledgement and first frames are on their way.

        Blocks as long as its own client takes to accept them. `epoch` is what the client has already, None for
        nothing; one that lies ahead counts as nothing. With `paused` there are no frames before it is resumed.
        """
        feed = self._use(query)
        subscription = Subscription(subscription_id, feed, group, paused=paused)
        try:
            feed.open()
            head = feed.head
            subscription.epoch = epoch if epoch is not None and epoch <= head else None
            group.channel.send(self._acknowledgement(subscription, head))
            with self._held(group):
                group.admit(subscription)
                self._catch_up(group)
        except FeedEndedError as error:
            self.unsubscribe(subscription)
            raise self._ended() from error
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription: no frame of it goes out after this. Its live query stays for `linger_seconds`."""
        group = subscription.group
        if not group.expel(subscription):
            return
        with self._lock:
            if not (group.members or group.held):
                self._groups.discard(group)
            subscription.feed.users -= 1
            subscription.feed.idle_since = time.monotonic()
        if not subscription.feed.users:
            self._wake()

    def resume(self, group: Group, subscriptions: Sequence[Subscription]) -> None:
        """Let paused members of a group go on: what they lack is sent as one merged change before this returns."""
        with self._held(group):
            group.pause(subscriptions, False)
            self._catch_up(group)

    def catch_up(self, group: Group) -> None:
        """Send what a group lacks now; for its socket's thread."""
        with self._held(group):
            self._catch_up(group)

    def close(self) -> None:
        """Stop the thread and close all live queries; sockets are their server's to close."""
        self._stop_letting_go()
        self._stopping.set()
        self._wake()
        if self._started:
            self._finished.wait(5)
        with self._lock:
            feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            feed.close()

    def statistics(self) -> HubStatistics:
        """Return the figures of now."""
        with self._lock:
            return HubStatistics(
                feeds=len(self._feeds),
                subscribers=sum(len(group.members) for group in self._groups),
                paused=sum(member.paused for group in self._groups for member in group.members),
                rounds=self._rounds,
                frames_encoded=self._encoded,
                frames_sent=self._sent,
                merged=self._merged,
                dropped=self._dropped,
                failures=self._failures,
            )

    def _use(self, query: CubeQuery) -> Feed:
        """Return the feed of `query`, counted as used once more; start the thread with the first one."""
        with self._lock:
            if self._stopping.is_set():
                raise ge.errors.SessionClosedError
            if not self._started:
                self._session.run_in_background("live broadcaster", self._run)
                self._started = True
            feed = self._feeds.setdefault(query.key, Feed(query))
            feed.users += 1
            return feed

    def _acknowledgement(self, subscription: Subscription, head: int) -> bytes:
        message = {
            "type": "subscribed",
            "id": subscription.id,
            "branch": subscription.feed.branch,
            "epoch": head,
            "run": self.run_of(subscription.feed.branch),
        }
        if subscription.group.name is not None:
            message["group"] = subscription.group.name
        return text_frame(dump(message))

    @contextmanager
    def _held(self, group: Group) -> Iterator[None]:
        """Keep the broadcaster away from a group: its socket's thread sends, and may wait for its client."""
        with self._lock:
            self._groups.add(group)
        group.hold(True)
        try:
            yield
        finally:
            group.hold(False)
            with self._lock:
                if not group.members:
                    self._groups.discard(group)
            if self._lacks(group):
                self._wake()

    @staticmethod
    def _lacks(group: Group) -> bool:
        """Return whether a group lacks something: what was committed while it was held, for example."""
        try:
            return group.channel.waiting or group.plan(lambda feed: feed.head) is not None
        except FeedEndedError:
            return True

    def _wake(self) -> None:
        """Have the broadcaster look at all groups."""
        self._due = True
        self._session.database.wake()

    def _catch_up(self, group: Group) -> None:
        """Send what a held group lacks until it has all, or as good as: the broadcaster does the rest."""
        for _ in range(OPENING_PULLS):
            look = Round()
            try:
                plan = group.plan(look.head, own=True)
                if plan is None:
                    return
                delivery = self._delivery(look, group, plan)
                self._count(sent=delivery.frames)
                group.send(plan, delivery)
                if delivery.complete:
                    return
            except FeedFailedError as failure:
                self._fail(failure)
            except FeedEndedError as error:
                raise self._ended() from error

    def _delivery(self, look: Round, group: Group, plan: Plan) -> Delivery:
        encoded, merged = look.encoded, look.merged
        delivery = look.delivery(plan, group.name)
        self._count(encoded=look.encoded - encoded, merged=look.merged - merged)
        return delivery

    def _ended(self) -> Exception:
        if self._stopping.is_set():
            return ge.errors.SessionClosedError()
        return RequestError("live_query_ended", "the live query ended. Subscribe again.", status=503)

    def _run(self, closing: threading.Event) -> None:
        """Broadcast until the session closes or the hub does."""
        timeout: float | None = None
        try:
            while True:
                newest = self._session.database.wait_for_commit(
                    self._newest, timeout, until=lambda: self._due or closing.is_set()
                )
                if closing.is_set() or self._stopping.is_set():
                    return
                with self._lock:
                    self._newest, self._due = newest, False
                    self._rounds += 1
                look = Round()
                settled = all([self._broadcast(group, look) for group in self._current_groups()])
                rest = self._close_idle()
                timeout = rest if settled else RETRY_SECONDS
        except ge.errors.SessionClosedError:
            log.debug("the session closed; the live broadcaster ends")
        finally:
            self._finished.set()

    def _close_idle(self) -> float | None:
        """Close the live queries to which nobody came back; return in how many seconds to do so again, if at all."""
        now = time.monotonic()
        with self._lock:
            rests = {
                key: feed.idle_since + self.linger_seconds - now for key, feed in self._feeds.items() if not feed.users
            }
            closing = [self._feeds.pop(key) for key, rest in rests.items() if rest <= 0]
        for feed in closing:
            feed.close()
        return min((rest for rest in rests.values() if rest > 0), default=None)

    def _let_go(self, branch: str) -> None:
        """Close the live queries on a branch to which nobody is subscribed: it is to be deleted."""
        with self._lock:
            self._runs.pop(branch, None)
            idle = [key for key, feed in self._feeds.items() if not feed.users and feed.query.branch == branch]
            closing = [self._feeds.pop(key) for key in idle]
        for feed in closing:
            feed.close()

    def _current_groups(self) -> list[Group]:
        with self._lock:
            return list(self._groups)

    def _broadcast(self, group: Group, look: Round) -> bool:
        """Bring a group to the head or some way there; True if it has everything and nothing of it waits."""
        try:
            if group.held:
                return True
            ready = self._flush(group)
            plan = group.plan(look.head)
            if plan is None:
                return ready
            if not ready:
                group.fall_behind()
                return False
            delivery = self._delivery(look, group, plan)
            if not group.offer(plan, delivery):
                return False
            self._count(sent=delivery.frames)
            return group.channel.flush() and group.plan(look.head) is None
        except OSError:
            self._drop(group, counted=False)
            return True
        except FeedFailedError as failure:
            self._fail(failure)
            return False
        except FeedEndedError:
            return False

    def _count(self, *, encoded: int = 0, merged: int = 0, sent: int = 0) -> None:
        with self._lock:
            self._encoded += encoded
            self._merged += merged
            self._sent += sent

    def _flush(self, group: Group) -> bool:
        """Return whether nothing waits for this client any more; cut it off once patience has run out."""
        if group.channel.flush():
            return True
        if group.channel.stalled:
            self._drop(group, counted=True)
        return False

    def _drop(self, group: Group, *, counted: bool) -> None:
        """Cut off a client that is gone or stuck; its reading thread ends its subscriptions."""
        group.channel.cut()
        with self._lock:
            groups = [other for other in self._groups if other.channel is group.channel]
            self._groups.difference_update(groups)
            self._dropped += counted
        if counted:
            log.warning("live subscriptions %s: the client takes no data and was cut off", _ids(groups))

    def _fail(self, failure: FeedFailedError) -> None:
        """End one feed whose live query failed: report it, tell its subscribers, leave all others alone."""
        feed = failure.feed
        with self._lock:
            if self._feeds.get(feed.query.key) is not feed:
                return
            del self._feeds[feed.query.key]
            self._failures += 1
            subscriptions = [one for group in self._groups for one in group.members if one.feed is feed]
        _, body = answer(failure.error, self._session, "live query")
        for subscription in subscriptions:
            channel = subscription.group.channel
            frame = text_frame(dump({"type": "error", "id": subscription.id, **body["error"]}))
            self.unsubscribe(subscription)
            with suppress(OSError):
                if not channel.offer(frame):
                    channel.cut()
        feed.close()


def _ids(groups: Sequence[Group]) -> str:
    return ", ".join(repr(member.id) for group in groups for member in group.members)
