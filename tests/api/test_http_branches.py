"""Branches and past epochs over HTTP."""

from __future__ import annotations

import urllib.parse

import pyarrow as pa
import pytest

ARROW = "application/vnd.apache.arrow.stream"
AMOUNTS = {"measures": ["Amount"], "levels": ["Color"]}


def create(http, name="x", **more):
    status, _, content = http.post("/branches", {"name": name, **more})
    assert status == 201, content
    return content


def write(http, rows, query="", **more):
    status, _, content = http.post(f"/tables/Sales/rows{query}", {"rows": rows, **more})
    assert status == 200, content
    return content


def delete(http, name):
    return http.request("DELETE", f"/branches/{urllib.parse.quote(name)}", None, {})


def amounts(http, **version):
    status, headers, content = http.post("/cubes/Sales/query", {**AMOUNTS, **version})
    assert status == 200, content
    assert (urllib.parse.unquote(headers["Branch"]), headers["Epoch"]) == (content["branch"], str(content["epoch"]))
    return content["branch"], content["epoch"], dict(content["rows"])


def test_branches_are_made_listed_and_deleted(http):
    made = create(http)
    assert made == {"branch": "x", "epoch": 2, "name": "x", "parent": "master", "fork_epoch": 2}
    create(http, "y", from_branch="x", epoch=1)
    _, _, content = http.get("/branches")
    assert content["branches"] == [
        {"name": "master", "epoch": 2, "parent": None, "fork_epoch": 0},
        {"name": "x", "epoch": 2, "parent": "master", "fork_epoch": 2},
        {"name": "y", "epoch": 1, "parent": "x", "fork_epoch": 1},
    ]
    assert delete(http, "y")[0] == 200
    assert delete(http, "x")[2]["deleted"] == "x"
    assert [branch["name"] for branch in http.get("/branches")[2]["branches"]] == ["master"]


@pytest.mark.parametrize("name", ["a/b", "/", "a//b/", "é ü\n", "..", "50% ?&#", "x" * 200])
def test_a_branch_of_any_name_is_made_read_and_deleted(http, name):
    create(http, name)
    quoted = urllib.parse.quote(name, safe="")
    assert http.get(f"/tables/Sales/rows?branch={quoted}")[0] == 200
    assert http.request("DELETE", f"/branches/{quoted}", None, {})[2]["deleted"] == name
    assert [branch["name"] for branch in http.get("/branches")[2]["branches"]] == ["master"]


def test_a_name_that_fits_no_header_is_refused(http):
    status, _, content = http.post("/branches", {"name": "x" * 100_000})
    assert (status, content["error"]["code"]) == (400, "invalid_model")
    assert len(content["error"]["message"]) < 200


@pytest.mark.parametrize("by_query", [True, False])
def test_writes_go_to_the_branch_that_is_named(http, by_query):
    create(http, "what if?")
    row = [["2024-01-01", "P1", 11]]
    content = write(http, row, "?branch=what+if%3F") if by_query else write(http, row, branch="what if?")
    assert (content["branch"], content["epoch"]) == ("what if?", 3)
    assert amounts(http, branch="what if?")[2]["blue"] == 55.0
    assert amounts(http) == ("master", 2, {"blue": 50.0, "red": 200.0, None: 0.0})


def amounts_of_rows(http, query):
    _, headers, content = http.get(f"/tables/Sales/rows{query}")
    return headers["Branch"], int(headers["Epoch"]), [row[2] for row in content["rows"]]


def test_rows_are_deleted_and_read_on_a_branch(http):
    create(http)
    body = {"keys": [["2024-01-01", "P1"]], "branch": "x"}
    assert http.post("/tables/Sales/delete", body)[2]["tables"]["Sales"]["removed"] == 1
    assert amounts_of_rows(http, "?branch=x") == ("x", 3, [20, 30])
    assert amounts_of_rows(http, "?branch=x&epoch=2") == ("x", 2, [10, 20, 30])
    assert amounts_of_rows(http, "?epoch=1") == ("master", 1, [])
    assert amounts_of_rows(http, "") == ("master", 2, [10, 20, 30])


