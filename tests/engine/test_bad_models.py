"""Bad input: tables, measures and queries that cannot work."""

from __future__ import annotations

import pytest

import gpu_engine as ge
from tests.engine.conftest import Shop
from tests.engine.mistakes import Case, assert_explained, case, other_table

E = ge.errors

MODELS = [
    case(
        "a table without columns",
        lambda shop: shop.session.create_table("t", types={}),
        E.InvalidModelError,
        "at least one column",
    ),
    case(
        "a table without a name",
        lambda shop: shop.session.create_table("", types={"a": ge.LONG}),
        E.InvalidModelError,
        "table name ''",
    ),
    case(
        "a type that is none",
        lambda shop: shop.session.create_table("t", types={"a": int}),
        E.InvalidModelError,
        "column 'a'",
        "int",
        "gpu_engine.LONG",
    ),
    case(
        "types that are none",
        lambda shop: shop.session.create_table("t", types=["a"]),
        E.InvalidModelError,
        "types=['a']",
        "column -> type",
    ),
    case(
        "a type that is none, of a file",
        lambda shop: shop.session.read_csv("nowhere.csv", "t", types={"a": "LONG"}),
        E.InvalidModelError,
        "column 'a'",
        "'LONG' is no type",
    ),
    case(
        "a default of another type",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, defaults={"a": "x"}),
        E.TypeMismatchError,
        "default of column 'a'",
        "'x'",
        "LONG",
    ),
    case(
        "a sum of text",
        lambda shop: shop.cube.measures.update({"m": ge.agg.sum(shop.sales["ProductId"])}),
        E.InvalidModelError,
        "'ProductId' is STRING",
        "numeric",
    ),
    case(
        "a maximum of dates",
        lambda shop: shop.cube.measures.update({"m": ge.agg.max(shop.sales["Date"])}),
        E.InvalidModelError,
        "'Date' is LOCAL_DATE",
    ),
    case(
        "a measure that is a column",
        lambda shop: shop.cube.measures.update({"m": shop.sales["quantity"]}),
        E.InvalidModelError,
        "is a column, not a measure",
        "agg.sum",
    ),
    case(
        "a measure that is none",
        lambda shop: shop.cube.measures.update({"m": "quantity.SUM"}),
        E.InvalidModelError,
        "'quantity.SUM' is no measure",
    ),
    case(
        "a measure of a table that no join reaches",
        lambda shop: shop.session.create_cube(shop.products, "p").measures.update(
            {"m": ge.agg.sum(shop.sales["quantity"])}
        ),
        E.InvalidModelError,
        "no join leads from table 'products' to 'sales'",
    ),
    case(
        "arithmetic with a text",
        lambda shop: shop.sales["quantity"] * "2",
        E.InvalidModelError,
        "'2'",
        "columns and numbers",
    ),
    case("a field without a name", lambda shop: ge.field(""), E.InvalidModelError, "field('')"),
    case(
        "a column twice in the key",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, keys=["a", "a"]),
        E.InvalidModelError,
        "twice",
        "['a', 'a']",
    ),
    case(
        "a column without a name",
        lambda shop: shop.session.create_table("t", types={"": ge.LONG}),
        E.InvalidModelError,
        "column name ''",
    ),
    case(
        "a measure of a cube over another table",
        lambda shop: shop.cube.query(shop.session.create_cube(shop.products, "p").measures["unit_price.SUM"]),
        E.InvalidModelError,
        "'unit_price'",
        "'sales'",
        "another table",
    ),
    case(
        "a measure made of one of a cube over another table",
        lambda shop: shop.cube.measures.update(
            {"m": 1 + shop.session.create_cube(shop.products, "p").measures["unit_price.SUM"]}
        ),
        E.InvalidModelError,
        "'unit_price'",
        "'sales'",
    ),
    case(
        "a measure twice",
        lambda shop: shop.cube.query("Revenue", "Revenue"),
        E.InvalidQueryError,
        "a measure comes twice",
    ),
    case(
        "a level that is a column",
        lambda shop: shop.cube.query("Revenue", levels=[shop.products["color"]]),
        E.UnknownLevelError,
        "products['color']",
        "'color'",
    ),
    case(
        "a hierarchy that cannot be a name",
        lambda shop: shop.cube.hierarchies[["Date"]],
        E.UnknownHierarchyError,
        "Date",
    ),
    case(
        "a cube over a table of another session",
        lambda shop: shop.session.create_cube(other_table()),
        E.InvalidModelError,
        "'elsewhere'",
        "another session",
    ),
    case(
        "a join to a table of another session",
        lambda shop: shop.sales.join(other_table(), on={"ProductId": "Id"}),
        E.InvalidJoinError,
        "'elsewhere'",
        "another session",
    ),
    case(
        "a join to the name of a table",
        lambda shop: shop.sales.join("products", on={"ProductId": "Id"}, name="again"),
        E.InvalidJoinError,
        "'products' is no table",
        "session.tables",
    ),
    case(
        "a join on one column alone",
        lambda shop: shop.sales.join(shop.products, on="ProductId", name="again"),
        E.InvalidJoinError,
        "on='ProductId'",
        "keys: ['Id']",
    ),
    case(
        "a cube over no table",
        lambda shop: shop.session.create_cube(5),
        E.InvalidModelError,
        "5 is no table",
        "session.tables",
    ),
    case(
        "a cube whose name is no text",
        lambda shop: shop.session.create_cube(shop.products, name=5),
        E.InvalidModelError,
        "cube name 5",
    ),
    case(
        "levels that are no list",
        lambda shop: shop.cube.query("Revenue", levels="color"),
        E.InvalidQueryError,
        "levels='color'",
        "levels=['City']",
    ),
    case(
        "no levels instead of none",
        lambda shop: shop.cube.live("Revenue", levels=None),
        E.InvalidQueryError,
        "levels=None",
    ),
    case(
        "a filter that is none",
        lambda shop: shop.cube.query("Revenue", filter="red"),
        E.InvalidQueryError,
        "filter 'red' is no condition",
    ),
    case(
        "a measure of a query that is none",
        lambda shop: shop.cube.query(ge.agg.sum(shop.sales["quantity"])),
        E.InvalidQueryError,
        "cube.measures[...]",
    ),
]


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_what_cannot_work_is_explained(shop: Shop, case: Case) -> None:
    assert_explained(shop, case)
