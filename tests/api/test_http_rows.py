"""Rows over HTTP at a version: lists through joins, rows by key, distinct values, exact statistics."""

from __future__ import annotations

import pyarrow as pa
import pytest

ARROW = "application/vnd.apache.arrow.stream"


def field(path, op, value=...):
    return {"field": path, "op": op} | ({} if value is ... else {"value": value})


@pytest.fixture
def listed(http):
    """Return the rows of a list of Sales."""

    def rows(where=None, fields=("Quantity",), **more):
        status, _, content = http.post("/tables/Sales/list", {"fields": list(fields), "where": where, **more})
        assert status == 200, content
        return [tuple(row) for row in content["rows"]]

    return rows


@pytest.mark.parametrize(
    ("where", "quantities"),
    [
        (None, [10, 20, 30]),
        (field("Products.Color", "==", "red"), [20]),
        (field("Products.Color", "isnull"), [30]),
        (field("Products.Color", "!=", None), [10, 20]),
        (field("ProductId", "isin", ["P1", "P3"]), [10, 30]),
        (field("Quantity", ">", 10.5), [20, 30]),
        (field("Quantity", "isin", [10, 2**80]), [10]),
        (field("Date", "<=", "2024-01-01"), [10, 20, 30]),
        (field("Date", "<", "2024-01-01"), []),
        (field("Quantity", ">", {"field": "Products.UnitPrice"}), [10, 20]),
        ({"op": "not", "of": field("Quantity", ">=", 20)}, [10]),
        ({"op": "or", "of": [field("Quantity", "==", 10), field("Quantity", "==", 30)]}, [10, 30]),
        ({"op": "and", "of": [field("Quantity", ">", 5), field("Products.UnitPrice", "==", 10)]}, [20]),
    ],
)
def test_a_condition_selects_rows(listed, where, quantities):
    assert listed(where) == [(quantity,) for quantity in quantities]


def test_fields_reach_through_joins_and_pages_follow_each_other(listed):
    fields = ["Quantity", "Products.Color", "Products.UnitPrice"]
    assert listed(fields=fields, limit=2) == [(10, "blue", 5.0), (20, "red", 10.0)]
    assert listed(fields=fields, limit=2, offset=2) == [(30, None, None)]


def test_every_read_is_of_its_branch_and_epoch(http, session):
    session.branches.create("what-if")
    with session.start_transaction("what-if"):
        session.tables["Sales"].append(("2024-01-01", "P1", 11), ("2024-01-01", "P4", 40))
    head = session.branches["what-if"].epoch
    for path, body, of_branch, of_past in [
        ("list", {"fields": ["Quantity"]}, {(20,), (30,), (11,), (40,)}, {(10,), (20,), (30,)}),
        ("distinct", {"fields": ["ProductId"]}, {("P1",), ("P2",), ("P3",), ("P4",)}, {("P1",), ("P2",), ("P3",)}),
        ("get", {"keys": [["2024-01-01", "P1"]], "fields": ["Quantity"]}, {(11,)}, {(10,)}),
    ]:
        _, headers, content = http.post(f"/tables/Sales/{path}", {**body, "branch": "what-if"})
        assert ({tuple(row) for row in content["rows"]}, content["branch"]) == (of_branch, "what-if")
        assert (content["epoch"], headers["Epoch"], headers["Branch"]) == (head, str(head), "what-if")
        _, _, content = http.post(f"/tables/Sales/{path}", {**body, "branch": "what-if", "epoch": 2})
        assert ({tuple(row) for row in content["rows"]}, content["epoch"]) == (of_past, 2)
    assert http.get("/tables/Sales/statistics?branch=what-if")[2]["row_count"] == 4
    past = http.get("/tables/Sales/statistics?branch=what-if&epoch=2")[2]
    assert (past["row_count"], past["branch"], past["epoch"]) == (3, "what-if", 2)


def test_rows_by_key_come_in_the_order_of_the_keys(http):
    keys = [["2024-01-01", "P2"], ["2024-01-01", "nobody"], {"ProductId": "P1", "Date": "2024-01-01"}]
    _, _, content = http.post("/tables/Sales/get", {"keys": keys, "fields": ["Quantity", "Products.Color"]})
    assert content["columns"] == ["Quantity", "Products.Color"]
    assert content["rows"] == [[20, "red"], None, [10, "blue"]]


def test_one_key_column_takes_its_value_alone(http):
    _, _, content = http.post("/tables/Products/get", {"keys": ["P2", ["P1"], "P9"]})
    assert content["rows"] == [["P2", "red", 10.0], ["P1", "blue", 5.0], None]