def test_a_past_epoch_is_queried_in_json_and_arrow(http):
    write(http, [["2024-01-01", "P1", 11]])
    assert amounts(http, epoch=2) == ("master", 2, {"blue": 50.0, "red": 200.0, None: 0.0})
    assert amounts(http, epoch=None)[1] == 3
    body = b'{"measures": ["Amount"], "epoch": 2, "branch": "master"}'
    headers = {"Accept": ARROW, "Content-Type": "application/json"}
    _, given, content = http.raw("POST", "/cubes/Sales/query", body, headers)
    table = pa.ipc.open_stream(content).read_all()
    assert (given["Branch"], given["Epoch"], table.schema.metadata[b"epoch"]) == ("master", "2", b"2")
    assert table.to_pylist() == [{"Amount": 250.0}]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "words"),
    [
        ("POST", "/branches", {"name": ""}, 400, "invalid_model", "branch name ''"),
        ("POST", "/branches", {}, 400, "invalid_model", "branch name None"),
        ("POST", "/branches", {"name": "x"}, 409, "duplicate_name", "'x'"),
        ("POST", "/branches", {"name": "z", "from": "x"}, 400, "invalid_request", "from_branch"),
        ("POST", "/branches", {"name": "z", "from_branch": 1}, 400, "invalid_request", "$.from_branch"),
        ("POST", "/branches", {"name": "z", "from_branch": "xx"}, 404, "unknown_branch", "Did you mean 'x'"),
        ("POST", "/branches", {"name": "z", "epoch": 99}, 404, "epoch_not_retained", "0 to 2"),
        ("POST", "/branches", {"name": "z", "epoch": "2"}, 400, "invalid_request", "$.epoch"),
        ("DELETE", "/branches/xx", None, 404, "unknown_branch", "Did you mean 'x'"),
        ("DELETE", "/branches/master", None, 409, "branch_in_use", "master is always there"),
        ("POST", "/cubes/Sales/query", {**AMOUNTS, "branch": "xx"}, 404, "unknown_branch", "'xx'"),
        ("POST", "/cubes/Sales/query", {**AMOUNTS, "branch": 7}, 400, "invalid_request", "$.branch"),
        ("POST", "/cubes/Sales/query", {**AMOUNTS, "epoch": 99}, 404, "epoch_not_retained", "99"),
        ("POST", "/cubes/Sales/query", {**AMOUNTS, "epoch": True}, 400, "invalid_request", "$.epoch"),
        ("POST", "/tables/Sales/rows?branch=xx", {"rows": []}, 404, "unknown_branch", "'xx'"),
        ("POST", "/tables/Sales/rows", {"rows": [], "branch": []}, 400, "invalid_request", "$.branch"),
        ("GET", "/tables/Sales/rows?branch=xx", None, 404, "unknown_branch", "'xx'"),
        ("GET", "/tables/Sales/rows?epoch=-1", None, 400, "invalid_request", "?epoch"),
        ("GET", "/tables/Sales/rows?epoch=99", None, 404, "epoch_not_retained", "99"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_a_code(http, session, method, path, body, status, code, words):
    create(http)
    if body is None:
        given, _, content = http.request(method, path, None, {})
    else:
        given, _, content = http.post(path, body)
    assert (given, content["error"]["code"]) == (status, code)
    assert words in content["error"]["message"]
    assert (session.epoch, list(session.branches)) == (2, ["master", "x"])


def test_a_branch_with_a_live_query_stays(http, session):
    create(http)
    live = session.cubes["Sales"].live("Amount", branch="x")
    status, _, content = delete(http, "x")
    assert (status, content["error"]["code"]) == (409, "branch_in_use")
    live.close()
    assert delete(http, "x")[0] == 200


def test_statistics_count_the_rows_of_each_branch(http):
    create(http)
    write(http, [["2024-01-02", "P1", 1], ["2024-01-03", "P1", 1]], branch="x")
    tables = http.get("/statistics")[2]["session"]["tables"]
    assert tables["Sales"]["branch_rows"] == {"master": 3, "x": 5}
    assert tables["Products"]["branch_rows"] == {"master": 2, "x": 2}
