"""Bad input: names that nothing bears, with the nearest that exist, and names that are taken."""

from __future__ import annotations

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.conftest import Shop
from tests.engine.mistakes import Case, assert_explained, case

E = ge.errors

UNKNOWN = [
    case(
        "a table that does not exist",
        lambda shop: shop.session.tables["sale"],
        E.UnknownTableError,
        "'sale'",
        "Did you mean 'sales'?",
    ),
    case(
        "a table that is like no other",
        lambda shop: shop.session.create_cube("xyz"),
        E.UnknownTableError,
        "'xyz'",
        "There are: 'sales', 'products'.",
    ),
    case(
        "a cube that does not exist",
        lambda shop: shop.session.cubes["profits"],
        E.UnknownCubeError,
        "'profits'",
        "'sales'",
    ),
    case(
        "a column of a table",
        lambda shop: shop.sales["qty"],
        E.UnknownColumnError,
        "'qty'",
        "table 'sales'",
        "'quantity'",
    ),
    case(
        "a column of a row",
        lambda shop: shop.sales.append({"Date": "2024-01-01", "ProductID": "P1"}),
        E.UnknownColumnError,
        "'ProductID'",
        "table 'sales'",
        "Did you mean 'ProductId'?",
    ),
    case(
        "a column of an update",
        lambda shop: shop.products.update([{"Id": "P1", "colour": "red"}]),
        E.UnknownColumnError,
        "'colour'",
        "Did you mean 'color'?",
    ),
    case(
        "a column of Arrow rows",
        lambda shop: shop.products.load_arrow(pa.table({"Id": ["P1"], "weight": [1]})),
        E.UnknownColumnError,
        "'weight'",
        "table 'products'",
    ),
    case(
        "a column of a condition",
        lambda shop: shop.sales.drop(ge.field("products.colour") == "red"),
        E.UnknownColumnError,
        "'colour'",
        "table 'products'",
        "Did you mean 'color'?",
    ),
    case(
        "a join of a condition",
        lambda shop: shop.sales.drop(ge.field("product.color") == "red"),
        E.UnknownColumnError,
        "'product'",
        "table 'sales'",
        "Did you mean 'products'?",
    ),
    case(
        "a column of a measure",
        lambda shop: shop.cube.measures.update({"m": ge.agg.sum(ge.field("quantities"))}),
        E.UnknownColumnError,
        "'quantities'",
        "Did you mean 'quantity'?",
    ),
    case(
        "a key that is no column",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, keys=["b"]),
        E.UnknownColumnError,
        "'b'",
        "'a'",
    ),
    case(
        "a default of no column",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, defaults={"b": 1}),
        E.UnknownColumnError,
        "'b'",
        "'a'",
    ),
    case(
        "a level of a query",
        lambda shop: shop.cube.query("Revenue", levels=["Color"]),
        E.UnknownLevelError,
        "'Color'",
        "cube 'sales'",
        "Did you mean 'color'?",
    ),
    case(
        "a level of a live query",
        lambda shop: shop.cube.live("Revenue", levels=["Color"]),
        E.UnknownLevelError,
        "'Color'",
    ),
    case(
        "a level by table and column",
        lambda shop: shop.cube.levels["sales", "color"],
        E.UnknownLevelError,
        "sales.color",
    ),
    case(
        "a measure",
        lambda shop: shop.cube.query("revenue"),
        E.UnknownMeasureError,
        "'revenue'",
        "cube 'sales'",
        "Did you mean 'Revenue'?",
    ),
    case(
        "a measure of a provider",
        lambda shop: shop.cube.create_provider(["color"], ["revenue"]),
        E.UnknownMeasureError,
        "'revenue'",
    ),
    case(
        "a hierarchy",
        lambda shop: shop.cube.hierarchies["Dates"],
        E.UnknownHierarchyError,
        "'Dates'",
        "Did you mean 'Date'?",
    ),
    case("a hierarchy to delete", lambda shop: shop.cube.hierarchies.pop("Dates"), E.UnknownHierarchyError, "'Dates'"),
    case(
        "a branch of a query",
        lambda shop: shop.cube.query("Revenue", branch="what-if"),
        E.UnknownBranchError,
        "'what-if'",
        "'master'",
    ),
    case(
        "a branch of a live query",
        lambda shop: shop.cube.live("Revenue", branch="what-if"),
        E.UnknownBranchError,
        "'what-if'",
    ),
    case(
        "a branch of a transaction",
        lambda shop: shop.session.start_transaction(branch="what-if").__enter__(),
        E.UnknownBranchError,
        "'what-if'",
    ),
]
TAKEN = [
    case(
        "a table",
        lambda shop: shop.session.create_table("sales", types={"a": ge.LONG}),
        E.DuplicateNameError,
        "table 'sales'",
        "exists already",
    ),
    case(
        "a table for a DataFrame",
        lambda shop: shop.session.read_pandas(shop.sales.head(), "products"),
        E.DuplicateNameError,
        "table 'products'",
    ),
    case("a cube", lambda shop: shop.session.create_cube(shop.products, "sales"), E.DuplicateNameError, "cube 'sales'"),
]


@pytest.mark.parametrize("case", UNKNOWN, ids=lambda case: case.name)
def test_a_name_that_nothing_bears_is_explained(shop: Shop, case: Case) -> None:
    assert_explained(shop, case)


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_a_name_that_is_taken_is_refused(shop: Shop, case: Case) -> None:
    assert_explained(shop, case)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [getattr(E, name).code for name in E.__all__]
    assert len(set(codes)) == len(codes)


def test_every_error_is_an_engine_error_and_a_builtin() -> None:
    for name in E.__all__:
        error = getattr(E, name)
        assert issubclass(error, E.EngineError)
        if error is not E.EngineError:
            own = (LookupError, ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError)
            assert issubclass(error, own), name
