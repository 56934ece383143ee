"""Registrations: one listener, its place in the log, and the thread that tells it.

Floor 4. A registration reads the log at its own pace. A listener that blocks holds up its own thread and nothing else;
one that raises, or falls behind the log, ends its own registration, and may take up the thread where it lost it.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from gpu_engine.database.commit import Version
from gpu_engine.stream.listener import Event, StreamOptions, TransactionInfo
from gpu_engine.stream.transaction_log import LogEntry, TransactionLog
from gpu_engine.stream.view import StreamView

__all__ = ["Registration", "RegistrationStatistics"]

_MOST_TOGETHER = 1024
"""Transactions that are read from the log together at most: with the rests, more than a writer can commit."""
_REST = 19.0
"""A thread rests this many times as long as it has worked: the writer has the interpreter for 95% of the time."""
_LONGEST_REST = 0.05
"""Seconds that a listener which follows is told nothing at most because its thread rests."""
_LONGEST_REST_OF_VIEW = 1.0
"""The same of one that gets its initial view, which is not in such a hurry."""
_NAP = 0.01
"""Seconds of a rest until it is looked whether the log still allows it."""
_SPELL = 0.002
"""Seconds of work after which an initial view rests."""
_CLOSING_SECONDS = 10.0
_TELLING = ("truncate", "partition_dropped", "records_deleted", "records_updated", "records_added")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistrationStatistics:
    """Figures of one registration."""

    name: str
    branch: str | None
    epoch: int
    """The listener has been told of everything up to this epoch."""
    lag: int
    """Epochs between that and the newest commit."""
    transactions: int
    """Transactions told completely, those rolled back included."""
    rows: Mapping[str, int]
    """Rows told so far, by the name of the call."""
    attached: bool
    active: bool
    """Whether it goes on; False once unregistered or failed."""
    error: str | None
    """What ended it, if it failed."""


class Registration:
    """A listener that follows a query. Made by `Streamer.register`; end it with `unregister`."""

    def __init__(
        self,
        name: str,
        view: StreamView,
        calls: Mapping[str, Callable[..., object]],
        options: StreamOptions,
        log: TransactionLog,
        ended: Callable[[Registration], None],
        report: Callable[[str, BaseException], None],
    ) -> None:
        self.name, self.view, self.options = name, view, options
        self.attached: Future[int] = Future()
        """Done once the listener is registered, and has the initial view if it asked for one; gives its epoch."""
        self.error: BaseException | None = None
        """What ended the registration, if it failed."""
        self._calls = calls
        self._log, self._ended, self._report = log, ended, report
        self._closed = threading.Event()
        self._progress = threading.Condition()
        self._place = self._epoch = 0
        self._begun = False
        """Whether the listener has the initial view, or asked for none."""
        self._resumed_at = -1
        self._initial: deque[Version] = deque()
        """Versions to introduce. Nothing else holds them here, or their rows would be kept while the listener lives."""
        self._known: dict[str, tuple[int, int]] = {}
        """Branch -> its number, and the epoch after which the listener hears of it."""
        self._transactions = 0
        self._rows = dict.fromkeys(_TELLING, 0)
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Registration({self.name!r}, epoch {self.epoch})"

    # -- what users see ---------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The listener has been told of everything up to this epoch: what to give as `from_epoch` to resume.

        0 as long as it has not got all of the initial view that it asked for.
        """
        return self._epoch if self._begun else 0

    @property
    def wanted(self) -> int:
        """Changes after this epoch are still to be told."""
        return self._epoch

    @property
    def active(self) -> bool:
        """Whether it goes on: neither unregistered nor failed."""
        return not self._closed.is_set()

    def wait_for(self, epoch: int, timeout: float | None = None) -> bool:
        """Wait until the listener has been told of an epoch; False if it is not within `timeout` seconds, or ever."""
        with self._progress:
            self._progress.wait_for(lambda: self.epoch >= epoch or self._closed.is_set(), timeout)
        return self.epoch >= epoch

    def unregister(self) -> None:
        """Call the listener no more. What it is being told of is told to its end, but for an initial view.

        Waits for that, unless it is called from the listener.
        """
        self.request_end()
        self.join(_CLOSING_SECONDS)

    def statistics(self) -> RegistrationStatistics:
        """Return figures for operators and tests."""
        return RegistrationStatistics(
            self.name,
            self.options.branch,
            self.epoch,
            max(0, self._log.epoch - self.epoch),
            self._transactions,
            dict(self._rows),
            self.attached.done() and not self.attached.cancelled(),
            self.active,
            None if self.error is None else str(self.error) or type(self.error).__name__,
        )

    # -- life, for the streamer -------------------------------------------------------------------------------------

    def start(self, place: int, epoch: int, versions: Sequence[Version]) -> None:
        """Tell the listener of `versions` as they are, if it wants that, and then of what follows.

        Parameters
        ----------
        place : where in the log to go on
        epoch : what the listener has been told of once it has `versions`
        versions : the branches at that place; none of them to resume
        """
        self._place, self._epoch = place, epoch
        self._resumed_at = -1 if versions else epoch
        self._known = {version.branch: (version.number, version.epoch) for version in versions}
        self._initial.extend(versions if self.options.send_initial_view else ())
        self._begun = not self._initial
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def request_end(self) -> None:
        """Let the thread end after what it is telling of, without waiting for it."""
        with self._progress:
            if self._closed.is_set():
                return
            self._closed.set()
            self._progress.notify_all()
        self._ended(self)
        self.attached.cancel()
        self._log.wake()

    def join(self, timeout: float) -> None:
        """Wait until the listener is called no more; a listener that does not return in time is logged."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():
                _log.error("%s: the listener does not return", self.name)

    # -- delivery ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._initial:
                self._introduce(self._initial.popleft())
                if self._closed.is_set():
                    return
            with self._progress:
                self._begun = True
                self._progress.notify_all()
            if self.attached.set_running_or_notify_cancel():
                self.attached.set_result(self._epoch)
            while (worked := self._follow()) is not None:
                # What the writer commits meanwhile costs much less together than one by one.
                self._rest(worked, _LONGEST_REST)
        except BaseException as error:
            self._fail(error)
        finally:
            self._initial.clear()

    def _follow(self) -> float | None:
        """Tell of the next transactions, once there are any, and keep nothing of them.

        Returns
        -------
        float or None
            Seconds of work; None if the registration has ended.
        """
        entries = self._log.read(self._place, _MOST_TOGETHER, self._epoch, self._closed.is_set)
        if not entries:
            return None
        begin = time.thread_time()
        self._deliver(entries)
        return time.thread_time() - begin

    def _concerns(self, entry: LogEntry) -> bool:
        """Return whether the listener is to hear of a transaction, and has not seen it in an initial view."""
        if entry.gone or self.options.branch not in (None, entry.branch) or entry.epoch <= self._resumed_at:
            return False
        known = self._known.get(entry.branch)
        return known is None or entry.epoch > known[1]

    def _deliver(self, entries: Sequence[LogEntry]) -> None:
        concerning = [self._concerns(entry) for entry in entries]
        commits = [entry.commit for entry, one in zip(entries, concerning, strict=True) if one and entry.commit]
        changes = iter(self.view.changes(commits))
        for entry, one in zip(entries, concerning, strict=True):
            if self._closed.is_set():
                return
            if one:
                self._tell_of(entry, changes)
            self._advance(entry)

    def _tell_of(self, entry: LogEntry, changes: Iterator[Iterable[Event]]) -> None:
        commit = entry.commit
        info = TransactionInfo(entry.branch, entry.epoch, entry.tables)
        if commit is None:
            self._calls["transaction_started"](entry.epoch, info)
            self._calls["transaction_rolled_back"]()
            self._transactions += 1
            return
        events = next(changes)
        if entry.opens_branch and self.options.send_initial_view and not self._knows(commit.before):
            self._introduce(commit.before)
        self._tell(info, events)

    def _rest(self, worked: float, longest: float) -> None:
        """Leave the interpreter to the writer, by the seconds worked, unless that would lose the thread."""
        left = min(longest, _REST * worked)
        while left > 0 and self._log.at_ease(self._place) and not self._closed.wait(min(left, _NAP)):
            left -= _NAP

    def _unhurried(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events, with rests between them while the writer is at work."""
        epoch, begin, worked = self._log.epoch, time.perf_counter(), 0.0
        for event in events:
            worked += time.perf_counter() - begin
            yield event
            if worked > _SPELL and self._log.epoch != epoch:
                self._rest(worked, _LONGEST_REST_OF_VIEW)
                epoch, worked = self._log.epoch, 0.0
            begin = time.perf_counter()

    def _knows(self, version: Version) -> bool:
        known = self._known.get(version.branch)
        return known is not None and known[0] == version.number

    def _introduce(self, version: Version) -> None:
        """Send all rows of a branch, in place of what the listener knows of it."""
        self._known[version.branch] = (version.number, version.epoch)
        info = TransactionInfo(version.branch, version.epoch, (), initial=True)
        self._tell(info, self._unhurried(self.view.rows(version)))

    def _tell(self, info: TransactionInfo, events: Iterable[Event]) -> None:
        self._calls["transaction_started"](info.epoch, info)
        for event in events:
            self._calls[event.method](*event.arguments)
            self._rows[event.method] += event.rows
            if info.initial and self._closed.is_set():
                return
        self._calls["transaction_committed"](info.epoch)
        self._transactions += 1

    def _advance(self, entry: LogEntry) -> None:
        self._place += 1
        if entry.commit is not None or entry.gone:
            with self._progress:
                self._epoch = max(self._epoch, entry.epoch)
                self._progress.notify_all()

    def _fail(self, error: BaseException) -> None:
        """End because of an error, and tell the listener."""
        if self._closed.is_set():
            return
        self.error = error
        if not self.attached.done() and self.attached.set_running_or_notify_cancel():
            self.attached.set_exception(error)
        self._report(self.name, error)
        try:
            self._calls["on_self_failure"](error)
        except BaseException as another:
            self._report(f"{self.name}, on_self_failure", another)
        finally:
            self.request_end()
            # Whoever keeps the error would keep what was read for the listener, and the rows below it.
            traceback.clear_frames(error.__traceback__)
