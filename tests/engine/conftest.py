"""The shop of example J3: sales that point to products, one of which has not arrived."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import gpu_engine as ge

pytest.register_assert_rewrite("tests.engine.answers", "tests.engine.mistakes")


@dataclass
class Shop:
    """Three sales, two products, and a cube with their revenue."""

    session: ge.Session
    sales: ge.Table
    products: ge.Table
    cube: ge.Cube


@pytest.fixture
def shop(session: ge.Session) -> Shop:
    sales = session.create_table("sales", types={"Date": ge.LOCAL_DATE, "ProductId": ge.STRING, "quantity": ge.LONG})
    products = session.create_table(
        "products", types={"Id": ge.STRING, "color": ge.STRING, "unit_price": ge.DOUBLE}, keys=["Id"]
    )
    sales.join(products, on={"ProductId": "Id"})
    sales.append(("2024-01-01", "P1", 10), ("2024-01-01", "P2", 20), ("2024-01-01", "P3", 30))
    products.append(("P1", "blue", 5.0), ("P2", "red", 10.0))
    cube = session.create_cube(sales)
    cube.measures["Revenue"] = ge.agg.sum(sales["quantity"] * products["unit_price"])
    return Shop(session, sales, products, cube)
