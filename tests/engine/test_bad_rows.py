"""Bad input: rows, updates and drops that do not fit their table, alone and inside a transaction."""

from __future__ import annotations

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.conftest import Shop
from tests.engine.mistakes import Case, assert_explained, case, state

E = ge.errors

MISSHAPEN = [
    case(
        "too few values",
        lambda shop: shop.sales.append(("2024-01-01", "P1", 1), ("2024-01-01", "P1")),
        E.InvalidRowError,
        "table 'sales', row 1",
        "2 values for 3 columns",
        "'quantity'",
    ),
    case(
        "too many values",
        lambda shop: shop.sales.append(("2024-01-01", "P1", 1, 2)),
        E.InvalidRowError,
        "row 0",
        "4 values for 3 columns",
    ),
    case("no row at all", lambda shop: shop.sales.append("2024-01-01"), E.InvalidRowError, "'2024-01-01' is no row"),
    case(
        "a null in the key",
        lambda shop: shop.products.append(("P8", "x", 1.0), (None, "x", 1.0)),
        E.InvalidRowError,
        "table 'products', row 1",
        "key column 'Id' is null",
    ),
    case(
        "a row without its key",
        lambda shop: shop.products.append({"color": "x"}),
        E.InvalidRowError,
        "key column 'Id' is null",
    ),
    case(
        "a null in the key of Arrow rows",
        lambda shop: shop.products.load_arrow(pa.table({"Id": ["P8", None]})),
        E.InvalidRowError,
        "row 1",
        "key column 'Id' is null",
    ),
    case(
        "Arrow rows without the key",
        lambda shop: shop.products.load_arrow(pa.table({"color": ["x"]})),
        E.InvalidRowError,
        "key column 'Id' is null",
    ),
    case(
        "an update of an unknown key",
        lambda shop: shop.products.update([{"Id": "P1", "color": "x"}, {"Id": "P9", "color": "x"}]),
        E.InvalidRowError,
        "row 1",
        "{'Id': 'P9'}",
        "append()",
    ),
    case(
        "an update without the key",
        lambda shop: shop.products.update([{"color": "x"}]),
        E.InvalidRowError,
        "all keys ['Id']",
    ),
    case(
        "an update of nothing but the key",
        lambda shop: shop.products.update([{"Id": "P1"}]),
        E.InvalidRowError,
        "at least one other column",
    ),
    case(
        "an update of a table without a key",
        lambda shop: shop.sales.update([{"ProductId": "P1", "quantity": 1}]),
        E.InvalidRowError,
        "table 'sales'",
        "no key",
    ),
    case(
        "a drop by keys from a table without a key",
        lambda shop: shop.sales.drop(keys=["P1"]),
        E.InvalidRowError,
        "table 'sales'",
        "no key",
    ),
    case(
        "a drop by keys with too many parts",
        lambda shop: shop.products.drop(keys=[("P1", "red")]),
        E.InvalidRowError,
        "('P1', 'red')",
        "['Id']",
    ),
    case(
        "a drop by a key of another type",
        lambda shop: shop.products.drop(keys=["P1", 5]),
        E.TypeMismatchError,
        "'Id', row 1",
        "5 is not a valid STRING",
    ),
    case(
        "a drop of nothing in particular",
        lambda shop: shop.products.drop(),
        E.InvalidQueryError,
        "condition or keys=[...]",
        "truncate()",
    ),
    case(
        "a drop by what is no condition",
        lambda shop: shop.products.drop("P1"),
        E.InvalidQueryError,
        "'P1' is not a condition",
    ),
    case(
        "a value of another type",
        lambda shop: shop.products.append(("P8", "x", 1.0), ("P9", "x", "dear")),
        E.TypeMismatchError,
        "table 'products', column 'unit_price', row 1",
        "'dear'",
        "DOUBLE",
    ),
    case(
        "a condition with a value of another type",
        lambda shop: shop.products.drop(shop.products["color"] == 5),
        E.TypeMismatchError,
        "'color'",
        "5 is not a valid STRING",
    ),
    case(
        "a condition between a text and a number",
        lambda shop: shop.products.drop(shop.products["color"] == shop.products["unit_price"]),
        E.TypeMismatchError,
        "'color'",
    ),
]


@pytest.mark.parametrize("case", MISSHAPEN, ids=lambda case: case.name)
def test_what_does_not_fit_a_table_is_explained(shop: Shop, case: Case) -> None:
    assert_explained(shop, case)


@pytest.mark.parametrize("case", MISSHAPEN[:8], ids=lambda case: case.name)
def test_a_mistake_inside_a_transaction_rolls_all_of_it_back(shop: Shop, case: Case) -> None:
    before = state(shop)
    with pytest.raises(case.error), shop.session.start_transaction():
        shop.products.append(("P3", "green", 15.0))
        shop.sales.truncate()
        case.mistake(shop)
    assert state(shop) == before
