"""What one backend takes: for its verbs on large arrays, and for the engine on top of it.

All numbers are multiples of 1/64 and small enough that float64 sums of them are exact in any order, so every answer is
checked for equality before its time counts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

import gpu_engine as ge
from benchmarks.gpu.config import Config
from benchmarks.timing import Timing, peak_memory
from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.choice import choose_backend

__all__ = ["NOTES", "Figure", "measure"]

MEASURES = 6
DIMENSIONS = 10
MEMBERS = 12
NOTES = (
    "the limit counts what must be read from the memory and written to it at least, at the speed of the copy; a load "
    "comes over the bus, which is slower",
    "VaR of vector sums is measured on the backend's verbs: cubes have no sums of vectors in this version",
)
VAR_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    name: str
    timing: Timing
    """Milliseconds; of whole calls, the device waited for."""
    moved: int
    """Bytes that have to be read and written at least."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one backend gave."""

    backend: str
    reason: str
    bandwidth: float
    """Bytes per second of a copy: those read and those written."""
    figures: list[Figure]
    peak: int
    """Most bytes held: of the device on a GPU, of the process on the CPU."""


def measure(requested: str, config: Config) -> Run:
    """Return the figures of one backend.

    Raises
    ------
    AssertionError
        If an answer is wrong.
    """
    backend, report = choose_backend(requested)
    figures = [_grouping(backend, config), _value_at_risk(backend, config), *_engine(report.name, config)]
    return Run(report.name, report.reason, _bandwidth(backend, config), figures, _peak(report.name))


def _timed(backend: ArrayBackend, action: Callable[[], object], runs: int) -> Timing:
    seconds = []
    for run in range(runs + 1):
        begin = time.perf_counter()
        action()
        backend.synchronize()
        if run:
            seconds.append(time.perf_counter() - begin)
    return Timing.of(seconds)


