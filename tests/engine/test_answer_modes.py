"""Answers where they lie: the same cells as in Arrow, as arrays that other libraries read by DLPack."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.backends import without_gpu


@pytest.fixture
def cube(session: ge.Session) -> ge.Cube:
    types = {"shop": ge.STRING, "day": ge.LOCAL_DATE, "price": ge.DECIMAL(9, 2), "quantity": ge.LONG, "id": ge.LONG}
    sales = session.create_table("sales", types, keys=["id"])
    sales.append(
        ("Paris", date(2021, 5, 1), "2.50", 4, 1),
        ("Rome", date(2021, 5, 2), "1.25", 6, 2),
        (None, date(2021, 5, 1), "9.99", None, 3),
        ("Rome", None, "0.01", 7, 4),
    )
    cube = session.create_cube(sales)
    cube.measures["revenue"] = ge.agg.sum(sales["price"])
    return cube


def as_python(cube: ge.Cube, column: ge.DeviceColumn) -> list[object]:
    """Return the values of a column by its own description."""
    to_host = cube.database.backend.to_host
    if column.texts is not None:
        texts = [*column.texts.to_pylist(), None]
        return [texts[code] for code in to_host(column.data).tolist()]
    values = pa.array(to_host(column.data)).cast(column.type).to_pylist()
    if column.valid is None:
        return values
    return [value if valid else None for value, valid in zip(values, to_host(column.valid).tolist(), strict=True)]


@pytest.mark.parametrize("totals", [False, True])
@pytest.mark.parametrize("levels", [[], ["shop"], ["day"], ["shop", "day"]])
def test_arrays_hold_what_arrow_holds(cube: ge.Cube, levels: list[str], totals: bool) -> None:
    asked = ("quantity.SUM", "quantity.MEAN", "contributors.COUNT")
    arrow = cube.query(*asked, levels=levels, totals=totals, mode="arrow")
    arrays = cube.query(*asked, levels=levels, totals=totals, mode="arrays")
    assert list(arrays) == arrow.schema.names
    for field in arrow.schema:
        column = arrays[field.name]
        assert column.type == field.type
        assert len(column) == arrow.num_rows
        assert as_python(cube, column) == arrow[field.name].to_pylist()


def test_decimals_are_multiples_of_their_unit(cube: ge.Cube) -> None:
    revenue = cube.query("revenue", levels=["shop"], mode="arrays")["revenue"]
    assert cube.database.backend.to_host(revenue.data).tolist() == [250, 126, 999]
    assert (revenue.type.scale, str(revenue.data.dtype)) == (2, "int64")


def test_other_libraries_read_them_without_a_copy(cube: ge.Cube) -> None:
    count = cube.query("contributors.COUNT", levels=["shop"], mode="arrays")["contributors.COUNT"]
    if cube.database.backend.name != "cpu":
        pytest.skip("NumPy reads arrays of the CPU only")
    shared = np.from_dlpack(count)
    assert shared.tolist() == [1, 2, 1]
    assert np.shares_memory(shared, count.data)


def test_prepared_queries_take_the_mode_too(session: ge.Session, cube: ge.Cube) -> None:
    query = session.database.prepare.cube(cube, "quantity.SUM", levels=["shop"], mode="arrays")
    columns = query.run(session.database.version())
    expected = cube.query("quantity.SUM", levels=["shop"], mode="arrow")["quantity.SUM"].to_pylist()
    assert as_python(cube, columns["quantity.SUM"]) == expected


def test_a_level_without_members(session: ge.Session) -> None:
    empty = session.create_table("empty", {"n": ge.INT, "x": ge.LONG})
    columns = session.create_cube(empty, mode="manual")
    columns.hierarchies["n"] = [empty["n"]]
    found = columns.query("contributors.COUNT", levels=["n"], mode="arrays")
    assert {name: len(column) for name, column in found.items()} == {"n": 0, "contributors.COUNT": 0}


def test_frames_are_refused_by_name_on_the_cpu(session: ge.Session, cube: ge.Cube) -> None:
    if cube.database.backend.name == "gpu":
        pytest.skip("here they work")
    for ask in (
        lambda: cube.query("quantity.SUM", mode="cudf"),
        lambda: session.database.prepare.cube(cube, "quantity.SUM", mode="cudf"),
        session.tables["sales"].to_cudf,
    ):
        with pytest.raises(ge.errors.NeedsGpuError, match=r"needs the GPU.*backend='gpu'") as caught:
            ask()
        assert caught.value.code == "needs_gpu"


def test_frames_hold_what_arrow_holds(session: ge.Session, cube: ge.Cube) -> None:
    if cube.database.backend.name != "gpu":
        without_gpu("GPU_ENGINE_TEST_BACKEND=gpu has these tests run on one")
    asked = {"levels": ["shop"], "totals": True}
    frame = cube.query("quantity.SUM", "revenue", **asked, mode="cudf")
    assert frame.to_arrow().to_pylist() == cube.query("quantity.SUM", "revenue", **asked, mode="arrow").to_pylist()
    rows = session.tables["sales"].to_cudf()
    assert rows["quantity"].to_arrow().to_pylist() == [4, 6, None, 7]
    assert rows["shop"].to_arrow().to_pylist() == ["Paris", "Rome", None, "Rome"]
    assert rows["day"].to_arrow().cast(pa.date32()).to_pylist()[:2] == [date(2021, 5, 1), date(2021, 5, 2)]
