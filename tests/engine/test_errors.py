"""Bad input: every error says what was given and what exists, bears a stable code, and leaves nothing half done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import cells, rows
from tests.engine.conftest import Shop

E = ge.errors


@dataclass(frozen=True)
class Case:
    """One mistake, and what the engine says to it."""

    name: str
    mistake: Callable[[Shop], Any]
    error: type[Exception]
    code: str
    builtin: type[Exception]
    says: tuple[str, ...]


UNKNOWN = [
    Case(
        "a table that does not exist",
        lambda shop: shop.session.tables["sale"],
        E.UnknownTableError,
        "unknown_table",
        KeyError,
        ("'sale'", "Did you mean 'sales'?"),
    ),
    Case(
        "a table that is like no other",
        lambda shop: shop.session.create_cube("xyz"),
        E.UnknownTableError,
        "unknown_table",
        KeyError,
        ("'xyz'", "There are: 'sales', 'products'."),
    ),
    Case(
        "a cube that does not exist",
        lambda shop: shop.session.cubes["profits"],
        E.UnknownCubeError,
        "unknown_cube",
        KeyError,
        ("'profits'", "'sales'"),
    ),
    Case(
        "a column of a table",
        lambda shop: shop.sales["qty"],
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'qty'", "table 'sales'", "'quantity'"),
    ),
    Case(
        "a column of a row",
        lambda shop: shop.sales.append({"Date": "2024-01-01", "ProductID": "P1"}),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'ProductID'", "table 'sales'", "Did you mean 'ProductId'?"),
    ),
    Case(
        "a column of an update",
        lambda shop: shop.products.update([{"Id": "P1", "colour": "red"}]),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'colour'", "Did you mean 'color'?"),
    ),
    Case(
        "a column of Arrow rows",
        lambda shop: shop.products.load_arrow(pa.table({"Id": ["P1"], "weight": [1]})),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'weight'", "table 'products'"),
    ),
    Case(
        "a column of a condition",
        lambda shop: shop.sales.drop(ge.field("products.colour") == "red"),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'colour'", "table 'products'", "Did you mean 'color'?"),
    ),
    Case(
        "a join of a condition",
        lambda shop: shop.sales.drop(ge.field("product.color") == "red"),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'product'", "table 'sales'", "Did you mean 'products'?"),
    ),
    Case(
        "a column of a measure",
        lambda shop: shop.cube.measures.update({"m": ge.agg.sum(ge.field("quantities"))}),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'quantities'", "Did you mean 'quantity'?"),
    ),
    Case(
        "a key that is no column",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, keys=["b"]),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'b'", "'a'"),
    ),
    Case(
        "a default of no column",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, defaults={"b": 1}),
        E.UnknownColumnError,
        "unknown_column",
        KeyError,
        ("'b'", "'a'"),
    ),
    Case(
        "a level of a query",
        lambda shop: shop.cube.query("Revenue", levels=["Color"]),
        E.UnknownLevelError,
        "unknown_level",
        KeyError,
        ("'Color'", "cube 'sales'", "Did you mean 'color'?"),
    ),
    Case(
        "a level of a live query",
        lambda shop: shop.cube.live("Revenue", levels=["Color"]),
        E.UnknownLevelError,
        "unknown_level",
        KeyError,
        ("'Color'",),
    ),
    Case(
        "a level by table and column",
        lambda shop: shop.cube.levels["sales", "color"],
        E.UnknownLevelError,
        "unknown_level",
        KeyError,
        ("sales.color",),
    ),
    Case(
        "a measure",
        lambda shop: shop.cube.query("revenue"),
        E.UnknownMeasureError,
        "unknown_measure",
        KeyError,
        ("'revenue'", "cube 'sales'", "Did you mean 'Revenue'?"),
    ),
    Case(
        "a measure of a provider",
        lambda shop: shop.cube.create_provider(["color"], ["revenue"]),
        E.UnknownMeasureError,
        "unknown_measure",
        KeyError,
        ("'revenue'",),
    ),
    Case(
        "a hierarchy",
        lambda shop: shop.cube.hierarchies["Dates"],
        E.UnknownHierarchyError,
        "unknown_hierarchy",
        KeyError,
        ("'Dates'", "Did you mean 'Date'?"),
    ),
    Case(
        "a hierarchy to delete",
        lambda shop: shop.cube.hierarchies.pop("Dates"),
        E.UnknownHierarchyError,
        "unknown_hierarchy",
        KeyError,
        ("'Dates'",),
    ),
    Case(
        "a branch of a query",
        lambda shop: shop.cube.query("Revenue", branch="what-if"),
        E.UnknownBranchError,
        "unknown_branch",
        KeyError,
        ("'what-if'", "'master'"),
    ),
    Case(
        "a branch of a live query",
        lambda shop: shop.cube.live("Revenue", branch="what-if"),
        E.UnknownBranchError,
        "unknown_branch",
        KeyError,
        ("'what-if'",),
    ),
    Case(
        "a branch of a transaction",
        lambda shop: shop.session.start_transaction(branch="what-if").__enter__(),
        E.UnknownBranchError,
        "unknown_branch",
        KeyError,
        ("'what-if'",),
    ),
]
TAKEN = [
    Case(
        "a table",
        lambda shop: shop.session.create_table("sales", types={"a": ge.LONG}),
        E.DuplicateNameError,
        "duplicate_name",
        ValueError,
        ("table 'sales'", "exists already"),
    ),
    Case(
        "a table for a DataFrame",
        lambda shop: shop.session.read_pandas(shop.sales.head(), "products"),
        E.DuplicateNameError,
        "duplicate_name",
        ValueError,
        ("table 'products'",),
    ),
    Case(
        "a cube",
        lambda shop: shop.session.create_cube(shop.products, "sales"),
        E.DuplicateNameError,
        "duplicate_name",
        ValueError,
        ("cube 'sales'",),
    ),
]
MISSHAPEN = [
    Case(
        "too few values",
        lambda shop: shop.sales.append(("2024-01-01", "P1", 1), ("2024-01-01", "P1")),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("table 'sales', row 1", "2 values for 3 columns", "'quantity'"),
    ),
    Case(
        "too many values",
        lambda shop: shop.sales.append(("2024-01-01", "P1", 1, 2)),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("row 0", "4 values for 3 columns"),
    ),
    Case(
        "no row at all",
        lambda shop: shop.sales.append("2024-01-01"),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("'2024-01-01' is no row",),
    ),
    Case(
        "a null in the key",
        lambda shop: shop.products.append(("P8", "x", 1.0), (None, "x", 1.0)),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("table 'products', row 1", "key column 'Id' is null"),
    ),
    Case(
        "a row without its key",
        lambda shop: shop.products.append({"color": "x"}),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("key column 'Id' is null",),
    ),
    Case(
        "a null in the key of Arrow rows",
        lambda shop: shop.products.load_arrow(pa.table({"Id": ["P8", None]})),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("row 1", "key column 'Id' is null"),
    ),
    Case(
        "Arrow rows without the key",
        lambda shop: shop.products.load_arrow(pa.table({"color": ["x"]})),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("key column 'Id' is null",),
    ),
    Case(
        "an update of an unknown key",
        lambda shop: shop.products.update([{"Id": "P1", "color": "x"}, {"Id": "P9", "color": "x"}]),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("row 1", "{'Id': 'P9'}", "append()"),
    ),
    Case(
        "an update without the key",
        lambda shop: shop.products.update([{"color": "x"}]),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("all keys ['Id']",),
    ),
    Case(
        "an update of nothing but the key",
        lambda shop: shop.products.update([{"Id": "P1"}]),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("at least one other column",),
    ),
    Case(
        "an update of a table without a key",
        lambda shop: shop.sales.update([{"ProductId": "P1", "quantity": 1}]),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("table 'sales'", "no key"),
    ),
    Case(
        "a drop by keys from a table without a key",
        lambda shop: shop.sales.drop(keys=["P1"]),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("table 'sales'", "no key"),
    ),
    Case(
        "a drop by keys with too many parts",
        lambda shop: shop.products.drop(keys=[("P1", "red")]),
        E.InvalidRowError,
        "invalid_row",
        ValueError,
        ("('P1', 'red')", "['Id']"),
    ),
    Case(
        "a drop by a key of another type",
        lambda shop: shop.products.drop(keys=["P1", 5]),
        E.TypeMismatchError,
        "type_mismatch",
        TypeError,
        ("'Id', row 1", "5 is not a valid STRING"),
    ),
    Case(
        "a drop of nothing in particular",
        lambda shop: shop.products.drop(),
        E.InvalidQueryError,
        "invalid_query",
        ValueError,
        ("condition or keys=[...]", "truncate()"),
    ),
    Case(
        "a drop by what is no condition",
        lambda shop: shop.products.drop("P1"),  # type: ignore[arg-type]
        E.InvalidQueryError,
        "invalid_query",
        ValueError,
        ("'P1' is not a condition",),
    ),
    Case(
        "a value of another type",
        lambda shop: shop.products.append(("P8", "x", 1.0), ("P9", "x", "dear")),
        E.TypeMismatchError,
        "type_mismatch",
        TypeError,
        ("table 'products', column 'unit_price', row 1", "'dear'", "DOUBLE"),
    ),
    Case(
        "a condition with a value of another type",
        lambda shop: shop.products.drop(shop.products["color"] == 5),
        E.TypeMismatchError,
        "type_mismatch",
        TypeError,
        ("'color'", "5 is not a valid STRING"),
    ),
    Case(
        "a condition between a text and a number",
        lambda shop: shop.products.drop(shop.products["color"] == shop.products["unit_price"]),
        E.TypeMismatchError,
        "type_mismatch",
        TypeError,
        ("'color'",),
    ),
]
MODELS = [
    Case(
        "a table without columns",
        lambda shop: shop.session.create_table("t", types={}),
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("at least one column",),
    ),
    Case(
        "a table without a name",
        lambda shop: shop.session.create_table("", types={"a": ge.LONG}),
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("table name ''",),
    ),
    Case(
        "a type that is none",
        lambda shop: shop.session.create_table("t", types={"a": int}),  # type: ignore[dict-item]
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("column 'a'", "int", "gpu_engine.LONG"),
    ),
    Case(
        "a default of another type",
        lambda shop: shop.session.create_table("t", types={"a": ge.LONG}, defaults={"a": "x"}),
        E.TypeMismatchError,
        "type_mismatch",
        TypeError,
        ("default of column 'a'", "'x'", "LONG"),
    ),
    Case(
        "a sum of text",
        lambda shop: shop.cube.measures.update({"m": ge.agg.sum(shop.sales["ProductId"])}),
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("'ProductId' is STRING", "numeric"),
    ),
    Case(
        "a maximum of dates",
        lambda shop: shop.cube.measures.update({"m": ge.agg.max(shop.sales["Date"])}),
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("'Date' is LOCAL_DATE",),
    ),
    Case(
        "a measure that is a column",
        lambda shop: shop.cube.measures.update({"m": shop.sales["quantity"]}),  # type: ignore[dict-item]
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("is a column, not a measure", "agg.sum"),
    ),
    Case(
        "a measure that is none",
        lambda shop: shop.cube.measures.update({"m": "quantity.SUM"}),  # type: ignore[dict-item]
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("'quantity.SUM' is no measure",),
    ),
    Case(
        "a measure of a table that no join reaches",
        lambda shop: shop.session.create_cube(shop.products, "p").measures.update(
            {"m": ge.agg.sum(shop.sales["quantity"])}
        ),
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("no join leads from table 'products' to 'sales'",),
    ),
    Case(
        "arithmetic with a text",
        lambda shop: shop.sales["quantity"] * "2",
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("'2'", "columns and numbers"),
    ),
    Case(
        "a field without a name",
        lambda shop: ge.field(""),
        E.InvalidModelError,
        "invalid_model",
        ValueError,
        ("field('')",),
    ),
    Case(
        "a filter that is none",
        lambda shop: shop.cube.query("Revenue", filter="red"),  # type: ignore[arg-type]
        E.InvalidQueryError,
        "invalid_query",
        ValueError,
        ("filter 'red' is no condition",),
    ),
    Case(
        "a measure of a query that is none",
        lambda shop: shop.cube.query(ge.agg.sum(shop.sales["quantity"])),
        E.InvalidQueryError,
        "invalid_query",
        ValueError,
        ("cube.measures[...]",),
    ),
]


def state(shop: Shop) -> tuple[Any, ...]:
    """Everything that a mistake must leave as it is."""
    session = shop.session
    return (
        session.epoch,
        {name: rows(table) for name, table in session.tables.items()},
        list(session.cubes.keys() - {"p"}),
        list(shop.cube.measures),
        list(shop.cube.hierarchies),
        cells(shop.cube, "Revenue", "contributors.COUNT", levels=["color", "Date"]),
        [figures.levels for figures in session.statistics().providers["sales"]],
        session.health(),
    )


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(case, id=f"unknown: {case.name}") for case in UNKNOWN),
        *(pytest.param(case, id=f"taken: {case.name}") for case in TAKEN),
        *(pytest.param(case, id=f"misshapen: {case.name}") for case in MISSHAPEN),
        *(pytest.param(case, id=f"model: {case.name}") for case in MODELS),
    ],
)
def test_a_mistake_is_explained_and_leaves_nothing(shop: Shop, case: Case) -> None:
    shop.cube.create_provider(["color"], ["Revenue"])
    before = state(shop)
    with pytest.raises(case.error) as caught:
        case.mistake(shop)
    assert type(caught.value) is case.error
    assert isinstance(caught.value, ge.errors.EngineError)
    assert isinstance(caught.value, case.builtin)
    assert caught.value.code == case.code
    for part in case.says:
        assert part in str(caught.value)
    assert state(shop) == before
    report = shop.products.append(("P3", "green", 15.0))
    assert report is not None
    assert report.epoch == before[0] + 1
    assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50.0, "green": 450.0, "red": 200.0}


@pytest.mark.parametrize("case", MISSHAPEN[:8], ids=lambda case: case.name)
def test_a_mistake_inside_a_transaction_rolls_all_of_it_back(shop: Shop, case: Case) -> None:
    before = state(shop)
    with pytest.raises(case.error), shop.session.start_transaction():
        shop.products.append(("P3", "green", 15.0))
        shop.sales.truncate()
        case.mistake(shop)
    assert state(shop) == before


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [getattr(E, name).code for name in E.__all__]
    assert len(set(codes)) == len(codes)


def test_every_error_is_an_engine_error_and_a_builtin() -> None:
    for name in E.__all__:
        error = getattr(E, name)
        assert issubclass(error, E.EngineError)
        if error is not E.EngineError:
            assert issubclass(error, KeyError | LookupError | ValueError | TypeError | RuntimeError), name
