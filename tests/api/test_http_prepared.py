"""Prepared queries over HTTP: compiled once, run with parameters at any version."""

from __future__ import annotations

import pyarrow as pa
import pytest

import api.prepared

BY_COLOR = {
    "name": "by_color",
    "kind": "list",
    "table": "Sales",
    "fields": ["Quantity"],
    "where": {
        "op": "and",
        "of": [
            {"field": "Products.Color", "op": "isin", "value": {"param": "colors"}},
            {"field": "Date", "op": ">=", "value": {"param": "since"}},
        ],
    },
}
VALUES = {"colors": ["red", "blue"], "since": "2024-01-01"}


def test_a_list_is_compiled_once_and_run_at_any_version(http, session):
    status, _, made = http.post("/queries", BY_COLOR)
    assert (status, made["parameters"]) == (201, {"colors": "LIST(STRING)", "since": "LOCAL_DATE"})
    compiled = http.get("/queries")[2]["compilations_total"]
    session.tables["Sales"].append(("2024-01-02", "P1", 7))
    runs = [
        ({"parameters": VALUES}, [[10], [20], [7]]),
        ({"parameters": VALUES, "epoch": 2}, [[10], [20]]),
        ({"parameters": {**VALUES, "since": "2024-01-02"}}, [[7]]),
        ({"parameters": {**VALUES, "colors": []}}, []),
    ]
    for body, expected in runs:
        status, _, content = http.post("/queries/by_color/run", body)
        assert (status, content["rows"]) == (200, expected)
        assert content["epoch"] == body.get("epoch", 3)
    listed = http.get("/queries")[2]
    assert listed["compilations_total"] == compiled
    assert [(one["name"], one["runs"]) for one in listed["queries"]] == [("by_color", 4)]
    assert http.get("/statistics")[2]["database"]["compilations_total"] == compiled


@pytest.mark.parametrize(
    ("body", "values", "expected"),
    [
        ({"kind": "get", "table": "Sales"}, {"Date": "2024-01-01", "ProductId": "P2"}, [["2024-01-01", "P2", 20]]),
        ({"kind": "get", "table": "Sales"}, {"Date": "2024-01-01", "ProductId": "P9"}, []),
        (
            {
                "kind": "distinct",
                "table": "Sales",
                "fields": ["Products.Color"],
                "where": {"field": "Quantity", "op": ">=", "value": {"param": "least"}},
            },
            {"least": 20},
            [["red"], [None]],
        ),
        (
            {
                "kind": "cube",
                "cube": "Sales",
                "measures": ["Amount"],
                "levels": ["Color"],
                "filter": {"level": "Color", "op": "==", "value": {"param": "color"}},
            },
            {"color": "red"},
            [["red", 200.0]],
        ),
    ],
)
def test_every_kind_of_query_can_be_prepared(http, server, body, values, expected):
    status, _, made = http.post("/queries", body)
    assert status == 201, made
    path = f"/queries/{made['name']}/run"
    assert http.post(path, {"parameters": values})[2]["rows"] == expected
    arrow = {"Accept": "application/vnd.apache.arrow.stream"}
    answer = server.app.test_client().post(f"/api/v1{path}", json={"parameters": values}, headers=arrow)
    assert pa.ipc.open_stream(answer.data).read_all().num_rows == len(expected)


def test_wrong_and_missing_parameters_are_named_together(http):
    http.post("/queries", BY_COLOR)
    status, _, content = http.post("/queries/by_color/run", {"parameters": {"colors": "red", "town": 1}})
    error = content["error"]
    assert (status, error["code"], error["place"]) == (400, "invalid_parameter", "$.parameters")
    for part in ("'town' is not known", "'since' has no value", "'red' is not a valid LIST(STRING)"):
        assert part in error["message"]
    assert error["known"] == ["colors", "since"]


def test_names_are_taken_once_and_free_again(http):
    assert http.post("/queries", BY_COLOR)[0] == 201
    status, _, content = http.post("/queries", BY_COLOR)
    assert (status, content["error"]["code"]) == (409, "duplicate_name")
    assert http.request("DELETE", "/queries/by_color", None, {})[2]["deleted"] == "by_color"
    status, _, content = http.request("DELETE", "/queries/by_color", None, {})
    assert (status, content["error"]["code"]) == (404, "unknown_query")
    assert http.post("/queries/by_color/run", {})[0] == 404
    assert http.post("/queries", BY_COLOR)[0] == 201


def test_there_are_only_so_many(http, monkeypatch):
    monkeypatch.setattr(api.prepared, "MAX_QUERIES", 1)
    assert http.post("/queries", BY_COLOR)[0] == 201
    status, _, content = http.post("/queries", {**BY_COLOR, "name": "another"})
    assert (status, content["error"]["code"]) == (409, "too_many_queries")


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        ({**BY_COLOR, "kind": "lists"}, "invalid_request", "$.kind"),
        ({**BY_COLOR, "name": "../x"}, "invalid_request", "$.name"),
        ({**BY_COLOR, "table": "Sails"}, "unknown_table", "$.table"),
        ({**BY_COLOR, "fields": ["Colour"]}, "unknown_column", "$.fields[0]"),
        ({**BY_COLOR, "measures": []}, "invalid_request", "$"),
        ({"kind": "cube", "cube": "Sails", "measures": ["Amount"]}, "unknown_cube", "$.cube"),
        ({"kind": "cube", "cube": "Sales", "measures": ["Amuont"]}, "unknown_measure", "$.measures[0]"),
        (
            {**BY_COLOR, "where": {"field": "Quantity", "op": "==", "value": {"param": ""}}},
            "invalid_model",
            "$.where.value.param",
        ),
        (
            {
                **BY_COLOR,
                "where": {
                    "op": "or",
                    "of": [
                        {"field": "Quantity", "op": "==", "value": {"param": "x"}},
                        {"field": "ProductId", "op": "==", "value": {"param": "x"}},
                    ],
                },
            },
            "invalid_parameter",
            "$",
        ),
    ],
)
def test_a_wrong_query_is_answered_with_its_place(http, body, code, place):
    status, _, content = http.post("/queries", body)
    assert (status, content["error"]["code"], content["error"].get("place")) == (400, code, place), content


def test_a_version_that_is_not_there_is_not_found(http):
    http.post("/queries", BY_COLOR)
    for more, code in [({"branch": "x"}, "unknown_branch"), ({"epoch": 99}, "epoch_not_retained")]:
        status, _, content = http.post("/queries/by_color/run", {"parameters": VALUES, **more})
        assert (status, content["error"]["code"]) == (404, code)
