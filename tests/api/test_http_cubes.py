"""Cubes over HTTP: structure, queries, filters, and the example of behaviour J3."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

ARROW = "application/vnd.apache.arrow.stream"
BY_DAY_AND_COLOR = ["Date", "Color"]


def test_cubes_are_listed_with_their_fact_table(http):
    status, headers, content = http.get("/cubes")
    assert status == 200
    assert content["cubes"] == [{"name": "Sales", "fact_table": "Sales"}]
    assert content["branch"] == headers["Branch"] == "master"
    assert content["epoch"] == int(headers["Epoch"]) == 2


def test_a_cube_shows_levels_hierarchies_and_measures(http):
    _, _, content = http.get("/cubes/Sales")
    levels = {level["name"]: level for level in content["levels"]}
    assert levels["Date"]["type"] == "LOCAL_DATE"
    assert levels["Color"] == {
        "name": "Color",
        "table": "Products",
        "column": "Color",
        "type": "STRING",
        "hierarchy": "Color",
        "order": "ascending",
        "key": False,
    }
    assert {"name": "Date", "levels": [["Sales", "Date"]], "slicing": False} in content["hierarchies"]
    assert {"Amount", "Quantity.SUM", "Quantity.MEAN", "contributors.COUNT"} <= set(content["measures"])


def test_a_late_product_moves_exactly_its_facts(http):
    assert http.cells("Sales", ["Amount"], BY_DAY_AND_COLOR) == {
        ("2024-01-01", "blue"): (50.0,),
        ("2024-01-01", "red"): (200.0,),
        ("2024-01-01", None): (0.0,),
    }
    status, _, content = http.post("/tables/Products/rows", {"rows": [["P3", "green", 15.0]]})
    assert status == 200
    assert content["tables"]["Products"]["added"] == 1
    assert content["epoch"] == 3
    assert http.cells("Sales", ["Amount"], BY_DAY_AND_COLOR) == {
        ("2024-01-01", "blue"): (50.0,),
        ("2024-01-01", "red"): (200.0,),
        ("2024-01-01", "green"): (450.0,),
    }


def test_a_query_without_levels_is_one_row(http):
    _, _, content = http.post("/cubes/Sales/query", {"measures": ["Quantity.SUM", "contributors.COUNT"]})
    assert content["columns"] == ["Quantity.SUM", "contributors.COUNT"]
    assert content["rows"] == [[60, 3]]


def test_levels_may_name_their_table(http):
    assert http.cells("Sales", ["Quantity.SUM"], [["Products", "Color"]])[("red",)] == (20,)


def test_totals_say_how_many_levels_each_row_names(http):
    _, _, content = http.post(
        "/cubes/Sales/query", {"measures": ["Quantity.SUM"], "levels": BY_DAY_AND_COLOR, "totals": True}
    )
    assert content["columns"] == ["Date", "Color", "Quantity.SUM", "__depth__"]
    assert [None, None, 60, 0] in content["rows"]
    assert ["2024-01-01", None, 60, 1] in content["rows"]
    assert ["2024-01-01", "red", 20, 2] in content["rows"]
    assert len(content["rows"]) == 5


@pytest.mark.parametrize(
    ("condition", "colors"),
    [
        ({"level": "Color", "op": "==", "value": "red"}, {"red"}),
        ({"level": "Color", "op": "!=", "value": "red"}, {"blue", None}),
        ({"level": "Color", "op": "==", "value": None}, {None}),
        ({"level": "Color", "op": "!=", "value": None}, {"blue", "red"}),
        ({"level": "Color", "op": "isnull"}, {None}),
        ({"level": ["Products", "Color"], "op": "isin", "value": ["red", "pink"]}, {"red"}),
        ({"level": "Color", "op": "isin", "value": ["red", None]}, {"red", None}),
        ({"level": "Color", "op": "<", "value": "c"}, {"blue"}),
        ({"level": "Date", "op": ">=", "value": "2024-01-01"}, {"blue", "red", None}),
        ({"level": "Date", "op": ">", "value": "2024-01-01"}, set()),
        ({"op": "not", "of": {"level": "Color", "op": "isnull"}}, {"blue", "red"}),
        (
            {"op": "or", "of": [{"level": "Color", "op": "==", "value": color} for color in ("blue", "red")]},
            {"blue", "red"},
        ),
        (
            {
                "op": "and",
                "of": [{"level": "Color", "op": ">", "value": "a"}, {"level": "Color", "op": "<=", "value": "blue"}],
            },
            {"blue"},
        ),
    ],
)
def test_filters_keep_the_cells_they_say(http, condition: Any, colors: set[str | None]):
    assert {color for (color,) in http.cells("Sales", ["Quantity.SUM"], ["Color"], filter=condition)} == colors


def test_a_filter_of_many_parts_is_evaluated(http):
    parts = [{"level": "Color", "op": "==", "value": f"color {i}"} for i in range(900)]
    parts.append({"level": "Color", "op": "==", "value": "red"})
    assert http.cells("Sales", ["Quantity.SUM"], ["Color"], filter={"op": "or", "of": parts}) == {("red",): (20,)}


def test_arrow_comes_where_it_is_accepted(http):
    body = b'{"measures": ["Amount"], "levels": ["Date", "Color"]}'
    headers = {"Content-Type": "application/json", "Accept": ARROW}
    status, given, content = http.raw("POST", "/cubes/Sales/query", body, headers)
    table = pa.ipc.open_stream(content).read_all()
    assert (status, given["Content-Type"]) == (200, ARROW)
    assert table.schema.metadata[b"epoch"] == given["Epoch"].encode() == b"2"
    assert table.schema.metadata[b"branch"] == b"master"
    assert table.column("Date").type == pa.date32()
    assert table.column("Amount").to_pylist() == [50.0, 200.0, 0.0]


def test_an_answer_that_nobody_accepts_is_refused(http):
    status, _, content = http.get("/tables/Sales/rows", Accept="image/png")
    assert (status, content["error"]["code"]) == (406, "not_acceptable")


def test_numbers_that_are_none_are_null(http):
    http.post("/tables/Products/rows", {"rows": [["P1", "blue", 1e308]]})
    http.post("/tables/Sales/rows", {"rows": [["2024-01-01", "P1", 1_000]]})
    assert http.cells("Sales", ["Amount"], ["Color"])[("blue",)] == (None,)
