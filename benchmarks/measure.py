"""One run: what the engine takes for the common workload over so many trades, and what it answered.

A run has a process of its own, so that its peak memory is its own. Answers go back with the times and are checked by
whoever asked for the run.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gpu_engine as ge
from benchmarks import workload
from benchmarks.config import Config
from benchmarks.engine import ASKED, Engine, Mirror
from benchmarks.push.listener import Listener
from benchmarks.timing import Timing, peak_memory, timed, touch_memory
from benchmarks.workload import LIVE, QUERIES, Cells, Question, Upserts

__all__ = ["Answered", "Figure", "Run", "measure"]

LOAD = "load, keyed and joined, from Arrow"
LOADED = "peak memory after loading, source data included"
OPEN = "open the live query, until its snapshot is there"
UNCOVERED = "{} not covered, to pandas"
PUSHED = "{} until the changed cells are in a websocket client"
FRESH = "{} until the live query is fresh"
STREAM = "{:,}-row upserts with the live query kept fresh"
PEAK = "peak memory of the whole run, source data included"

TIMEOUT = 60.0
"""Seconds after which a live query that has not heard of a commit counts as broken."""

Commit = Callable[[Any], ge.CommitReport | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report: a time, or a number with a unit."""

    name: str
    timing: Timing | None = None
    value: float | None = None
    unit: str = "ms"


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and which upserts it has to know of."""

    question: Question
    cells: Cells
    after: int
    """Number of entries of `Run.taken` that were made before it."""
    source: str
    """Who gave it."""


@dataclass(slots=True)
class Run:
    """What came of one run."""

    rows: int
    engine: str
    """Who was measured: this engine with its backend, or a peer with its version."""
    figures: list[Figure] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    """Upserts that were made, in order: rows of each, and how many."""
    answers: list[Answered] = field(default_factory=list)
    """Answers in the order in which they were given."""

    def time(self, name: str, timing: Timing) -> None:
        """Note a time."""
        self.figures.append(Figure(name, timing))

    def answer(self, question: Question, cells: Cells, source: str) -> None:
        """Note an answer to the tables as they are now."""
        self.answers.append(Answered(question, cells, len(self.taken), source))

    def number(self, name: str, value: float, unit: str) -> None:
        """Note a number."""
        self.figures.append(Figure(name, None, value, unit))


def measure(rows: int, config: Config, seed: int, backend: str) -> Run:
    """Return the figures and the answers of one run."""
    trades, instruments = workload.trades(rows, seed), workload.instruments(seed)
    run = Run(rows, "gpu_engine")
    run.number("source data in Arrow", (trades.nbytes + instruments.nbytes) / 2**20, "MiB")
    engine = _load(run, config, lambda: Engine(backend, trades, instruments))
    run.engine = f"gpu_engine, {engine.session.backend.name}"
    upserts = _Upserts(run, config, Upserts(rows, seed))
    try:
        _scans(run, engine, config)
        _opening(run, engine, config)
        _pushed(run, engine, config, upserts)
        _pulled(run, engine, config, upserts)
        _received(run, engine, config, upserts)
        _covered(run, engine, config)
        run.number(PEAK, peak_memory() / 2**20, "MiB")
    finally:
        engine.close()
    return run


class _Upserts:
    """Batches for one series after the other, made ahead of the timing and noted in the run."""

    def __init__(self, run: Run, config: Config, upserts: Upserts) -> None:
        self._run, self._config, self._upserts = run, config, upserts

    def take(self, size: int, count: int) -> list[Any]:
        """Return so many batches, those of the warm-up first."""
        total = self._config.warm_up + count
        self._run.taken.append((size, total))
        batches = list(self._upserts.take(size, total))
        touch_memory(self._config.touched * self._run.rows)
        return batches


def _load(run: Run, config: Config, load: Callable[[], Engine]) -> Engine:
    engine, seconds = None, []
    for _ in range(config.loads):
        if engine is not None:
            engine.close()
        engine = None
        gc.collect()
        touch_memory(config.touched * run.rows)
        begin = time.perf_counter()
        engine = load()
        seconds.append(time.perf_counter() - begin)
        if len(seconds) == 1:
            run.number(LOADED, peak_memory() / 2**20, "MiB")
    assert engine is not None
    run.time(LOAD, Timing.of(seconds))
    return engine


def _scans(run: Run, engine: Engine, config: Config) -> None:
    for question in QUERIES:
        _require(engine.source(question) == "scan", f"{question.name} was to be computed from the rows")
        run.answer(question, engine.cells(question), "scan")
        run.time(UNCOVERED.format(question.name), timed(partial(engine.ask, question), config.scans))


def _opening(run: Run, engine: Engine, config: Config) -> None:
    def open_and_close() -> float:
        begin = time.perf_counter()
        live = engine.open_live(lambda change: None)
        _require(live.wait_for(engine.session.epoch, TIMEOUT), "the live query gave no snapshot")
        seconds = time.perf_counter() - begin
        live.close()
        return seconds

    run.time(OPEN, Timing.of(open_and_close() for _ in range(config.opens)))


def _pushed(run: Run, engine: Engine, config: Config, upserts: _Upserts) -> None:
    """Time upserts until `on_change` has been called for them, on its own thread."""
    mirror = Mirror()
    live = engine.open_live(mirror.receive)
    _require(live.wait_for(engine.session.epoch, TIMEOUT), "the live query gave no snapshot")
    mirror.fold()
    run.answer(LIVE, dict(mirror.cells), "snapshot to on_change")
    run.time("read the live query's cells by a query, to pandas", timed(partial(engine.ask, LIVE), config.reads))
    for size, count in config.commits.items():
        batches = upserts.take(size, count)
        _push_series(run, f"{size:,}-row upsert", live, mirror, engine.trades.load_arrow, batches, config)
    for size, count in config.commits.items():
        if size <= 100:
            batches = [workload.python_rows(batch) for batch in upserts.take(size, count)]
            append = f"{size:,}-row upsert of Python tuples"
            _push_series(run, append, live, mirror, lambda rows: engine.trades.append(*rows), batches, config)
    _stream(run, live, engine, config, upserts)
    mirror.fold()
    run.answer(LIVE, dict(mirror.cells), "changes told to on_change")
    live.close()


def _push_series(
    run: Run, name: str, live: ge.LiveQuery, mirror: Mirror, commit: Commit, batches: list[Any], config: Config
) -> None:
    committing, fresh = [], []
    for batch in batches:
        begin = time.perf_counter()
        report = commit(batch)
        committed = time.perf_counter()
        assert report is not None
        arrived = live.wait_for(report.epoch, TIMEOUT)
        fresh.append(time.perf_counter() - begin)
        committing.append(committed - begin)
        _require(arrived, f"the live query did not hear of epoch {report.epoch}")
    mirror.fold()  # not between commits: what is measured is not this client
    run.time(FRESH.format(name), Timing.of(fresh[config.warm_up :]))
    run.time(f"{name}, the commit alone", Timing.of(committing[config.warm_up :]))


def _stream(run: Run, live: ge.LiveQuery, engine: Engine, config: Config, upserts: _Upserts) -> None:
    """Commit as fast as it goes, and wait for the live query once, at the end."""
    size, count = config.stream
    batches = upserts.take(size, count)
    for batch in batches[: config.warm_up]:
        engine.trades.load_arrow(batch)
    _require(live.wait_for(engine.session.epoch, TIMEOUT), "the live query is behind")
    begin = time.perf_counter()
    for batch in batches[config.warm_up :]:
        engine.trades.load_arrow(batch)
    arrived = live.wait_for(engine.session.epoch, TIMEOUT)
    seconds = time.perf_counter() - begin
    _require(arrived, "the live query is behind")
    run.number(STREAM.format(size), size * count / seconds, "rows/s")


def _pulled(run: Run, engine: Engine, config: Config, upserts: _Upserts) -> None:
    """Time upserts until a caller who asks what has changed has the answer, which it then lets go of."""
    mirror, live = Mirror(), engine.open_live()
    epoch = told = _pull(live, mirror, None)
    for size, count in config.commits.items():
        seconds = []
        for batch in upserts.take(size, count):
            begin = time.perf_counter()
            engine.trades.load_arrow(batch)
            changes, epoch = live.changes_since(epoch)
            seconds.append(time.perf_counter() - begin)
            _require(len(changes) == 1, f"the live query told of {len(changes)} changes")
        told = _pull(live, mirror, told)
        name = f"{size:,}-row upsert until changes_since has returned"
        run.time(name, Timing.of(seconds[config.warm_up :]))
    run.answer(LIVE, dict(mirror.cells), "changes_since")
    live.close()


def _received(run: Run, engine: Engine, config: Config, upserts: _Upserts) -> None:
    """Time upserts until the changed cells are in a websocket client, in a process of its own."""
    size = 100
    query = {"measures": list(ASKED), "levels": list(LIVE.levels)}
    listener, seconds = Listener(engine.session.serve(), query), []
    try:
        for batch in upserts.take(size, config.commits[size]):
            begin = time.monotonic()
            report = engine.trades.load_arrow(batch)
            assert report is not None
            seconds.append(listener.received(report.epoch) - begin)
    finally:
        listener.close()
    run.time(PUSHED.format(f"{size:,}-row upsert"), Timing.of(seconds[config.warm_up :]))


def _pull(live: ge.LiveQuery, mirror: Mirror, epoch: int | None) -> int:
    changes, reached = live.changes_since(epoch)
    for change in changes:
        mirror.receive(change)
    mirror.fold()
    return reached


def _covered(run: Run, engine: Engine, config: Config) -> None:
    for question in QUERIES:
        engine.cover(question)
    for question in QUERIES:
        _require(engine.source(question) == "provider", f"{question.name} was to be read from a provider")
        run.answer(question, engine.cells(question), "provider")
        run.time(f"{question.name} covered, to pandas", timed(partial(engine.ask, question), config.reads))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)
