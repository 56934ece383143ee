"""The cube: a fact table seen by hierarchies and measures.

Floor 4. The cube owns its model (hierarchies, measures) and its providers; queries are compiled against the model and
answered by the plan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array
from gpu_engine.backend.shortage import named_shortage
from gpu_engine.cube.aggregate import ROWS, Primitive
from gpu_engine.cube.answer import answer_of
from gpu_engine.cube.answer_modes import check_mode, rendered
from gpu_engine.cube.cells import paired_cells
from gpu_engine.cube.change import CellChange, difference
from gpu_engine.cube.compiled_query import CompiledCubeQuery
from gpu_engine.cube.hierarchy import Hierarchies, Level, Levels
from gpu_engine.cube.live import LiveQuery
from gpu_engine.cube.measure import CountRows, agg
from gpu_engine.cube.measure_catalog import Measures
from gpu_engine.cube.plan import Explanation, answer_cells
from gpu_engine.cube.provider import AggregateProvider
from gpu_engine.cube.query import Query, compile_query
from gpu_engine.database.branch import MASTER
from gpu_engine.database.commit import Version
from gpu_engine.database.database import Database
from gpu_engine.database.resolve import join_paths, resolver
from gpu_engine.database.table import Table
from gpu_engine.database.version_name import version_named
from gpu_engine.errors import InvalidModelError, InvalidQueryError
from gpu_engine.expression.condition import Condition, Resolve
from gpu_engine.expression.expression import Field
from gpu_engine.expression.join import Reference
from gpu_engine.storage.column import decode

__all__ = ["Cube"]

ReportFailure = Callable[[str, BaseException], None]


class Cube:
    """Facts by levels. Create it with `Session.create_cube`; every method may be called from any thread."""

    def __init__(self, name: str, fact: Table, database: Database, mode: str, report_failure: ReportFailure) -> None:
        if mode not in ("auto", "manual"):
            raise InvalidModelError(f"mode {mode!r}: use 'auto' or 'manual'.")
        if fact.store not in database.joins:
            raise InvalidModelError(f"table {fact.name!r} belongs to another session. Give one of this session.")
        self.name, self.fact, self.database = name, fact, database
        self.root = fact.store
        self.resolve: Resolve = resolver(database, self.root)
        self.report_failure = report_failure
        self.measures = Measures(self)
        self._hierarchies = Hierarchies(self)
        self._levels: dict[Reference, Level] = {}
        self._auto = mode == "auto"
        self._joins_seen = -1
        self._discovered: set[tuple[object, ...]] = set()
        self._lock = threading.RLock()
        self._held: dict[AggregateProvider, int] = {}
        self._live: set[LiveQuery] = set()
        self.measures["contributors.COUNT"] = CountRows()
        if self._auto:
            self._define_measures()

    def __repr__(self) -> str:
        return f"Cube({self.name!r}, fact={self.fact.name!r})"

    # -- model ------------------------------------------------------------------------------------------------------

    @property
    def hierarchies(self) -> Hierarchies:
        """Hierarchies by name; in mode auto also those of tables that were joined since the last look."""
        if self._auto and self._joins_seen != self.database.join_count:
            self._discover()
        return self._hierarchies

    @property
    def levels(self) -> Levels:
        """Levels of all hierarchies, by name or by (table, column)."""
        return Levels(self.hierarchies)

    def level(self, given: Level | Field) -> Level:
        """Return the level of a column, the same object whenever it is asked for.

        Raises
        ------
        InvalidModelError
            If it is neither a level nor a column, or a column of vectors.
        UnknownColumnError, AmbiguousNameError
            If the column is not found, or not clear.
        """
        if isinstance(given, Level):
            return given
        if not isinstance(given, Field):
            raise InvalidModelError(f"{given!r} is neither a level nor a column. Use cube.levels[...] or table[...].")
        return self._level(self.resolve(given))

    def _level(self, reference: Reference) -> Level:
        if reference.column.type.width is not None:
            raise InvalidModelError(f"column {reference.path!r} holds vectors, which cannot be a level.")
        level = self._levels.get(reference)
        if level is None:
            table = reference.joins[-1].name if reference.joins else self.root.name
            level = self._levels[reference] = Level(reference, table)
        return level

    def _discover(self) -> None:
        """Make a single-level hierarchy of every column, not yet seen, that is not numeric or is part of a key."""
        with self._lock:
            join_count = self.database.join_count
            for path in list(join_paths(self.database, self.root)):
                if path in self._discovered:
                    continue
                self._discovered.add(path)
                store = path[-1].target if path else self.root
                for column in store.columns.values():
                    if column.type.width is None and (not column.type.numeric or column.name in store.schema.keys):
                        level = self._level(Reference(path, column))
                        names = (level.name, f"{level.table}.{level.name}", level.reference.path)
                        name = next((name for name in names if name not in self._hierarchies), None)
                        if not level.hierarchy and name is not None:
                            self._hierarchies[name] = [level]
            self._joins_seen = join_count  # only now: other threads must not take a part for the whole

    def _define_measures(self) -> None:
        for name, data_type in self.fact.types.items():
            if data_type.numeric and name not in self.fact.keys:
                self.measures[f"{name}.SUM"] = agg.sum(self.fact[name])
                self.measures[f"{name}.MEAN"] = agg.mean(self.fact[name])

    # -- queries ----------------------------------------------------------------------------------------------------

    def query(
        self,
        *measures: Any,
        levels: Sequence[Any] = (),
        filter: Condition | None = None,
        totals: bool = False,
        branch: str = MASTER,
        epoch: int | None = None,
        mode: str = "pandas",
        explain: bool = False,
    ) -> Any:
        """Return measures by levels, at one epoch of all tables.

        Parameters
        ----------
        *measures : names or measures of this cube
        levels : names or levels; the cells come in their order, N/A last
        filter : condition on levels
        totals : also the cells of each shorter list of levels; see `answer.DEPTH` and `frame.frame_of`
        branch, epoch : which version; by default the head of master
        mode : "pandas" for a DataFrame indexed by the levels, "arrow" for a pyarrow Table, "cudf" for a cuDF frame,
            "arrays" for a `DeviceColumn` per column, which other libraries read by DLPack
        explain : return an `Explanation` instead of the cells

        Raises
        ------
        UnknownMeasureError, UnknownLevelError, AmbiguousNameError, TypeMismatchError, InvalidQueryError
            If the query does not fit the cube; InvalidQueryError lists the problems if there are several.
        UnknownBranchError, EpochNotRetainedError
            If the version cannot be read.
        NeedsGpuError, MemoryShortageError
            If the mode is "cudf" and there is no GPU; if there is no room for the answer.
        """
        check_mode(mode, self.database.backend.name)
        compiled = compile_query(self, measures, levels, filter, totals)
        version = self.database.version(branch, epoch)
        with named_shortage(self.database.backend, f"the query of cube {self.name!r}"):
            parts, explanation = answer_cells(self, compiled, version)
            if explain:
                return explanation
            return rendered(answer_of(compiled, parts).sorted(), mode, version.epoch, branch)

    def query_explained(
        self,
        *measures: Any,
        levels: Sequence[Any] = (),
        filter: Condition | None = None,
        totals: bool = False,
        branch: str = MASTER,
        epoch: int | None = None,
    ) -> tuple[pa.Table, Explanation]:
        """Return the cells as a pyarrow Table, and how they were found; arguments and errors as `query`."""
        compiled = compile_query(self, measures, levels, filter, totals)
        version = self.database.version(branch, epoch)
        parts, explanation = answer_cells(self, compiled, version)
        return answer_of(compiled, parts).sorted().to_arrow(version.epoch, branch), explanation

    def compile(
        self, measures: Sequence[Any], levels: Sequence[Any], filter: Condition | None, *, totals: bool, mode: str
    ) -> CompiledCubeQuery:
        """Return a query to be run at any version, for `session.database.prepare.cube`; errors as `query`."""
        check_mode(mode, self.database.backend.name)
        return CompiledCubeQuery(self, compile_query(self, measures, levels, filter, totals, open=True), mode)

    def live(
        self,
        *measures: Any,
        levels: Sequence[Any] = (),
        filter: Condition | None = None,
        branch: str = MASTER,
        totals: bool = False,
        on_change: Callable[[CellChange], None] | None = None,
    ) -> LiveQuery:
        """Return a query that is kept up to date.

        Parameters
        ----------
        on_change : callable
            Gets a snapshot, then every change in epoch order, on a thread of its own: commits do not wait for it. What
            it raises ends this live query only, and shows in the session's health.

        Raises
        ------
        As `query`; InvalidQueryError also if `on_change` cannot be called.
        """
        if on_change is not None and not callable(on_change):
            raise InvalidQueryError([f"on_change={on_change!r}: give a function that takes a change."])
        compiled = compile_query(self, measures, levels, filter, totals)
        self.database.branch(branch)
        named = [self.measures[measure] if isinstance(measure, str) else measure for measure in measures]
        live = LiveQuery(self, compiled, named, branch, on_change)
        with self._lock:
            self._live.add(live)
        live.follow_measures()
        return live

    def follow_measures(self) -> None:
        """Let live queries go over to measures that have been redefined."""
        for live in tuple(self._live):
            live.follow_measures()

    def diff(
        self,
        *measures: Any,
        since: tuple[str, int],
        until: tuple[str, int],
        levels: Sequence[Any] = (),
        filter: Condition | None = None,
        totals: bool = False,
    ) -> CellChange | None:
        """Return which cells differ between two versions, each a branch and an epoch; None if none does.

        Raises
        ------
        As `query`.
        """
        compiled = compile_query(self, measures, levels, filter, totals)
        old, new = (self.database.version(*version_named(*one)) for one in ((since, "since"), (until, "until")))
        pairs = zip(answer_cells(self, compiled, old)[0], answer_cells(self, compiled, new)[0], strict=True)
        before, after = zip(*(paired_cells(*pair) for pair in pairs), strict=True)
        return difference(compiled, before, after, (old.epoch, new.epoch), new.branch)

    def create_provider(
        self,
        levels: Sequence[Any] = (),
        measures: Sequence[Any] = (),
        filter: Condition | None = None,
        branch: str = MASTER,
    ) -> AggregateProvider:
        """Keep the aggregates of some measures by some levels up to date; queries that it covers then read it.

        Raises
        ------
        As `query`.
        """
        compiled = compile_query(self, measures, levels, filter, totals=False)
        references = [level.reference for level in compiled.levels]
        return self.acquire(references, compiled.primitives, compiled.condition, branch)

    # -- providers --------------------------------------------------------------------------------------------------

    @property
    def providers(self) -> tuple[AggregateProvider, ...]:
        """All providers: those created, those of live queries, those that count the members of hierarchies."""
        held = tuple(self._held)
        if any(provider.ended for provider in held):
            with self._lock:
                self._held = {provider: count for provider, count in self._held.items() if not provider.ended}
                held = tuple(self._held)
        return held

    def acquire(
        self,
        levels: Sequence[Reference],
        primitives: frozenset[Primitive],
        condition: Condition | None,
        branch: str = MASTER,
        live_queries: int = 0,
    ) -> AggregateProvider:
        """Return a provider with just these levels and rows and at least these aggregates; give it back later.

        Parameters
        ----------
        live_queries : 1 if it is for a live query, which then keeps the branch from being deleted
        """
        identity = None if condition is None else condition.identity()
        with self._lock:
            for provider in self.providers:
                own = None if provider.condition is None else provider.condition.identity()
                same = provider.branch == branch and set(provider.levels) == set(levels) and own == identity
                if same and primitives <= provider.primitives:
                    self._held = {**self._held, provider: self._held[provider] + 1}
                    provider.live_queries += live_queries
                    return provider
            provider = AggregateProvider(self.database, self.root, levels, primitives, condition, branch)
            provider.live_queries = live_queries
            provider.attach()
            self._held = {**self._held, provider: 1}
            return provider

    @property
    def live_queries(self) -> tuple[LiveQuery, ...]:
        """Live queries that have not been closed."""
        return tuple(self._live)

    def forget(self, live: LiveQuery) -> None:
        """Take notice that a live query has closed."""
        with self._lock:
            self._live.discard(live)

    def release(self, providers: Sequence[AggregateProvider]) -> None:
        """Give back providers that a live query has acquired."""
        with self._lock:
            for provider in providers:
                provider.live_queries -= 1
                held = dict(self._held)
                held[provider] -= 1
                if not held[provider]:
                    del held[provider]
                    provider.detach()
                self._held = held

    def close(self) -> None:
        """Close all live queries."""
        for live in tuple(self._live):
            live.close()

    # -- members ----------------------------------------------------------------------------------------------------

    def member_provider(self, levels: Sequence[Level], branch: str = MASTER) -> AggregateProvider:
        """Return the provider that counts the facts of each path of members, from now on kept by deltas."""
        references = [level.reference for level in levels]
        with self._lock:
            for provider in self.providers:
                counts_all = provider.condition is None and provider.branch == branch
                if counts_all and provider.levels == tuple(references):
                    return provider
            return self.acquire(references, frozenset([ROWS]), None, branch)

    def members(
        self, levels: Sequence[Level], branch: str = MASTER, epoch: int | None = None
    ) -> dict[tuple[Any, ...], int]:
        """Return the paths of members that facts have at a version, in order, with the number of facts of each."""
        measure = ("contributors.COUNT", CountRows())
        query = Query((measure,), tuple(levels), None, (), totals=False)
        version = self.database.version(branch, epoch)
        if epoch is None:
            self.member_provider(levels, branch)
        answer = answer_of(query, answer_cells(self, query, version)[0]).sorted()
        columns = [
            decode(answer.backend, level.reference.column.dictionary, codes).to_pylist()
            for level, codes in zip(levels, answer.codes, strict=True)
        ]
        counts = answer.backend.to_host(answer.values[0].data).tolist()
        return dict(zip(zip(*columns, strict=True), counts, strict=True))

    def first_member(self, level: Level, version: Version) -> int:
        """Return the code of the first member, in the level's order, that facts have at a version; -2 if none has.

        Raises
        ------
        EpochNotRetainedError
            If no provider remembers the version and its rows are no longer kept.
        """
        line = self.database.branches.get(version.branch)
        cells = None
        if line is not None and line.number == version.number:
            provider = self.member_provider([level], version.branch)
            cells = provider.read(version.epoch) if provider.covers(version) else None
        if cells is None:
            query = Query((), (level,), None, (), totals=False)
            cells = answer_cells(self, query, self.database.retention.hold(version))[0][0]
        if not len(cells):
            return -2
        codes: Array = cells.codes[level.reference]
        return int(self.database.backend.scalar(codes[level.ranks()[codes + 1].argmin()]))

    def slicing_providers(self, query: Query, branch: str = MASTER) -> list[AggregateProvider]:
        """Return the providers that tell the first members which a query depends on."""
        return [self.member_provider([slicer], branch) for slicer in query.slicers]