def _bandwidth(backend: ArrayBackend, config: Config) -> float:
    source = backend.xp.zeros(config.copied_bytes // 8)
    target = backend.xp.ones(len(source))

    def copy() -> None:
        target[:] = source

    return 2e3 * source.nbytes / _timed(backend, copy, config.runs).best


def _grouping(backend: ArrayBackend, config: Config) -> Figure:
    rows, groups, xp = config.grouped_rows, config.groups, backend.xp
    group_of = xp.arange(rows) * 7919 % groups
    values = xp.empty((rows, MEASURES))
    for column in range(MEASURES):
        values[:, column] = (xp.arange(rows) // groups + column) % 64 / 64
    sums = backend.to_host(backend.group_sum(values, group_of, groups))
    expected = np.zeros((groups, MEASURES))
    # Rows q * groups + r, for all r, have the values of q and each another group: a group has each q once.
    whole, rest = divmod(rows, groups)
    for column in range(MEASURES):
        expected[:, column] = ((np.arange(whole) + column) % 64 / 64).sum()
        expected[np.arange(rest) * 7919 % groups, column] += (whole + column) % 64 / 64
    assert np.array_equal(sums, expected), "group_sum is wrong"
    timing = _timed(backend, lambda: backend.group_sum(values, group_of, groups), config.runs)
    moved = group_of.nbytes + values.nbytes
    return Figure(f"group {rows:,} rows x {MEASURES} measures into {groups:,} groups", timing, moved)


def _value_at_risk(backend: ArrayBackend, config: Config) -> Figure:
    """Measure the vectors of many positions summed up by book, and the loss of each book that few scenarios exceed."""
    rows, width, books, xp = config.vectors, config.scenarios, config.books, backend.xp
    book = xp.arange(rows) % books
    vectors = (xp.arange(rows)[:, None] // books * 31 + xp.arange(width) * 17 + book[:, None]) % 128 / 64 - 1
    place = int(VAR_TAIL * width)

    def at_risk() -> object:
        return -xp.sort(backend.group_sum(vectors, book, books), axis=1)[:, place]

    positions = np.arange(-(-rows // books))[:, None] * 31 + np.arange(width) * 17
    for number, found in enumerate(backend.to_host(at_risk())):
        held = positions[: len(range(number, rows, books))] + number
        assert found == -np.sort((held % 128 / 64 - 1).sum(axis=0))[place], "the value at risk is wrong"
    label = f"VaR of vector sums: {rows:,} positions x {width} scenarios into {books} books"
    return Figure(label, _timed(backend, at_risk, config.runs), book.nbytes + vectors.nbytes)


def _engine(name: str, config: Config) -> Iterator[Figure]:
    yield _bulk_load(name, config)
    yield from _file_loads(name, config)
    yield from _transactions(name, config)
    yield from _query(name, config)


def _rows(first: int, count: int, turn: int = 0) -> pa.Table:
    number = np.arange(first, first + count)
    columns = {"id": number, **{f"m{k}": (number + k + turn) % 64 / 64 for k in range(MEASURES)}}
    for k in range(DIMENSIONS):
        columns[f"d{k}"] = number // (k + 1) % MEMBERS
    return pa.table(columns)


@contextmanager
def _session(name: str) -> Iterator[ge.Session]:
    with ge.Session(backend=name, retention=ge.RetentionPolicy()) as session:
        yield session


def _types(dimensions: int = DIMENSIONS) -> dict[str, ge.DataType]:
    measures = {f"m{k}": ge.DOUBLE for k in range(MEASURES)}
    return {"id": ge.LONG, **measures, **{f"d{k}": ge.LONG for k in range(dimensions)}}


def _bulk_load(name: str, config: Config) -> Figure:
    rows = _wide_rows(config.loaded_rows)
    label = f"load {config.loaded_rows:,} rows from Arrow: key, {MEASURES} numbers, a level, a text"
    return Figure(label, _loading(name, rows, lambda table: table.load_arrow(rows)), rows.nbytes)


def _file_loads(name: str, config: Config) -> Iterator[Figure]:
    rows = _wide_rows(config.file_rows)
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder) / "rows.csv", Path(folder) / "rows.parquet"
        pacsv.write_csv(rows, text)
        pq.write_table(rows, binary)
        for path, load in ((text, ge.Table.load_csv), (binary, ge.Table.load_parquet)):
            timing = _loading(name, rows, lambda table, path=path, load=load: load(table, path))
            moved = path.stat().st_size + rows.nbytes
            yield Figure(f"load {config.file_rows:,} such rows from {path.suffix[1:]}", timing, moved)


def _wide_rows(count: int) -> pa.Table:
    rows = _rows(0, count).drop([f"d{k}" for k in range(1, DIMENSIONS)])
    books = pa.array([f"book {k}" for k in range(MEMBERS)])
    places = pa.array((np.arange(count) % MEMBERS).astype(np.int32))
    return rows.append_column("book", pa.DictionaryArray.from_arrays(places, books).cast(pa.string()))


def _loading(name: str, rows: pa.Table, load: Callable[[ge.Table], object]) -> Timing:
    """Time the load of a new table, the second time that there is one, and compare its last row."""
    seconds = []
    for _ in range(2):
        with _session(name) as session:
            table = session.create_table("t", {**_types(1), "book": ge.STRING}, keys=["id"])
            begin = time.perf_counter()
            load(table)
            seconds.append(time.perf_counter() - begin)
            assert len(table) == len(rows)
            (last,) = rows.slice(len(rows) - 1).to_pylist()
            assert session.database.version().get("t", last["id"]) == last, "a loaded row is wrong"
    return Timing.of(seconds[1:])


def _transactions(name: str, config: Config) -> Iterator[Figure]:
    with _session(name) as session:
        table = session.create_table("t", _types(), keys=["id"])
        table.load_arrow(_rows(0, config.table_rows))
        cube = session.create_cube(table, mode="manual")
        for k in range(MEASURES):
            cube.measures[f"s{k}"] = ge.agg.sum(table[f"m{k}"])
        asked = ["contributors.COUNT", *(f"s{k}" for k in range(MEASURES))]
        levels = [f"d{k}" for k in range(DIMENSIONS)]
        for name_of_level in levels:
            cube.hierarchies[name_of_level] = [table[name_of_level]]
        for k in range(config.providers):
            cube.create_provider(levels=[levels[k % DIMENSIONS], levels[(k + 1) % DIMENSIONS]], measures=asked)
        turns = iter(range(1, 1_000))
        for size in config.transactions:
            seconds = []
            for _ in range(config.runs + 1):
                rows = _rows(config.table_rows - size // 2, size, next(turns))
                begin = time.perf_counter()
                table.load_arrow(rows)
                seconds.append(time.perf_counter() - begin)
            _check(table, cube.query(*asked, levels=levels[:2], mode="arrow"))
            # The new rows, those that they replace, and the touched cells before and after.
            moved = 2 * rows.nbytes + 2 * config.providers * min(2 * size, MEMBERS**2) * len(asked) * 8
            yield Figure(f"{size:,}-row upsert into {config.providers} providers", Timing.of(seconds[1:]), moved)


def _check(table: ge.Table, answer: pa.Table) -> None:
    """Compare an answer by the first two dimensions with the table's own rows."""
    aggregates = [("id", "count"), *((f"m{k}", "sum") for k in range(MEASURES))]
    expected = table.to_arrow().group_by(["d0", "d1"]).aggregate(aggregates).to_pylist()
    cells = {tuple(row.values())[:2]: tuple(row.values())[2:] for row in expected}
    given = {tuple(row.values())[:2]: tuple(row.values())[2:] for row in answer.to_pylist()}
    assert given == cells, "a provider's cells are not what its rows give"


def _query(name: str, config: Config) -> Iterator[Figure]:
    with _session(name) as session:
        table = session.create_table("t", {"cell": ge.LONG, "x": ge.DOUBLE})
        number = np.arange(2 * config.cells)
        table.load_arrow(pa.table({"cell": number % config.cells, "x": number % 64 / 64}))
        cube = session.create_cube(table, mode="manual")
        cube.measures["x"] = ge.agg.sum(table["x"])
        cube.hierarchies["cell"] = [table["cell"]]
        cube.create_provider(levels=["cell"], measures=["x"])
        answer = cube.query("x", levels=["cell"], mode="arrow")
        assert answer["x"].to_numpy().sum() == (number % 64 / 64).sum()
        assert answer.num_rows == config.cells
        backend = session.tables["t"].store.backend
        for mode in ("arrow", "arrays", "cudf") if name == "gpu" else ("arrow", "arrays"):
            timing = _timed(backend, lambda mode=mode: cube.query("x", levels=["cell"], mode=mode), config.runs)
            moved = config.cells * (2 * 8 + 4 + 8)  # both numbers of a cell; its code and its value in the answer
            yield Figure(f"query a provider of {config.cells:,} cells, mode={mode!r}", timing, moved)


def _peak(name: str) -> int:
    if name == "cpu":
        return peak_memory()
    from gpu_engine.backend.cuda_memory import device_memory

    return device_memory().peak
