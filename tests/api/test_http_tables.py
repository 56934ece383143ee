"""Tables over HTTP: schema, rows out, rows in, rows gone."""

from __future__ import annotations

import datetime
import decimal

import pyarrow as pa
import pytest

ARROW = "application/vnd.apache.arrow.stream"
FULL = {
    "Key": 1,
    "Flag": True,
    "Small": -7,
    "Real": 0.5,
    "Wide": 1e300,
    "Money": "12.50",
    "Text": "Ünïcode ✓",
    "Day": "2024-02-29",
    "Moment": "2024-02-29T12:30:00",
    "Curve": [1.0, 2.5],
}


def test_a_table_shows_columns_types_keys_and_row_count(http):
    _, _, content = http.get("/tables/Sales")
    assert content["columns"] == [
        {"name": "Date", "type": "LOCAL_DATE"},
        {"name": "ProductId", "type": "STRING"},
        {"name": "Quantity", "type": "LONG"},
    ]
    assert (content["keys"], content["row_count"], content["epoch"]) == (["Date", "ProductId"], 3, 2)


def test_tables_are_listed(http):
    _, _, content = http.get("/tables")
    assert content["tables"] == [{"name": "Sales", "row_count": 3}, {"name": "Products", "row_count": 2}]


def test_rows_come_in_order_up_to_the_limit(http):
    _, _, content = http.get("/tables/Sales/rows?limit=2")
    assert content["columns"] == ["Date", "ProductId", "Quantity"]
    assert content["rows"] == [["2024-01-01", "P1", 10], ["2024-01-01", "P2", 20]]


def test_values_of_every_type_travel_both_ways(http, typed):
    assert http.post("/tables/Typed/rows", {"rows": [FULL, {"Key": 2}]})[0] == 200
    _, _, content = http.get("/tables/Typed/rows")
    assert content["rows"] == [list(FULL.values()), [2] + [None] * 9]
    row = typed.to_arrow().to_pylist()[0]
    assert row["Money"] == decimal.Decimal("12.50")
    assert row["Day"] == datetime.date(2024, 2, 29)


def test_decimals_may_be_numbers_and_timestamps_have_a_zone(http, typed):
    row = {"Key": 1, "Money": 12.5, "Moment": "2024-01-01T12:00:00+02:00"}
    assert http.post("/tables/Typed/rows", {"rows": [row]})[0] == 200
    _, _, content = http.get("/tables/Typed/rows")
    assert content["rows"][0][5] == "12.50"
    assert content["rows"][0][8] == "2024-01-01T10:00:00"


def test_rows_come_as_arrow_where_it_is_accepted(http):
    status, headers, content = http.raw("GET", "/tables/Sales/rows", headers={"Accept": ARROW})
    table = pa.ipc.open_stream(content).read_all()
    assert (status, headers["Epoch"]) == (200, "2")
    assert table.schema.metadata[b"epoch"] == b"2"
    assert table.column("Quantity").to_pylist() == [10, 20, 30]


def test_a_commit_report_counts_what_became_of_the_rows(http):
    rows = [
        ["2024-01-01", "P1", 11],
        ["2024-01-01", "P2", 20],
        ["2024-01-02", "P1", 1],
        {"Date": "2024-01-02", "ProductId": "P1", "Quantity": 2},
    ]
    _, _, content = http.post("/tables/Sales/rows", {"rows": rows})
    assert content["tables"]["Sales"] == {"added": 1, "updated": 1, "removed": 0, "unchanged": 1, "duplicates": 1}
    assert content["epoch"] == 3
    _, _, content = http.post("/tables/Sales/rows", {"rows": rows[:1]})
    assert content["epoch"] == 3
    assert http.post("/tables/Sales/rows", {"rows": []})[2]["epoch"] == 3


@pytest.mark.parametrize("key", [["2024-01-01", "P1"], {"ProductId": "P1", "Date": "2024-01-01"}])
def test_rows_are_deleted_by_key(http, key):
    _, _, content = http.post("/tables/Sales/delete", {"keys": [key, ["2030-01-01", "nobody"]]})
    assert content["tables"]["Sales"]["removed"] == 1
    assert http.get("/tables/Sales")[2]["row_count"] == 2


def test_rows_of_a_table_without_keys_cannot_be_named(http, session):
    session.create_table("Log", types={"Line": session.tables["Products"].types["Id"]})
    status, _, content = http.post("/tables/Log/delete", {"keys": [["x"]]})
    assert (status, content["error"]["code"]) == (400, "invalid_request")
