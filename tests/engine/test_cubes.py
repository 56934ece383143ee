"""C1 to C4: what a cube makes of its tables, measures of all kinds, and how answers look."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import cells
from tests.engine.conftest import Shop


class TestAutoMode:
    def test_makes_a_hierarchy_of_every_column_that_is_not_numeric_or_is_a_key(self, session: ge.Session) -> None:
        types = {"id": ge.LONG, "name": ge.STRING, "on": ge.BOOLEAN, "day": ge.LOCAL_DATE, "x": ge.DOUBLE}
        cube = session.create_cube(session.create_table("t", types=types, keys=["id"]))
        assert list(cube.hierarchies) == ["id", "name", "on", "day"]
        assert [level.name for level in cube.hierarchies["id"].levels] == ["id"]

    def test_reaches_joined_tables(self, shop: Shop) -> None:
        assert list(shop.cube.hierarchies) == ["Date", "ProductId", "Id", "color"]
        assert shop.cube.levels["color"].table == "products"

    def test_follows_a_join_that_is_made_later(self, session: ge.Session) -> None:
        facts = session.create_table("f", types={"key": ge.STRING})
        cube = session.create_cube(facts)
        assert list(cube.levels) == ["key"]
        facts.join(session.create_table("d", types={"id": ge.STRING, "x": ge.STRING}, keys=["id"]), on={"key": "id"})
        assert list(cube.levels) == ["key", "id", "x"]

    def test_does_not_bring_back_a_hierarchy_that_was_deleted(self, shop: Shop) -> None:
        del shop.cube.hierarchies["ProductId"]
        assert "ProductId" not in shop.cube.hierarchies
        assert "ProductId" not in shop.cube.levels

    def test_sums_and_averages_every_numeric_column_that_is_no_key(self, session: ge.Session) -> None:
        types = {"id": ge.LONG, "x": ge.DOUBLE, "n": ge.INT, "s": ge.STRING}
        cube = session.create_cube(session.create_table("t", types=types, keys=["id"]))
        assert list(cube.measures) == ["contributors.COUNT", "x.SUM", "x.MEAN", "n.SUM", "n.MEAN"]

    def test_names_a_level_that_another_table_has_too_by_its_table(self, session: ge.Session) -> None:
        dimension = session.create_table("d", types={"key": ge.STRING, "name": ge.STRING}, keys=["key"])
        facts = session.create_table("f", types={"key": ge.STRING, "name": ge.STRING})
        facts.join(dimension)
        cube = session.create_cube(facts)
        assert list(cube.hierarchies) == ["key", "name", "d.key", "d.name"]
        assert cube.levels["d", "name"].hierarchy == "d.name"
        with pytest.raises(ge.errors.AmbiguousNameError):
            cube.levels["name"]


class TestManualMode:
    def test_has_nothing_but_the_count(self, shop: Shop) -> None:
        cube = shop.session.create_cube(shop.sales, "manual", mode="manual")
        assert list(cube.measures) == ["contributors.COUNT"]
        assert list(cube.hierarchies) == []

    def test_takes_hierarchies_from_columns(self, shop: Shop) -> None:
        cube = shop.session.create_cube(shop.sales, "manual", mode="manual")
        cube.hierarchies["Color"] = [shop.products["color"]]
        cube.hierarchies["Day"] = shop.sales["Date"]
        assert cells(cube, "contributors.COUNT", levels=["color"]) == {"blue": 1, "red": 1, None: 1}
        assert list(cube.levels) == ["color", "Date"]

    def test_another_mode_is_refused(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match=r"'half'.*'auto' or 'manual'"):
            shop.session.create_cube(shop.sales, "half", mode="half")
        assert "half" not in shop.session.cubes


class TestMeasures:
    def test_aggregate_a_column(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"g": ge.STRING, "x": ge.LONG})
        table.append(("a", 3), ("a", None), ("a", -1), ("b", None), ("c", 5))
        cube = session.create_cube(table)
        for name in ("sum", "count", "mean", "min", "max"):
            cube.measures[name] = getattr(ge.agg, name)(table["x"])
        names = ["sum", "count", "mean", "min", "max", "contributors.COUNT"]
        expected = {"a": (2, 2, 1.0, -1, 3, 3), "b": (0, 0, None, None, None, 1), "c": (5, 1, 5.0, 5, 5, 1)}
        assert cells(cube, *names, levels=["g"]) == expected
        cube.create_provider(["g"], names)
        assert cells(cube, *names, levels=["g"]) == expected

    def test_aggregate_arithmetic_over_columns(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.LONG, "y": ge.DOUBLE})
        table.append((1, 0.5), (2, None), (None, 1.0), (4, 2.0))
        cube = session.create_cube(table)
        x, y = table["x"], table["y"]
        cube.measures["a"] = ge.agg.sum(2 * x - 1)
        cube.measures["b"] = ge.agg.sum(x / y)
        cube.measures["c"] = ge.agg.max(-x + 10)
        cube.measures["d"] = ge.agg.count(x * y)
        cube.measures["e"] = ge.agg.sum(1 / (x - 1))
        cube.measures["ones"] = ge.agg.sum(1)
        assert cells(cube, "a", "b", "c", "d", "e", "ones") == {(): (11, 4.0, 9, 2, math.inf, 4)}

    def test_combine_with_each_other_and_with_numbers(self, shop: Shop) -> None:
        measures = shop.cube.measures
        measures["per piece"] = measures["Revenue"] / measures["quantity.SUM"]
        measures["twice"] = 2 * measures["quantity.SUM"] - 1
        measures["minus"] = -measures["contributors.COUNT"] + 3
        assert cells(shop.cube, "per piece", "twice", "minus", levels=["color"]) == {
            "blue": (5.0, 19, 2),
            "red": (10.0, 39, 2),
            None: (0.0, 59, 2),
        }

    def test_are_null_where_an_operand_is(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.LONG})
        table.append((None,))
        cube = session.create_cube(table)
        cube.measures["m"] = cube.measures["x.MEAN"] + cube.measures["x.SUM"]
        assert cells(cube, "m") == {(): None}

    def test_divide_by_zero_as_floats_do(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.LONG})
        table.append((0,), (0,))
        cube = session.create_cube(table)
        cube.measures["inf"] = cube.measures["contributors.COUNT"] / cube.measures["x.SUM"]
        cube.measures["nan"] = cube.measures["x.SUM"] / cube.measures["x.SUM"]
        infinite, undefined = cells(cube, "inf", "nan")[()]
        assert infinite == math.inf
        assert math.isnan(undefined)

    def test_follow_the_measures_they_use(self, shop: Shop) -> None:
        measures = shop.cube.measures
        measures["twice"] = 2 * measures["Revenue"]
        measures["Revenue"] = ge.agg.sum(shop.sales["quantity"])
        assert cells(shop.cube, "twice") == {(): 120}

    def test_can_be_redefined_by_way_of_what_they_were(self, shop: Shop) -> None:
        shop.cube.measures["Revenue"] = shop.cube.measures["Revenue"] * 2
        assert cells(shop.cube, "Revenue") == {(): 500.0}

    def test_cannot_be_defined_by_way_of_themselves(self, shop: Shop) -> None:
        measures = shop.cube.measures
        measures["a"] = measures["Revenue"] + 1
        measures["b"] = measures["a"] + 1
        with pytest.raises(ge.errors.InvalidModelError, match="by way of itself"):
            measures["a"] = measures["b"] + 1
        assert cells(shop.cube, "b") == {(): 252.0}

    def test_are_asked_for_by_name_or_as_objects(self, shop: Shop) -> None:
        revenue = shop.cube.measures["Revenue"]
        answer = shop.cube.query(revenue, "quantity.SUM", mode="arrow")
        assert answer.to_pylist() == [{"Revenue": 250.0, "quantity.SUM": 60}]

    def test_combine_with_numbers_of_any_size(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.LONG})
        table.append((2,))
        cube = session.create_cube(table)
        cube.measures["a"] = ge.agg.sum(table["x"] * 10**30)
        cube.measures["b"] = cube.measures["x.SUM"] * 10**30
        assert cells(cube, "a", "b") == {(): (2e30, 2e30)}

    def test_can_be_deleted_while_nothing_uses_them(self, shop: Shop) -> None:
        measures = shop.cube.measures
        measures["twice"] = 2 * measures["Revenue"]
        with pytest.raises(ge.errors.InvalidModelError, match=r"'Revenue' is used by \['twice'\]"):
            del measures["Revenue"]
        del measures["twice"]
        del measures["Revenue"]
        assert "Revenue" not in measures

    def test_sum_integers_beyond_what_a_float_holds(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.LONG})
        table.append((2**62,), (1,), (-(2**62) + 2**53,))
        cube = session.create_cube(table)
        cube.create_provider(measures=["x.SUM"])
        assert cells(cube, "x.SUM") == {(): 2**53 + 1}


class TestAnswers:
    def test_have_levels_first_then_measures_in_arrow(self, shop: Shop) -> None:
        answer = shop.cube.query("Revenue", "quantity.SUM", levels=["Date", "color"], mode="arrow")
        assert answer.schema.names == ["Date", "color", "Revenue", "quantity.SUM"]
        assert answer.schema.types == [pa.date32(), pa.string(), pa.float64(), pa.int64()]

    def test_have_one_row_without_levels(self, shop: Shop) -> None:
        frame = shop.cube.query("Revenue", "contributors.COUNT")
        assert frame.to_dict("records") == [{"Revenue": 250.0, "contributors.COUNT": 3}]

    def test_have_one_row_without_levels_also_of_nothing(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"x": ge.LONG})
        cube = session.create_cube(table)
        assert cells(cube, "x.SUM", "x.MEAN", "contributors.COUNT") == {(): (0, None, 0)}
        assert cells(cube, "x.SUM", levels=[], totals=True) == {(): 0}

    def test_have_no_rows_for_cells_without_facts(self, shop: Shop) -> None:
        assert cells(shop.cube, "Revenue", levels=["color"], filter=shop.cube.levels["color"] == "pink") == {}
        frame = shop.cube.query("Revenue", levels=["color"], filter=shop.cube.levels["color"] == "pink")
        assert frame.empty
        assert frame.index.names == ["color"]

    def test_are_indexed_by_level_in_pandas(self, shop: Shop) -> None:
        frame = shop.cube.query("Revenue", levels=["Date", "color"])
        assert frame.loc[("2024-01-01", "red"), "Revenue"] == 200.0
        assert isinstance(frame.index.levels[0], pd.DatetimeIndex)
        single = shop.cube.query("Revenue", levels=["color"])
        assert single.index.name == "color"
        assert single.loc["N/A", "Revenue"] == 0.0

    def test_come_in_the_order_of_the_levels_with_na_last(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"n": ge.LONG, "s": ge.STRING}, keys=["n", "s"])
        names = ["b", "ä", "a", "Z", "", "aa"]
        table.append(*((number, name) for number in (3, -1, 10) for name in names))
        cube = session.create_cube(table)
        ordered = sorted((number, name) for number in (3, -1, 10) for name in names)
        assert list(cells(cube, "contributors.COUNT", levels=["n", "s"])) == ordered
        assert list(cells(cube, "contributors.COUNT", levels=["s"])) == sorted(names)

    def test_with_totals_have_a_row_for_each_shorter_list_of_levels(self, shop: Shop) -> None:
        shop.sales.append(("2024-01-02", "P1", 1))
        answer = shop.cube.query("Revenue", levels=["Date", "color"], totals=True, mode="arrow")
        assert answer.schema.names == ["Date", "color", "Revenue", "__depth__"]
        found = [
            (row["__depth__"], None if row["Date"] is None else row["Date"].day, row["color"], row["Revenue"])
            for row in answer.to_pylist()
        ]
        assert found == [
            (0, None, None, 255.0),
            (1, 1, None, 250.0),
            (2, 1, "blue", 50.0),
            (2, 1, "red", 200.0),
            (2, 1, None, 0.0),
            (1, 2, None, 5.0),
            (2, 2, "blue", 5.0),
        ]

    def test_with_totals_read_total_in_pandas(self, shop: Shop) -> None:
        frame = shop.cube.query("Revenue", levels=["ProductId", "color"], totals=True)
        assert list(frame.index) == [
            ("Total", "Total"),
            ("P1", "Total"),
            ("P1", "blue"),
            ("P2", "Total"),
            ("P2", "red"),
            ("P3", "Total"),
            ("P3", "N/A"),
        ]
        assert frame.loc[("Total", "Total"), "Revenue"] == 250.0

    def test_have_totals_of_means_and_extremes_that_are_recomputed(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"g": ge.STRING, "x": ge.LONG})
        table.append(("a", 1), ("a", 2), ("b", 9))
        cube = session.create_cube(table)
        cube.measures["max"] = ge.agg.max(table["x"])
        assert cells(cube, "x.MEAN", "max", levels=["g"], totals=True) == {
            None: (4.0, 9, 0),
            "a": (1.5, 2, 1),
            "b": (9.0, 9, 1),
        }

    @pytest.mark.parametrize("totals", [False, True])
    @pytest.mark.parametrize("names", [["s"], ["n"], ["d"], ["b"], ["t"], ["s", "n"], ["d", "b", "s"], ["n", "t", "d"]])
    def test_show_the_same_in_pandas_as_in_arrow(self, session: ge.Session, names: list[str], totals: bool) -> None:
        types = {"s": ge.STRING, "n": ge.LONG, "d": ge.LOCAL_DATE, "b": ge.BOOLEAN, "t": ge.TIMESTAMP, "x": ge.DOUBLE}
        table = session.create_table("t", types=types)
        for row in itertools.product(["a", "b", None], [3, -1, None], ["2024-01-02", None], [True, False, None]):
            table.append((*row, None if row[1] is None else f"2024-01-0{2 + row[1]}T12:00:00", 1.5))
        cube = session.create_cube(table)
        cube.hierarchies["n"] = [table["n"]]
        arrow = cube.query("x.SUM", "contributors.COUNT", levels=names, totals=totals, mode="arrow").to_pylist()
        frame = cube.query("x.SUM", "contributors.COUNT", levels=names, totals=totals)
        assert list(frame.index.names) == names
        assert list(frame["x.SUM"]) == [row["x.SUM"] for row in arrow]
        assert list(frame["contributors.COUNT"]) == [row["contributors.COUNT"] for row in arrow]
        for place, name in enumerate(names):
            for label, row in zip(frame.index.get_level_values(name), arrow, strict=True):
                if row.get("__depth__", len(names)) <= place:
                    assert label == "Total"
                elif row[name] is None:
                    assert label == "N/A" if name == "s" else pd.isna(label)
                elif name == "d":
                    assert label.date() == row[name]
                else:
                    assert label == row[name]

    def test_name_every_column_once(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"__depth__": ge.STRING, "n": ge.STRING, "x": ge.LONG})
        table.append(("a", "b", 1))
        cube = session.create_cube(table)
        cube.measures["n"] = ge.agg.sum(table["x"])
        answer = cube.query("n", levels=["__depth__", "n"], totals=True, mode="arrow")
        assert answer.schema.names == ["t.__depth__", "n", "measure.n", "__depth__"]
        assert answer.to_pylist()[2] == {"t.__depth__": "a", "n": "b", "measure.n": 1, "__depth__": 2}

    def test_another_mode_is_refused(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.InvalidQueryError, match=r"'polars'.*'pandas', 'arrow', 'cudf' or 'arrays'"):
            shop.cube.query("Revenue", mode="polars")


class TestFilters:
    @pytest.mark.parametrize("provided", [False, True], ids=["scan", "provider"])
    def test_hold_for_these_cells(self, shop: Shop, provided: bool) -> None:
        if provided:
            shop.cube.create_provider(["color", "ProductId", "Date"], ["quantity.SUM"])
        levels = shop.cube.levels
        color, product = levels["color"], levels["ProductId"]
        for condition, quantity in [
            (color == "red", 20),
            (color != "red", 40),
            (color < "red", 10),
            (color >= "red", 20),
            (color.isin(["blue", None]), 40),
            (color.isnull(), 30),
            (~color.isnull(), 30),
            ((color == "red") | (product == "P3"), 50),
            ((color == "red") & (product == "P3"), 0),
            (levels["Date"] == "2024-01-01", 60),
            (levels["Date"] > "2024-01-01", 0),
        ]:
            assert cells(shop.cube, "quantity.SUM", filter=condition) == {(): quantity}, condition
            explanation = shop.cube.query("quantity.SUM", filter=condition, explain=True)
            assert explanation.source == ("provider" if provided else "scan")

    def test_on_a_column_that_is_no_level_are_refused(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.InvalidQueryError, match=r"quantity.*by its levels only") as caught:
            shop.cube.query("Revenue", filter=shop.sales["quantity"] > 1)
        assert caught.value.code == "invalid_query"

    def test_on_a_value_of_another_type_are_refused(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.TypeMismatchError, match=r"'products.color'.*5 is not a valid STRING"):
            shop.cube.query("Revenue", filter=shop.cube.levels["color"] == 5)

    def test_have_no_truth_value(self, shop: Shop) -> None:
        color = shop.cube.levels["color"]
        with pytest.raises(ge.errors.InvalidQueryError, match="&"):
            shop.cube.query("Revenue", filter=(color == "red") and (color == "blue"))


def test_all_problems_of_a_query_are_reported_at_once(shop: Shop) -> None:
    with pytest.raises(ge.errors.InvalidQueryError) as caught:
        shop.cube.query("Revenues", levels=["colour", "Date", "Date"], filter=shop.cube.levels["Date"] == "soon")
    assert len(caught.value.problems) == 4
    text = str(caught.value)
    assert "Did you mean 'Revenue'?" in text
    assert "Did you mean 'color'?" in text
    assert "twice" in text
    assert "'soon'" in text


def test_a_query_without_measures_is_refused(shop: Shop) -> None:
    with pytest.raises(ge.errors.InvalidQueryError, match=r"at least one measure.*Revenue"):
        shop.cube.query(levels=["color"])
