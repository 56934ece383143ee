"""Any JSON sent to the routes of rows, queries, versions and transactions: an answer, never a failure."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app

NAMES = st.sampled_from(
    [
        *("fields", "where", "keys", "limit", "op", "of", "field", "value", "param", "table", "rows", "since", "until"),
        *("==", "<", "isin", "and", "not", "isnull", "append", "update", "delete", "truncate", "list", "get", "cube"),
        *("Date", "Products.Color", "Sales", "Products", "ProductId", "Quantity", "Quantity.SUM", "2024-01-01", "P1"),
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | NAMES
)
RUBBISH = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=4),
    max_leaves=10,
)
PATHS = st.sampled_from(["Date", "Products.Color", "Quantity", "Money", "Curve", "Flag", "Moment", "Real"])
VALUES = RUBBISH | st.fixed_dictionaries({"param": NAMES | st.text()}) | st.fixed_dictionaries({"field": PATHS})
COMPARED = st.fixed_dictionaries(
    {"field": PATHS, "op": st.sampled_from(["==", "!=", "<", ">=", "isin"]), "value": VALUES | st.lists(VALUES)}
)
CONDITIONS = (
    COMPARED | st.fixed_dictionaries({"op": st.sampled_from(["and", "or"]), "of": st.lists(COMPARED)}) | RUBBISH
)
OPERATIONS = st.fixed_dictionaries(
    {"table": st.just("Sales"), "op": st.sampled_from(["append", "update", "delete", "drop_partition", "truncate"])},
    optional={"rows": RUBBISH | st.lists(RUBBISH), "keys": st.lists(RUBBISH), "where": CONDITIONS, "value": SCALARS},
)
VERSIONS = st.fixed_dictionaries({}, optional={"branch": NAMES | st.just("master"), "epoch": st.integers(-2, 4)})
BODIES = st.one_of(
    RUBBISH,
    st.fixed_dictionaries(
        {"fields": st.lists(PATHS, min_size=1, max_size=3)},
        optional={"where": CONDITIONS, "limit": SCALARS, "keys": st.lists(RUBBISH), "epoch": SCALARS},
    ),
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["list", "get", "distinct"]), "table": st.sampled_from(["Sales", "Typed"])},
        optional={"where": CONDITIONS, "fields": st.lists(PATHS)},
    ),
    st.fixed_dictionaries({"operations": st.lists(OPERATIONS | RUBBISH, max_size=3)}),
    st.fixed_dictionaries({"since": VERSIONS | RUBBISH, "until": VERSIONS}, optional={"measures": RUBBISH}),
    st.fixed_dictionaries({"parameters": RUBBISH | st.fixed_dictionaries({"x": RUBBISH, "y": RUBBISH})}),
)
PLACES = st.sampled_from(
    [
        *(f"/tables/{table}/{kind}" for table in ("Sales", "Typed") for kind in ("list", "get", "distinct")),
        *("/queries", "/queries/known/run", "/transactions", "/diff", "/cubes/Sales/diff", "/pins"),
    ]
)
KNOWN = {
    "name": "known",
    "kind": "list",
    "table": "Typed",
    "where": {
        "op": "or",
        "of": [
            {"field": "Money", "op": "<", "value": {"param": "x"}},
            {"field": "Moment", "op": "isin", "value": {"param": "y"}},
        ],
    },
}


@given(body=BODIES, path=PLACES)
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_makes_the_service_fail(session, typed, body, path):
    client = create_app(session).test_client()
    assert client.post("/api/v1/queries", json=KNOWN).status_code == 201
    answer = client.post(f"/api/v1{path}", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in (200, 201, 400, 404), answer.get_data(as_text=True)
    if answer.status_code >= 400:
        assert answer.get_json()["error"]["code"]
    assert session.health().status == "ok"
