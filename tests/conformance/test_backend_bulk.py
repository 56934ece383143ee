"""Texts, files, frames, growing columns and tasks side by side: every backend gives what plain Python gives."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_engine.backend import array_backend, cuda_arrow
from gpu_engine.backend.array_backend import ArrayBackend, DeviceColumn
from gpu_engine.errors import NeedsGpuError
from gpu_engine.storage.growable import GrowableArray
from tests.backends import BACKENDS
from tests.conformance.test_backends import COLUMNS, UTC_MICROSECONDS, scattered
from tests.cuda_on_cpu import CudaOnCpu

TEXTS = ["Paris", "", "Zürich", "Paris ", "a" * 300]
"""Texts, the empty one and one that differs by a blank among them."""


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> ArrayBackend:
    return BACKENDS[request.param]()


def listed(backend: ArrayBackend, array: Any) -> list[Any]:
    return backend.to_host(array).tolist()


# --- text -------------------------------------------------------------------------------------------------------------

TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("count", [0, 1, 5, 1000, 70_000])
@pytest.mark.parametrize("type", TEXT_TYPES, ids=str)
@pytest.mark.parametrize("nulls", [False, True])
def test_texts_are_encoded(backend: ArrayBackend, count: int, type: pa.DataType, nulls: bool) -> None:
    texts = [None if nulls and i % 7 == 3 else TEXTS[i % 5] for i in scattered(count, 1000)]
    distinct, places = backend.encode_strings(pa.array(texts, type).slice(count // 3))
    known = [*distinct.to_pylist(), None]
    assert [known[place] for place in listed(backend, places)] == texts[count // 3 :]
    assert len(set(known[:-1])) == len(known) - 1
    assert places.dtype == backend.xp.int32


# --- files ------------------------------------------------------------------------------------------------------------


def unheard(rows: int, nbytes: int) -> None:
    """Hear nothing."""


def test_small_files_are_left_to_the_loaders(backend: ArrayBackend, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("x,y\n1,2\n")
    types = {"x": pa.int64(), "y": pa.int64()}
    assert backend.read_file(str(tmp_path / "x.parquet"), "parquet", types, unheard) is None
    if not isinstance(backend, CudaOnCpu):  # that one takes CSV of any size, so that the engine's tests try it
        assert backend.read_file(str(tmp_path / "x.csv"), "csv", types, unheard) is None


def test_large_parquet_files_are_decoded_by_the_gpu_alone(
    backend: ArrayBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_arrow, "PARQUET_ROWS", 1)
    monkeypatch.setattr(cuda_arrow, "PARQUET_ROWS_AT_ONCE", 100)
    types = {str(type): type for type, _, _ in COLUMNS if type in cuda_arrow.DECODED}
    objects = {str(type): values for type, values, _ in COLUMNS}
    columns = {name: pa.array([None, *objects[name]] * 100, type)[:300] for name, type in types.items()}
    rows = pa.table({**columns, "text": pa.array([None, *TEXTS] * 50)})
    file = tmp_path / "x.parquet"
    pq.write_table(rows, file, row_group_size=70)
    heard: list[int] = []
    wanted = {**types, "text": pa.string()}
    read = backend.read_file(str(file), "parquet", wanted, lambda count, nbytes: heard.append(count))
    if backend.name != "gpu":
        assert read is None and heard == []
        return
    assert read is not None
    assert read.cast(rows.schema).equals(rows)
    assert heard == [140, 280, 300]


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "objects"), [(type, objects) for type, objects, _ in COLUMNS if type != UTC_MICROSECONDS], ids=str
)
@pytest.mark.parametrize("nulls", [False, True])
def test_frames_hold_what_the_columns_hold(
    backend: ArrayBackend, type: pa.DataType, objects: list[Any], nulls: bool
) -> None:
    column = pa.array([None, *objects] if nulls else objects, type)
    lying = {"values": DeviceColumn(*backend.from_arrow(column), type)}
    if backend.name != "gpu":
        with pytest.raises(NeedsGpuError):
            backend.to_frame(lying)
        return
    held = backend.to_frame(lying)["values"].to_arrow()
    assert held.cast(type).to_pylist() == column.to_pylist()  # dates are widened in frames


# --- growing columns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool"])
@pytest.mark.parametrize("width", [None, 3])
def test_columns_grow_at_the_boundary_and_views_stay(backend: ArrayBackend, dtype: str, width: int | None) -> None:
    column = GrowableArray(backend, dtype, width=width)
    capacity = len(column.buffer)
    expected: list[Any] = []
    views = []
    for count in (0, capacity - 1, 1, 1, 2 * capacity - 1, 0, 1, 5 * capacity):
        numbers = np.arange(len(expected), len(expected) + count)
        added = (np.stack([numbers] * width, axis=1) if width else numbers).astype(dtype)
        column.write(column.length, backend.from_host(added))
        expected += added.tolist()
        views.append((column.array, len(expected)))
        assert column.length == len(column) == len(expected) <= len(column.buffer)
    for view, length in views:
        assert listed(backend, view) == expected[:length]


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_tasks_give_their_results_in_order_and_all_end(backend: ArrayBackend) -> None:
    ended: list[int] = []

    def task(number: int, fails: bool = False) -> Callable[[], int]:
        def run() -> int:
            ended.append(number)
            if fails:
                raise LookupError(f"task {number}")
            return number

        return run

    assert backend.workers >= 1
    assert backend.in_parallel([task(1)]) == [1]
    assert backend.in_parallel([task(number) for number in range(5)]) == list(range(5))
    ended.clear()
    with pytest.raises(LookupError, match="task 1"):
        backend.in_parallel([task(0), task(1, fails=True), task(2)])
    assert {0, 1} <= set(ended)


def test_float_errors_are_quiet(backend: ArrayBackend) -> None:
    ones, zeros = backend.from_host([1.0, 0.0]), backend.from_host([0.0, 0.0])
    with backend.ignore_float_errors():
        quotients = listed(backend, ones / zeros)
    assert quotients[0] == float("inf") and quotients[1] != quotients[1]
    assert backend.chunk_rows >= 1


# --- the suite --------------------------------------------------------------------------------------------------------


def test_every_verb_is_tried() -> None:
    folder = Path(__file__).parent
    suite = "".join(path.read_text(encoding="utf-8") for path in folder.glob("test_backend*.py"))
    (protocol,) = [
        node
        for node in ast.parse(inspect.getsource(array_backend)).body
        if isinstance(node, ast.ClassDef) and node.name == "ArrayBackend"
    ]
    verbs = {node.name for node in protocol.body if isinstance(node, ast.FunctionDef)}
    assert {verb for verb in verbs if not re.search(rf"\bbackend\.{verb}\b", suite)} == set()
