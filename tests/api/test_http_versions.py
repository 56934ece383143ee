"""Pins, compaction, differences and transactions over HTTP."""

from __future__ import annotations

import pyarrow as pa
import pytest

import api.versions
import gpu_engine as ge

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


@pytest.fixture
def what_if(session: ge.Session) -> int:
    """Epoch of the branch "what-if", on which one sale is changed, one removed and one added."""
    session.branches.create("what-if")
    with session.start_transaction("what-if"):
        sales = session.tables["Sales"]
        sales.append(("2024-01-01", "P1", 11), ("2024-01-02", "P1", 1))
        sales.drop(keys=[("2024-01-01", "P2")])
    return session.branches["what-if"].epoch


def between(**more):
    return {"since": {"branch": "master"}, "until": {"branch": "what-if"}, **more}


def test_a_pin_keeps_its_epoch_until_it_is_deleted(http, session):
    status, headers, pin = http.post("/pins", {"name": "close of business", "epoch": 2})
    assert (status, pin["epoch"], headers["Epoch"]) == (201, 2, "2")
    with session.pin(1):
        pins = http.get("/pins")[2]["pins"]
        assert {(one["id"], one["name"], one["epoch"]) for one in pins} == {
            (pin["id"], "close of business", 2),
            (None, None, 1),
        }
    sales = session.tables["Sales"]
    for quantity in range(1500):
        sales.append(("2024-01-01", "P1", 100 + quantity))
    assert http.post("/compact", {})[0] == 200
    asked = {"fields": ["Quantity"], "epoch": 2}
    assert http.post("/tables/Sales/list", asked)[2]["rows"] == [[10], [20], [30]]
    status, _, content = http.post("/tables/Sales/list", {**asked, "epoch": 3})
    assert (status, content["error"]["code"]) == (404, "epoch_not_retained")
    assert http.request("DELETE", f"/pins/{pin['id']}", None, {})[0] == 200
    assert http.get("/pins")[2]["pins"] == []
    assert http.post("/compact", {})[0] == 200
    assert http.post("/tables/Sales/list", asked)[0] == 404
    assert http.post("/pins", {"name": "x", "epoch": 2})[2]["error"]["code"] == "epoch_not_retained"


def test_compaction_reports_memory_before_and_after(http, session):
    sales = session.tables["Sales"]
    for quantity in range(1500):
        sales.append(("2024-01-01", "P1", 100 + quantity))
    status, _, report = http.post("/compact", {})
    table = report["tables"]["Sales"]
    assert (status, report["oldest_epoch"]) == (200, session.epoch - 1000)
    assert table["rows_before"] > table["rows_after"] >= 3
    assert table["nbytes_before"] >= table["nbytes_after"] > 0
    assert report["memory_before"] > 0 < report["memory_after"]
    assert http.get("/statistics")[2]["session"]["last_compaction"]["tables"]["Sales"] == table


def test_pins_are_bounded_and_a_pinned_branch_is_in_use(http, session, what_if, monkeypatch):
    monkeypatch.setattr(api.versions, "MAX_PINS", 1)
    pin = http.post("/pins", {"name": "a", "branch": "what-if"})[2]
    assert (pin["branch"], pin["epoch"]) == ("what-if", what_if)
    assert http.post("/pins", {"name": "b"})[2]["error"]["code"] == "too_many_pins"
    status, _, content = http.request("DELETE", "/branches/what-if", None, {})
    assert (status, content["error"]["code"]) == (409, "branch_in_use")
    http.request("DELETE", f"/pins/{pin['id']}", None, {})
    assert http.request("DELETE", "/branches/what-if", None, {})[0] == 200
    status, _, content = http.request("DELETE", f"/pins/{pin['id']}", None, {})
    assert (status, content["error"]["code"]) == (404, "unknown_pin")


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 201}, {"name": "x", "epoch": "1"}, {"nme": "x"}])
def test_a_pin_needs_a_name_and_an_epoch(http, body):
    status, _, content = http.post("/pins", body)
    assert (status, content["error"]["code"]) == (400, "invalid_request")
    assert http.get("/pins")[2]["pins"] == []


def test_rows_of_two_versions_are_compared(http, session, what_if):
    status, headers, content = http.post("/diff", between())
    assert (status, content["branch"], content["epoch"], headers["Epoch"]) == (200, "what-if", what_if, str(what_if))
    assert content["since"] == {"branch": "master", "epoch": 2}
    assert content["tables"] == {
        "Sales": {
            "columns": ["Date", "ProductId", "Quantity"],
            "added": [["2024-01-02", "P1", 1]],
            "removed": [["2024-01-01", "P2", 20]],
            "updated_old": [["2024-01-01", "P1", 10]],
            "updated_new": [["2024-01-01", "P1", 11]],
        }
    }
    assert http.post("/diff", between(table="Products"))[2]["tables"] == {}
    assert http.post("/diff", {"since": {}, "until": {"epoch": 2}})[2]["tables"] == {}


@pytest.mark.parametrize(
    ("table", "kinds"), [("Sales", ["added", "removed", "updated_old", "updated_new"]), ("Products", [])]
)
def test_a_difference_comes_as_arrow_table_by_table(server, what_if, table, kinds):
    answer = server.app.test_client().post("/api/v1/diff", json=between(table=table), headers=ARROW)
    content = pa.ipc.open_stream(answer.data).read_all()
    assert content["__change__"].to_pylist() == kinds
    assert content.schema.metadata[b"branch"] == b"what-if"
    refused = server.app.test_client().post("/api/v1/diff", json=between(), headers=ARROW)
    assert (refused.status_code, refused.get_json()["error"]["place"]) == (400, "$.table")


