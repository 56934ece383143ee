"""The database interface: tables read directly, apart from any cube.

Floor 5. What a session shows as `session.database`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpu_engine.database.branch import MASTER
from gpu_engine.database.database import Database
from gpu_engine.query.prepared import CubeLike, Prepare
from gpu_engine.query.query_compiler import QueryCompiler
from gpu_engine.query.query_runner import QueryRunner
from gpu_engine.stream.streamer import Streamer

__all__ = ["DatabaseInterface", "DatabaseStatistics"]


@dataclass(frozen=True, slots=True)
class DatabaseStatistics:
    """Figures of the database interface."""

    compilations_total: int
    """Queries compiled: each query of a runner, and each prepared one once."""


class DatabaseInterface:
    """Runners and prepared queries of one session."""

    def __init__(
        self, database: Database, cube: Callable[[str], CubeLike], report: Callable[[str, BaseException], None]
    ) -> None:
        self._database = database
        self._compiler = QueryCompiler(database)
        self.prepare = Prepare(self._compiler, cube)
        """Compiles queries to be run many times: `prepare.list`, `get`, `distinct`, `cube`."""
        self.streamer = Streamer(database, report)
        """Tells listeners what each transaction changes in the rows of a prepared list query."""

    def version(self, branch: str = MASTER, epoch: int | None = None) -> QueryRunner:
        """Return a runner that reads one epoch of a branch, by default the newest of master.

        Raises
        ------
        UnknownBranchError, EpochNotRetainedError
            If the version cannot be read.
        """
        return QueryRunner(self._database.version(branch, epoch), self._compiler)

    def wait_for_commit(
        self,
        after: int,
        timeout: float | None = None,
        until: Callable[[], bool] = lambda: False,
        branch: str | None = None,
    ) -> int:
        """Wait until an epoch past `after`, at most `timeout` seconds or until the session is closed.

        Parameters
        ----------
        until : callable
            Ends the wait too once it returns True; it is asked with every commit, and by `wake`. It must not wait.
        branch : str or None
            Whose epoch it is to be; None for any branch's.

        Returns
        -------
        int
            The newest epoch, <= `after` only if the wait ended for another reason.

        Raises
        ------
        UnknownBranchError
            If the branch does not exist.
        """
        return self._database.wait_for_commit(after, timeout, until, branch)

    def wake(self) -> None:
        """Let everybody who waits for a commit ask its `until` again."""
        self._database.wake()

    def statistics(self) -> DatabaseStatistics:
        """Return figures for operators and tests."""
        return DatabaseStatistics(self._compiler.compilations_total)
