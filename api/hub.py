"""The broadcaster: one thread brings every subscriber of every live query up to date after each commit.

Floor 6. A subscriber is a feed and an epoch. After a commit the thread pulls each feed's changes once per epoch that
some subscriber stands at, and offers the frames; who cannot take them stays at its epoch and is tried again a moment
later, when all that it missed has become one change. So no queue exists, a slow reader delays nobody, and one that
takes nothing at all is cut off after `patience` seconds. The first frames of a subscription are sent by its own
socket's thread: a large snapshot delays nobody either.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

import gpu_engine as ge
from api.channel import Channel, text_frame
from api.errors import RequestError, answer
from api.feeds import Feed, Frames, Subscription
from api.queries import CubeQuery
from api.wire import BRANCH, dump

__all__ = ["Hub", "HubStatistics"]

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
"""Longest wait for a commit: within it the thread sees that it is to stop, or that a subscriber joined late."""
RETRY_SECONDS = 0.02
"""The same while some subscriber has not taken its frames."""
OPENING_PULLS = 3


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Figures of the broadcaster since it was made, for operators and tests."""

    feeds: int
    """Distinct live queries open now, with those that wait for their subscribers to come back."""
    subscribers: int
    """Subscriptions now, over all sockets."""
    rounds: int
    """Times that the broadcaster looked at its subscribers."""
    frames_encoded: int
    """Frames turned into JSON; several subscribers share one."""
    frames_sent: int
    """Frames handed to sockets."""
    dropped: int
    """Subscriptions ended because their client took nothing for too long."""
    failures: int
    """Live queries ended because pulling their changes failed."""