def test_a_row_of_nulls_is_not_a_missing_row(http, typed):
    typed.append({"Key": 1})
    _, _, content = http.post("/tables/Typed/get", {"keys": [1, 2], "fields": ["Text"]})
    assert content["rows"] == [[None], None]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("list", {"fields": ["Products.Color"]}, ["blue", "red", None]),
        ("distinct", {"fields": ["Products.Color"]}, ["blue", "red", None]),
        ("get", {"fields": ["Products.Color"], "keys": [["2024-01-01", "P2"], ["2030-01-01", "P2"]]}, ["red", None]),
    ],
)
def test_answers_come_as_arrow_where_it_is_accepted(server, path, body, expected):
    answer = server.app.test_client().post(f"/api/v1/tables/Sales/{path}", json=body, headers={"Accept": ARROW})
    table = pa.ipc.open_stream(answer.data).read_all()
    assert table.column("Products.Color").to_pylist() == expected
    assert (table.schema.metadata[b"epoch"], answer.headers["Epoch"]) == (b"2", "2")


def test_statistics_are_exact(http, typed):
    typed.append(
        {"Key": 1, "Money": "2.50", "Day": "2024-01-31", "Text": "b", "Flag": True},
        {"Key": 2, "Money": "2.50", "Day": "2024-02-29", "Text": "a"},
        {"Key": 3, "Money": "1.00"},
    )
    _, _, content = http.get("/tables/Typed/statistics")
    columns = {one.pop("name"): one for one in content["columns"]}
    assert content["row_count"] == 3
    assert columns["Money"] == {"type": "DECIMAL(10,2)", "cardinality": 2, "nulls": 0, "min": "1.00", "max": "2.50"}
    assert columns["Day"] == {
        "type": "LOCAL_DATE",
        "cardinality": 2,
        "nulls": 1,
        "min": "2024-01-31",
        "max": "2024-02-29",
    }
    assert columns["Curve"] == {"type": "VECTOR(2)", "cardinality": 0, "nulls": 3, "min": None, "max": None}


@pytest.mark.parametrize(
    ("path", "body", "code", "place"),
    [
        ("list", [], "invalid_request", "$"),
        ("list", {"field": []}, "invalid_request", "$"),
        ("list", {"fields": []}, "invalid_request", "$.fields"),
        ("list", {"fields": ["Quantity", "Products.Colour"]}, "unknown_column", "$.fields[1]"),
        ("list", {"fields": ["Product.Color"]}, "unknown_column", "$.fields[0]"),
        ("list", {"fields": ["Quantity", "Quantity"]}, "invalid_request", "$.fields[1]"),
        ("list", {"limit": -1}, "invalid_request", "$.limit"),
        ("list", {"limit": 10**6}, "invalid_request", "$.limit"),
        ("list", {"where": field("Products.Colour", "==", "red")}, "unknown_column", "$.where.field"),
        ("list", {"where": field("Quantity", "==", "many")}, "type_mismatch", "$.where.value"),
        ("list", {"where": field("Quantity", "==", {"param": "x"})}, "type_mismatch", "$.where.value"),
        ("list", {"where": field("Date", "isin", ["2024-01-01", "x"])}, "type_mismatch", "$.where.value[1]"),
        ("list", {"where": field("Quantity", "==", {"field": "Q"})}, "unknown_column", "$.where.value.field"),
        ("list", {"where": {"level": "Quantity", "op": "isnull"}}, "invalid_request", "$.where"),
        ("distinct", {}, "invalid_request", "$.fields"),
        ("get", {"keys": [["2024-01-01"]]}, "invalid_row", "$.keys[0]"),
        ("get", {"keys": ["P1"]}, "invalid_row", "$.keys[0]"),
        ("get", {}, "invalid_request", "$.keys"),
        ("list", {"epoch": "now"}, "invalid_request", "$.epoch"),
    ],
)
def test_a_wrong_body_is_answered_with_its_place(http, path, body, code, place):
    status, _, content = http.post(f"/tables/Sales/{path}", body)
    assert (status, content["error"]["code"], content["error"].get("place")) == (400, code, place), content


@pytest.mark.parametrize("path", ["list", "distinct", "get"])
def test_versions_and_tables_that_are_not_there_are_not_found(http, session, path):
    body = {"fields": ["Quantity"]} | ({"keys": []} if path == "get" else {})
    for more, code in [({"branch": "x"}, "unknown_branch"), ({"epoch": 99}, "epoch_not_retained")]:
        status, _, content = http.post(f"/tables/Sales/{path}", {**body, **more})
        assert (status, content["error"]["code"]) == (404, code)
    assert http.post(f"/tables/Sails/{path}", body)[0] == 404
    assert http.get("/tables/Sales/statistics?branch=x")[2]["error"]["code"] == "unknown_branch"
    assert http.get("/tables/Sales/statistics?epoch=99")[2]["error"]["code"] == "epoch_not_retained"
    assert http.get("/tables/Sales/statistics?epoch=x")[2]["error"]["code"] == "invalid_request"