def test_a_difference_that_is_too_large_for_json_is_refused(http, what_if, monkeypatch):
    monkeypatch.setattr(api.versions, "MAX_ROWS", 3)
    status, _, content = http.post("/diff", between())
    assert (status, content["error"]["code"]) == (413, "answer_too_large")


def test_cells_of_two_versions_are_compared(http, server, what_if):
    body = between(measures=["Quantity.SUM"], levels=["ProductId"])
    status, _, content = http.post("/cubes/Sales/diff", body)
    assert (status, content["branch"], content["epoch"]) == (200, "what-if", what_if)
    assert (content["changed"], content["changed_from"]) == ([["P1", 12]], [["P1", 10]])
    assert (content["added"], content["removed"]) == ([], [["P2", 20]])
    answer = server.app.test_client().post("/api/v1/cubes/Sales/diff", json=body, headers=ARROW)
    table = pa.ipc.open_stream(answer.data).read_all()
    assert table["__change__"].to_pylist() == ["changed", "changed_from", "removed"]
    same = {**body, "until": {"branch": "master"}}
    assert http.post("/cubes/Sales/diff", same)[2]["changed"] == []
    answer = server.app.test_client().post("/api/v1/cubes/Sales/diff", json=same, headers=ARROW)
    assert pa.ipc.open_stream(answer.data).read_all().schema.names == table.schema.names


@pytest.mark.parametrize("path", ["/diff", "/cubes/Sales/diff"])
def test_versions_that_are_not_there_are_not_found(http, path):
    more = {"measures": ["Quantity.SUM"]} if "cubes" in path else {}
    for since, code in [({"branch": "x"}, "unknown_branch"), ({"epoch": 99}, "epoch_not_retained")]:
        status, _, content = http.post(path, {"since": since, "until": {}, **more})
        assert (status, content["error"]["code"]) == (404, code)
    assert http.post(path, {"since": 1, "until": {}, **more})[2]["error"]["place"] == "$.since"


def test_a_transaction_over_several_tables_is_one_epoch(http, session):
    operations = [
        {"table": "Products", "op": "append", "rows": [["P3", "green", 15.0]]},
        {"table": "Sales", "op": "update", "rows": [{"Date": "2024-01-01", "ProductId": "P1", "Quantity": 11}]},
        {"table": "Sales", "op": "delete", "keys": [["2024-01-01", "P2"]]},
        {"table": "Sales", "op": "delete", "where": {"field": "Products.Color", "op": "==", "value": "green"}},
        {"table": "Sales", "op": "append", "rows": [["2024-01-02", "P3", 1]]},
    ]
    status, _, content = http.post("/transactions", {"operations": operations})
    assert (status, content["epoch"]) == (200, 3)
    assert content["tables"]["Products"]["added"] == 1
    assert http.cells("Sales", ["Amount"], ["Color"]) == {("blue",): (55.0,), ("green",): (15.0,)}
    http.post("/transactions", {"operations": [{"table": "Sales", "op": "truncate"}], "branch": "master"})
    assert (len(session.tables["Sales"]), session.epoch) == (0, 4)


def test_a_transaction_drops_partitions_on_its_branch(http, session):
    days = session.create_table("Days", types={"Day": ge.LOCAL_DATE, "X": ge.LONG}, partition_by="Day")
    days.append(("2024-01-01", 1), ("2024-01-02", 2))
    session.branches.create("b")
    dropped = {"table": "Days", "op": "drop_partition", "value": "2024-01-01"}
    assert http.post("/transactions", {"operations": [dropped], "branch": "b"})[2]["branch"] == "b"
    assert http.post("/tables/Days/list", {"branch": "b"})[2]["rows"] == [["2024-01-02", 2]]
    assert len(days) == 2


@pytest.mark.parametrize(
    ("operation", "code", "place"),
    [
        (1, "invalid_request", ""),
        ({"table": "Sales", "op": "insert"}, "invalid_request", ".op"),
        ({"table": "Sails", "op": "truncate"}, "unknown_table", ".table"),
        ({"table": "Sales", "op": "truncate", "rows": []}, "invalid_request", ""),
        ({"table": "Sales", "op": "append", "rows": [["2024-01-01", "P1", "x"]]}, "type_mismatch", None),
        ({"table": "Sales", "op": "delete"}, "invalid_request", ""),
        ({"table": "Sales", "op": "delete", "where": None}, "invalid_request", ".where"),
        ({"table": "Sales", "op": "delete", "where": {"field": "X", "op": "isnull"}}, "unknown_column", ".where.field"),
        ({"table": "Sales", "op": "drop_partition", "value": 1}, "invalid_query", ""),
        ({"table": "Sales", "op": "update", "rows": [[1, 2, 3]]}, None, None),
    ],
)
def test_a_transaction_with_a_mistake_leaves_nothing(http, session, operation, code, place):
    good = {"table": "Products", "op": "append", "rows": [["P3", "green", 15.0]]}
    status, _, content = http.post("/transactions", {"operations": [good, operation]})
    assert status == 400
    assert code in (None, content["error"]["code"])
    assert place is None or content["error"]["place"] == f"$.operations[1]{place}"
    assert (session.epoch, len(session.tables["Products"])) == (2, 2)
