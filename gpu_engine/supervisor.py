"""The supervisor: background threads with an owner, and every failure where operators look.

Floor 5. A thread that dies, a file that cannot be read, a callback that raises: each is counted in the session's health
and written to the log, and nothing else stops for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

__all__ = ["BackgroundTask", "Failure", "Health", "Supervisor"]

_log = logging.getLogger(__name__)

MOST_FAILURES = 100
"""Components whose latest failure is kept; beyond that the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The latest failure of one component."""

    component: str
    code: str
    """Stable code of an engine error, else the name of the exception's class."""
    message: str
    at: str
    """When it last happened, ISO 8601 in UTC."""
    count: int
    """How often it has happened."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether all is well."""

    status: str
    """"ok", or "degraded" while there are failures that nobody has cleared."""
    failures: tuple[Failure, ...]


class BackgroundTask:
    """A thread of the session's. Its function gets an event that is set when it should end."""

    def __init__(self, name: str, function: Callable[[threading.Event], None], supervisor: Supervisor) -> None:
        self.name = name
        self.error: BaseException | None = None
        """What ended the function; None while it runs and after a normal return."""
        self._stopping = threading.Event()
        self._function, self._supervisor = function, supervisor
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the function still runs."""
        return self._thread.is_alive()

    def request_stop(self) -> None:
        """Set the event, without waiting."""
        self._stopping.set()

    def stop(self, timeout: float | None = 10.0) -> bool:
        """Set the event and wait, at most `timeout` seconds; return whether the function has ended."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._function(self._stopping)
        except BaseException as error:
            if not self._stopping.is_set():
                self.error = error
                self._supervisor.report(self.name, error)


class Supervisor:
    """Owner of a session's background threads and of its list of failures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, Failure] = {}
        self._tasks: list[BackgroundTask] = []

    def start(self, name: str, function: Callable[[threading.Event], None]) -> BackgroundTask:
        """Run a function on a thread of its own until it returns, raises, or is asked to end."""
        task = BackgroundTask(name, function, self)
        with self._lock:
            self._tasks = [*(other for other in self._tasks if other.alive or other.error is not None), task]
        return task

    @property
    def tasks(self) -> tuple[BackgroundTask, ...]:
        """Tasks that run or have failed."""
        return tuple(self._tasks)

    def report(self, component: str, error: BaseException) -> None:
        """Note that a component failed; its earlier failure is counted and replaced."""
        _log.error("%s failed: %s", component, error, exc_info=error)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        code = str(getattr(error, "code", None) or type(error).__name__)
        fresh = Failure(component, code, str(error) or type(error).__name__, now, 1)
        with self._lock:
            before = self._failures.pop(component, None)
            self._failures[component] = fresh if before is None else replace(fresh, count=before.count + 1)
            while len(self._failures) > MOST_FAILURES:
                del self._failures[next(iter(self._failures))]

    def clear(self, component: str) -> None:
        """Forget the failure of a component that works again; nothing happens if there is none."""
        with self._lock:
            self._failures.pop(component, None)

    def health(self) -> Health:
        """Return what is wrong, the latest last."""
        with self._lock:
            failures = tuple(self._failures.values())
        return Health("degraded" if failures else "ok", failures)

    def request_stop(self) -> None:
        """Ask all tasks to end, without waiting."""
        for task in self.tasks:
            task.request_stop()

    def stop(self) -> None:
        """Ask all tasks to end and wait for each; one that does not within its time is logged."""
        self.request_stop()
        for task in self.tasks:
            if not task.stop():
                _log.error("background task %s does not end", task.name)