class Hub:
    """Owns the feeds, their subscriptions and the broadcasting thread, which starts with the first subscription."""

    def __init__(self, session: ge.Session, linger_seconds: float = 30.0) -> None:
        self.run = uuid.uuid4().hex
        """Names this service's life: epochs of another life mean nothing here."""
        self.linger_seconds = linger_seconds
        """How long a live query outlives its last subscriber, who may come back and resume where it was."""
        self._session = session
        self._lock = threading.Lock()
        self._feeds: dict[str, Feed] = {}
        self._head = -1
        self._started = False
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._rounds = self._encoded = self._sent = self._dropped = self._failures = 0

    def subscribe(self, channel: Channel, subscription_id: str, query: CubeQuery, epoch: int | None) -> Subscription:
        """Return a new subscription whose acknowledgement and first frames are on their way.

        Blocks as long as its own client takes to accept them. `epoch` is what the client has already, None for
        nothing; one that lies ahead counts as nothing.
        """
        feed = self._use(query)
        subscription = Subscription(subscription_id, channel, feed)
        try:
            feed.open()
            head = self._session.epoch
            subscription.epoch = epoch if epoch is not None and epoch <= head else None
            channel.send(self._acknowledgement(subscription, head))
            self._join(subscription)
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription: no frame of it goes out after this. Its live query stays for `linger_seconds`."""
        with subscription.lock:
            if subscription.closed:
                return
            subscription.closed = True
        with self._lock:
            feed = subscription.feed
            feed.subscriptions.discard(subscription)
            feed.users -= 1
            feed.idle_since = time.monotonic()

    def close(self) -> None:
        """Stop the thread and close all live queries; sockets are their server's to close."""
        self._stopping.set()
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
                subscribers=sum(len(feed.subscriptions) for feed in self._feeds.values()),
                rounds=self._rounds,
                frames_encoded=self._encoded,
                frames_sent=self._sent,
                dropped=self._dropped,
                failures=self._failures,
            )

    def _use(self, query: CubeQuery) -> Feed:
        """Return the feed of `query`, counted as used once more; start the thread with the first one."""
        with self._lock:
            if self._stopping.is_set():
                raise ge.errors.SessionClosedError
            if not self._started:
                self._head = self._session.epoch
                self._session.run_in_background("live broadcaster", self._run)
                self._started = True
            feed = self._feeds.setdefault(query.key, Feed(query))
            feed.users += 1
            return feed

    def _acknowledgement(self, subscription: Subscription, head: int) -> bytes:
        return text_frame(
            dump({"type": "subscribed", "id": subscription.id, "branch": BRANCH, "epoch": head, "run": self.run})
        )

    def _join(self, subscription: Subscription) -> None:
        """Send what the subscriber lacks, and hand it to the broadcaster once it has caught up with it."""
        for last in [False] * (OPENING_PULLS - 1) + [True]:
            frames = self._pulled(subscription.feed, subscription.epoch)
            blob = frames.addressed_to(subscription.id)
            if blob:
                subscription.channel.send(blob)
            subscription.epoch = frames.reached
            with self._lock:
                self._sent += len(frames.bodies)
                if self._feeds.get(subscription.feed.query.key) is not subscription.feed:
                    raise RequestError("live_query_ended", "the live query ended. Subscribe again.", status=503)
                if last or frames.reached >= self._head:
                    subscription.feed.subscriptions.add(subscription)
                    return

    def _run(self, closing: threading.Event) -> None:
        """Broadcast until the session closes or the hub does."""
        wait = IDLE_SECONDS
        try:
            while not (closing.is_set() or self._stopping.is_set()):
                head = self._session.wait_for_commit(self._head, timeout=wait)
                with self._lock:
                    self._head = max(self._head, head)
                    self._rounds += 1
                settled = all([self._broadcast(feed) for feed in self._current_feeds()])
                self._close_idle()
                wait = IDLE_SECONDS if settled else RETRY_SECONDS
        except ge.errors.SessionClosedError:
            log.debug("the session closed; the live broadcaster ends")
        finally:
            self._finished.set()

    def _close_idle(self) -> None:
        """Close the live queries to which nobody came back."""
        since = time.monotonic() - self.linger_seconds
        with self._lock:
            idle = [key for key, feed in self._feeds.items() if feed.users == 0 and feed.idle_since < since]
            closing = [self._feeds.pop(key) for key in idle]
        for feed in closing:
            feed.close()

    def _current_feeds(self) -> list[Feed]:
        with self._lock:
            return list(self._feeds.values())

    def _broadcast(self, feed: Feed) -> bool:
        """Bring the feed's subscribers to the head; True if all of them took everything."""
        with self._lock:
            subscriptions = list(feed.subscriptions)
        pulled: dict[int | None, Frames] = {}
        blobs: dict[tuple[int | None, str], bytes] = {}
        settled = True
        try:
            for subscription in subscriptions:
                epoch = subscription.epoch
                ready = self._flush(subscription)
                if not ready or (epoch is not None and epoch >= self._head):
                    settled &= ready
                    continue
                if epoch not in pulled:
                    pulled[epoch] = self._pulled(feed, epoch)
                key = (epoch, subscription.id)
                if key not in blobs:
                    blobs[key] = pulled[epoch].addressed_to(subscription.id)
                settled &= self._offer(subscription, blobs[key], pulled[epoch])
        except ge.errors.SessionClosedError:
            if not self._stopping.is_set():
                raise
        except Exception as error:
            self._fail(feed, error)
        return settled

    def _pulled(self, feed: Feed, epoch: int | None) -> Frames:
        frames = feed.pull(epoch)
        with self._lock:
            self._encoded += len(frames.bodies)
        return frames

    def _offer(self, subscription: Subscription, blob: bytes, frames: Frames) -> bool:
        """Offer frames to one subscriber; True if it has them and nothing of them waits."""
        try:
            with subscription.lock:
                if subscription.closed:
                    return True
                if blob and not subscription.channel.offer(blob):
                    return False
                subscription.epoch = frames.reached
            with self._lock:
                self._sent += len(frames.bodies)
            return subscription.channel.flush() and frames.reached >= self._head
        except OSError:
            self._drop(subscription, counted=False)
            return True

    def _flush(self, subscription: Subscription) -> bool:
        """Return whether nothing waits for this client any more; cut it off once patience has run out."""
        channel = subscription.channel
        try:
            if channel.flush():
                return True
            if channel.stalled:
                self._drop(subscription, counted=True)
        except OSError:
            self._drop(subscription, counted=False)
        return False

    def _drop(self, subscription: Subscription, *, counted: bool) -> None:
        """Cut off a client that is gone or stuck; its reading thread ends its subscriptions."""
        if counted:
            log.warning("live subscription %r: the client takes no data and was cut off", subscription.id)
            with self._lock:
                self._dropped += 1
        subscription.channel.cut()
        with self._lock:
            subscription.feed.subscriptions.discard(subscription)

    def _fail(self, feed: Feed, error: Exception) -> None:
        """End one feed whose live query failed: report it, tell its subscribers, leave all others alone."""
        _, body = answer(error, self._session, "live query")
        with self._lock:
            self._failures += 1
            subscriptions = list(feed.subscriptions)
            if self._feeds.get(feed.query.key) is feed:
                del self._feeds[feed.query.key]
        for subscription in subscriptions:
            frame = text_frame(dump({"type": "error", "id": subscription.id, **body["error"]}))
            with suppress(OSError):
                if not subscription.channel.offer(frame):
                    subscription.channel.cut()
            self.unsubscribe(subscription)
        feed.close()
