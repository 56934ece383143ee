"""One run of the common workload on another engine, with the figures that it has in common with this one's run.

Its lines have the names of `benchmarks.measure`, so that the report shows them side by side. Where this engine tells a
subscriber, the other one is asked: an upsert counts as fresh once its live cells have been read again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata

from benchmarks import workload
from benchmarks.config import Config
from benchmarks.measure import FRESH, LOAD, LOADED, OPEN, PEAK, STREAM, UNCOVERED, Run
from benchmarks.peers import Peer, peer
from benchmarks.peers.peer import cells_of_frame
from benchmarks.timing import Timing, peak_memory, timed, touch_memory
from benchmarks.workload import LIVE, QUERIES, Upserts

__all__ = ["measure_peer"]


def measure_peer(name: str, rows: int, config: Config, seed: int) -> Run:
    """Return the figures and the answers of one run of a peer."""
    kind = peer(name)
    trades, instruments = workload.trades(rows, seed), workload.instruments(seed)
    run = Run(rows, f"{kind.distribution} {metadata.version(kind.distribution)}")
    engine = _load(run, config, lambda: kind(trades, instruments))
    try:
        for question in QUERIES:
            run.answer(question, cells_of_frame(engine.ask(question), len(question.levels)), "scan")
            run.time(UNCOVERED.format(question.name), timed(partial(engine.ask, question), config.scans))
        run.time(OPEN, Timing.of([_opening(engine)]))
        upserts = Upserts(rows, seed)
        for size, count in config.peer_commits.items():
            _series(run, engine, config, upserts, size, count)
        _stream(run, engine, config, upserts)
        run.number(PEAK, peak_memory() / 2**20, "MiB")
    finally:
        engine.close()
    return run


def _load(run: Run, config: Config, load: Callable[[], Peer]) -> Peer:
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


def _opening(engine: Peer) -> float:
    begin = time.perf_counter()
    engine.open_live()
    engine.live()
    return time.perf_counter() - begin


def _series(run: Run, engine: Peer, config: Config, upserts: Upserts, size: int, count: int) -> None:
    run.taken.append((size, config.peer_warm_up + count))
    batches = [engine.prepare(batch) for batch in upserts.take(size, config.peer_warm_up + count)]
    seconds = []
    for batch in batches:
        begin = time.perf_counter()
        engine.upsert(batch)
        engine.live()
        seconds.append(time.perf_counter() - begin)
    run.time(FRESH.format(f"{size:,}-row upsert"), Timing.of(seconds[config.peer_warm_up :]))
    run.answer(LIVE, engine.live_cells(), "live")


def _stream(run: Run, engine: Peer, config: Config, upserts: Upserts) -> None:
    size, count = config.peer_stream
    run.taken.append((size, count))
    batches = [engine.prepare(batch) for batch in upserts.take(size, count)]
    begin = time.perf_counter()
    for batch in batches:
        engine.upsert(batch)
        engine.live()
    seconds = time.perf_counter() - begin
    run.number(STREAM.format(size), size * count / seconds, "rows/s")
    run.answer(LIVE, engine.live_cells(), "live, at the end")
