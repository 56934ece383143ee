"""Whatever a client sends: an error that says what and where, never a 5xx, and nothing half done."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from tests.api.conftest import DEADLINE

QUERY = "/cubes/Sales/query"
ROWS = "/tables/Sales/rows"
DELETE = "/tables/Sales/delete"
ONE = ["Quantity.SUM"]


def deep(depth: int) -> Any:
    condition: Any = {"level": "Color", "op": "isnull"}
    for _ in range(depth):
        condition = {"op": "not", "of": condition}
    return condition


@pytest.mark.parametrize(
    ("path", "body", "code", "place"),
    [
        (QUERY, None, "invalid_request", "$"),
        (QUERY, [], "invalid_request", "$"),
        (QUERY, {}, "invalid_request", "$.measures"),
        (QUERY, {"measures": []}, "invalid_request", "$.measures"),
        (QUERY, {"measures": "Amount"}, "invalid_request", "$.measures"),
        (QUERY, {"measures": [1]}, "invalid_request", "$.measures[0]"),
        (QUERY, {"measures": ["Amount", "Amount"]}, "invalid_request", "$.measures[1]"),
        (QUERY, {"measures": ["Amonut"]}, "unknown_measure", "$.measures[0]"),
        (QUERY, {"measures": ["m"] * 65}, "invalid_request", "$.measures"),
        (QUERY, {"measures": ONE, "levels": "Date"}, "invalid_request", "$.levels"),
        (QUERY, {"measures": ONE, "levels": [3]}, "invalid_request", "$.levels[0]"),
        (QUERY, {"measures": ONE, "levels": [["Sales"]]}, "invalid_request", "$.levels[0]"),
        (QUERY, {"measures": ONE, "levels": ["Date", "Colour"]}, "unknown_level", "$.levels[1]"),
        (QUERY, {"measures": ONE, "levels": [["Sales", "Color"]]}, "unknown_level", "$.levels[0]"),
        (QUERY, {"measures": ONE, "levels": ["Color", ["Products", "Color"]]}, "invalid_request", "$.levels[1]"),
        (QUERY, {"measures": ONE, "totals": 1}, "invalid_request", "$.totals"),
        (QUERY, {"measures": ONE, "level": []}, "invalid_request", "$"),
        (QUERY, {"measures": ONE, "filter": "x"}, "invalid_request", "$.filter"),
        (QUERY, {"measures": ONE, "filter": {}}, "invalid_request", "$.filter.op"),
        (QUERY, {"measures": ONE, "filter": {"op": "=", "level": "Date"}}, "invalid_request", "$.filter.op"),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "==", "level": "Day", "value": 1}},
            "unknown_level",
            "$.filter.level",
        ),
        (QUERY, {"measures": ONE, "filter": {"op": "==", "level": "Date"}}, "invalid_request", "$.filter"),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "==", "level": "Date", "value": 5}},
            "type_mismatch",
            "$.filter.value",
        ),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": ">", "level": "Date", "value": None}},
            "type_mismatch",
            "$.filter.value",
        ),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "<", "level": "Date", "value": "2024-02-30"}},
            "type_mismatch",
            "$.filter.value",
        ),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "isin", "level": "Date", "value": "x"}},
            "invalid_request",
            "$.filter.value",
        ),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "isin", "level": "Color", "value": ["red", 2]}},
            "type_mismatch",
            "$.filter.value[1]",
        ),
        (QUERY, {"measures": ONE, "filter": {"op": "and", "of": []}}, "invalid_request", "$.filter.of"),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "or", "of": [{"op": "not"}]}},
            "invalid_request",
            "$.filter.of[0].of",
        ),
        (QUERY, {"measures": ONE, "filter": deep(17)}, "invalid_request", "$.filter" + ".of" * 17),
        (
            QUERY,
            {"measures": ONE, "filter": {"op": "isnull", "level": "Date", "value": 1}},
            "invalid_request",
            "$.filter",
        ),
        (ROWS, {"rows": {}}, "invalid_request", "$.rows"),
        (ROWS, {"row": []}, "invalid_request", "$"),
        (ROWS, {"rows": [1]}, "invalid_row", "$.rows[0]"),
        (ROWS, {"rows": [["2024-01-01", "P1"]]}, "invalid_row", "$.rows[0]"),
        (ROWS, {"rows": [["2024-01-01", "P1", "many"]]}, "type_mismatch", "$.rows[0][2] (column 'Quantity')"),
        (ROWS, {"rows": [["2024-01-01", "P1", True]]}, "type_mismatch", "$.rows[0][2] (column 'Quantity')"),
        (ROWS, {"rows": [["2024-01-01", "P1", 1.5]]}, "type_mismatch", "$.rows[0][2] (column 'Quantity')"),
        (ROWS, {"rows": [{"Date": 1}]}, "type_mismatch", "$.rows[0].Date"),
        (ROWS, {"rows": [{"Dat": "2024-01-01"}]}, "unknown_column", "$.rows[0]"),
        (ROWS, {"rows": [["2024-02-30", "P1", 1]]}, "type_mismatch", "$.rows[0][0] (column 'Date')"),
        (ROWS, {"rows": [["2024-01-01", "P1", 2**70]]}, "type_mismatch", "$.rows[0][2] (column 'Quantity')"),
        (DELETE, {"keys": [["yesterday", "P1"]]}, "type_mismatch", "$.keys[0][0] (column 'Date')"),
        (DELETE, {"keys": [["2024-01-01"]]}, "invalid_row", "$.keys[0]"),
        (DELETE, {"keys": ["P1"]}, "invalid_row", "$.keys[0]"),
        (DELETE, {"keys": [["2024-01-01", 5]]}, "type_mismatch", "$.keys[0][1] (column 'ProductId')"),
    ],
)
def test_a_wrong_body_is_answered_with_its_place(http, session, path, body, code, place):
    status, _, content = http.post(path, body)
    assert (status, content["error"]["code"], content["error"].get("place")) == (400, code, place), content
    assert content["error"]["message"].startswith(place)
    assert (session.epoch, len(session.tables["Sales"])) == (2, 3)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (ROWS, {"rows": [["2024-01-05", "P1", 1], {"Date": "2024-01-06"}]}, "invalid_row"),
        (ROWS, {"rows": [[None, "P1", 1]]}, "invalid_row"),
        (DELETE, {"keys": [[None, "P1"]]}, "invalid_row"),
    ],
)
def test_a_row_that_the_engine_refuses_leaves_nothing_behind(http, session, path, body, code):
    status, _, content = http.post(path, body)
    assert (status, content["error"]["code"]) == (400, code), content
    assert (session.epoch, len(session.tables["Sales"])) == (2, 3)


@pytest.mark.parametrize(
    ("body", "about"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"rows": [[NaN]]}', "NaN"),
        (b'{"rows": [["\\ud800"]]}', "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 10_000, "not JSON"),
    ],
)
def test_what_is_no_json_is_refused(http, body, about):
    status, _, content = http.request("POST", ROWS, body, {"Content-Type": "application/json"})
    assert (status, content["error"]["code"]) == (400, "malformed_json")
    assert about in content["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/cubes/Sale", 404, "unknown_cube"),
        ("GET", "/tables/Sale", 404, "unknown_table"),
        ("POST", "/tables/Sale/rows", 404, "unknown_table"),
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/tables", 405, "method_not_allowed"),
        ("GET", "/cubes/Sales/query", 405, "method_not_allowed"),
        ("POST", "/cubes/Sales/query", 415, "unsupported_media_type"),
        ("GET", "/live", 400, "websocket_expected"),
        ("GET", "/tables/Sales/rows?limit=-1", 400, "invalid_request"),
        ("GET", "/tables/Sales/rows?limit=x", 400, "invalid_request"),
        ("GET", "/tables/Sales/rows?limit=9999999999999", 400, "invalid_request"),
    ],
)
def test_a_wrong_address_is_answered_in_json(http, method, path, status, code):
    given, headers, content = http.request(method, path, b"x" if method == "POST" else None, {})
    assert (given, content["error"]["code"]) == (status, code), content
    assert headers["Content-Type"] == "application/json"
    assert headers["Epoch"] == "2"


@pytest.mark.parametrize(
    ("method", "path", "says", "knows"),
    [
        ("GET", "/cube", "nothing at '/api/v1/cube'. Did you mean '/api/v1/cubes'?", "/api/v1/cubes"),
        ("GET", "/%00/xyz", "docs/http.md", "/api/v1/tables/<table>/rows"),
        ("DELETE", "/tables", "DELETE is not possible at '/api/v1/tables'. Possible: GET, HEAD, OPTIONS.", "GET"),
        ("PUT", "/tables/Sales/rows", "Possible: GET, HEAD, OPTIONS, POST.", "POST"),
    ],
)
def test_a_wrong_address_says_what_there_is(http, method, path, says, knows):
    _, headers, content = http.request(method, path, None, {})
    assert says in content["error"]["message"]
    assert knows in content["error"]["known"]
    assert headers.get("Allow") is None or headers["Allow"].count(knows) == 1


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 100\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["cut off", "bad chunk"],
)
def test_a_body_that_ends_too_early_is_refused(server, session, framing):
    head = b"POST /api/v1/tables/Sales/rows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((server.host, server.port), DEADLINE) as client:
        client.sendall(head + framing)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["code"], "cut off" in error["message"]) == ("bad_request", True)
    assert (session.epoch, session.health().status) == (2, "ok")


def test_unknown_names_come_with_the_known_ones(http):
    _, _, content = http.post(QUERY, {"measures": ["Amuont"]})
    assert "Did you mean 'Amount'?" in content["error"]["message"]
    assert "Quantity.SUM" in content["error"]["known"]


def test_a_body_that_is_too_large_is_refused(server, http):
    server.app.config["MAX_CONTENT_LENGTH"] = 1_000
    status, _, content = http.post(ROWS, {"rows": [["2024-01-01", "P" * 2_000, 1]]})
    assert (status, content["error"]["code"]) == (413, "request_entity_too_large")
    assert "at most 1,000 bytes" in content["error"]["message"]


def test_an_unforeseen_error_is_reported_and_kept_from_the_client(session):
    app = create_app(session)
    app.add_url_rule("/api/v1/broken", view_func=lambda: {}["secret"])
    response = app.test_client().get("/api/v1/broken")
    assert (response.status_code, response.get_json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in response.get_data(as_text=True)
    failure = app.test_client().get("/api/v1/health").get_json()["failures"][0]
    assert (failure["component"], failure["count"]) == ("http", 1)


def test_a_closed_session_answers_that_it_is_closed(session):
    client = create_app(session).test_client()
    session.close()
    answer = client.post(f"/api/v1{ROWS}", json={"rows": [["2024-01-01", "P1", 1]]})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "session_closed")


NAMES = st.sampled_from(
    [
        *("measures", "levels", "filter", "totals", "rows", "keys", "op", "of", "level", "value"),
        *("==", "isin", "and", "or", "not", "isnull"),
        *("Date", "Color", "Sales", "Products", "ProductId", "Quantity", "Quantity.SUM", "Amount", "2024-01-01", "P1"),
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | NAMES
)
RUBBISH = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=4),
    max_leaves=12,
)
BODIES = RUBBISH | st.fixed_dictionaries(
    {},
    optional={
        "measures": st.just(ONE) | RUBBISH,
        "levels": st.lists(NAMES, max_size=2) | RUBBISH,
        "filter": RUBBISH,
        "rows": st.lists(st.lists(SCALARS, max_size=4) | RUBBISH, max_size=3),
        "keys": st.lists(st.lists(SCALARS, max_size=3) | RUBBISH, max_size=3),
    },
)


@given(body=BODIES, path=st.sampled_from([QUERY, ROWS, DELETE, "/tables/Products/rows", "/tables/Typed/rows"]))
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_makes_the_service_fail(session, typed, body, path):
    client = create_app(session).test_client()
    answer = client.post(f"/api/v1{path}", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in (200, 400), answer.get_data(as_text=True)
    if answer.status_code == 400:
        assert answer.get_json()["error"]["code"]
    assert session.health().status == "ok"


@given(body=st.binary(max_size=200), path=st.sampled_from([QUERY, ROWS, DELETE]))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_the_service_fail(session, body, path):
    answer = create_app(session).test_client().post(f"/api/v1{path}", data=body, content_type="application/json")
    assert answer.status_code == 400
