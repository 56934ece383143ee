"""C5: stored aggregates that answer by themselves, kept by deltas; an extreme that goes is found again cheaply."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.cube.rows_by_cell import RowsByCell
from tests.engine.answers import cells
from tests.engine.conftest import Shop


class TestCovering:
    def test_answers_what_it_covers_without_being_told(self, shop: Shop) -> None:
        assert shop.cube.query("Revenue", levels=["color"], explain=True).source == "scan"
        shop.cube.create_provider(["color", "Date"], ["Revenue", "contributors.COUNT"])
        explanation = shop.cube.query("Revenue", levels=["color"], explain=True)
        assert (explanation.source, explanation.provider) == ("provider", "products.color x Date")
        assert (explanation.cells, explanation.rows_read) == (3, 0)
        assert explanation.milliseconds >= 0

    def test_leaves_the_rest_to_a_scan(self, shop: Shop) -> None:
        shop.cube.create_provider(["color"], ["Revenue"])
        for measures, levels in [(["Revenue"], ["Date"]), (["quantity.SUM"], ["color"])]:
            explanation = shop.cube.query(*measures, levels=levels, explain=True)
            assert (explanation.source, explanation.provider, explanation.rows_read) == ("scan", None, 3)

    def test_answers_measures_made_of_what_it_has(self, shop: Shop) -> None:
        shop.cube.create_provider(["color"], ["quantity.MEAN"])
        assert shop.cube.query("quantity.SUM", "contributors.COUNT", explain=True).source == "provider"
        shop.cube.measures["other"] = ge.agg.sum(shop.sales["quantity"]) + 1
        assert shop.cube.query("other", levels=["color"], explain=True).source == "provider"

    def test_the_smallest_that_covers_answers(self, shop: Shop) -> None:
        shop.sales.append(*(("2024-01-01", f"Q{number}", 1) for number in range(100)))
        shop.cube.create_provider(["color", "ProductId", "Date"], ["Revenue"])
        shop.cube.create_provider(["color"], ["Revenue"])
        assert shop.cube.query("Revenue", levels=["color"], explain=True).provider == "products.color"
        assert shop.cube.query("Revenue", explain=True).provider == "products.color"

    def test_with_a_filter_answers_that_filter_only(self, shop: Shop) -> None:
        color = shop.cube.levels["color"]
        shop.cube.create_provider(["ProductId"], ["Revenue"], filter=color == "red")
        asked = {"levels": ["ProductId"], "explain": True}
        assert shop.cube.query("Revenue", **asked).source == "scan"
        assert shop.cube.query("Revenue", filter=color == "blue", **asked).source == "scan"
        assert shop.cube.query("Revenue", filter=color == "red", **asked).source == "provider"
        assert cells(shop.cube, "Revenue", levels=["ProductId"], filter=color == "red") == {"P2": 200.0}

    def test_with_a_filter_follows_facts_in_and_out_of_it(self, shop: Shop) -> None:
        color = shop.cube.levels["color"]
        shop.cube.create_provider(["ProductId"], ["quantity.SUM"], filter=color.isin(["red", None]))
        shop.products.append(("P1", "red", 1.0), ("P2", "blue", 1.0))
        condition = color.isin(["red", None])
        assert cells(shop.cube, "quantity.SUM", levels=["ProductId"], filter=condition) == {"P1": 10, "P3": 30}

    def test_of_totals_answers_from_its_cells(self, shop: Shop) -> None:
        shop.cube.create_provider(["color", "Date"], ["Revenue"])
        assert shop.cube.query("Revenue", levels=["Date", "color"], totals=True, explain=True).source == "provider"

    def test_equal_ones_are_kept_once(self, shop: Shop) -> None:
        one = shop.cube.create_provider(["color"], ["Revenue"])
        assert shop.cube.create_provider(["color"], ["Revenue"]) is one

    def test_takes_many_levels_by_looking_cells_up(self, session: ge.Session) -> None:
        """Seven levels of 41 members have far more combinations than can be numbered in advance."""
        names = [f"l{number}" for number in range(7)]
        table = session.create_table("t", types={"k": ge.LONG, **dict.fromkeys(names, ge.LONG)}, keys=["k"])
        cube = session.create_cube(table)
        cube.measures["most"] = ge.agg.max(table["k"])
        for name in names:
            cube.hierarchies[name] = [table[name]]
        cube.create_provider(names, ["contributors.COUNT", "most"])
        chance = random.Random(7)
        held = {}
        for key in range(120):
            members = tuple(chance.choice([None, *range(40)]) for _ in names)
            held[key] = members
            table.append((key, *members))
        for key in chance.sample(range(120), 60):
            table.drop(keys=[key])
            del held[key]
        expected: dict[object, tuple[int, int]] = {}
        for key, members in held.items():
            count, most = expected.get(members[:3], (0, 0))
            expected[members[:3]] = (count + 1, max(most, key))
        assert cells(cube, "contributors.COUNT", "most", levels=names[:3]) == expected
        assert cube.query("most", levels=names[:3], explain=True).source == "provider"
        assert set(cells(cube, "most", levels=names)) == set(held.values())


class TestDeltas:
    def test_cost_one_commit_each_and_never_a_full_refresh(self, shop: Shop) -> None:
        provider = shop.cube.create_provider(["color"], ["Revenue"])
        for number in range(10):
            shop.products.append(("P1", f"color {number}", float(number)))
        figures = provider.statistics()
        assert (figures.commits, figures.cells, figures.full_refresh_total) == (10, 3, 0)
        assert figures.levels == ("products.color",)
        assert set(figures.aggregates) == {"rows", "count", "sum"}

    def test_clean_up_after_floats(self, session: ge.Session) -> None:
        """A cell that lost all its values is exactly zero again, whatever was rounded on the way."""
        table = session.create_table("t", types={"k": ge.LONG, "g": ge.STRING, "x": ge.DOUBLE}, keys=["k"])
        cube = session.create_cube(table)
        cube.create_provider(["g"], ["x.SUM", "x.MEAN"])
        table.append((1, "a", 0.1), (2, "a", 0.2), (3, "a", 0.3), (4, "a", None))
        table.drop(keys=[2])
        table.drop(keys=[1, 3])
        assert cells(cube, "x.SUM", "x.MEAN", levels=["g"]) == {"a": (0.0, None)}

    @pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
    @pytest.mark.parametrize("levels", [["g"], []])
    @pytest.mark.parametrize("measures", [["x.SUM"], ["x.SUM", "x.MEAN", "least"]])
    def test_recover_from_infinities_and_nan(
        self, session: ge.Session, poison: float, levels: list[str], measures: list[str]
    ) -> None:
        table = session.create_table("t", types={"k": ge.LONG, "g": ge.STRING, "x": ge.DOUBLE}, keys=["k"])
        cube = session.create_cube(table)
        cube.measures["least"] = ge.agg.min(table["x"])
        cube.create_provider(levels, measures)
        table.append((1, "a", 1.0), (2, "a", 2.0), (3, "b", 4.0))
        before = cells(cube, *measures, levels=levels)
        table.append((9, "a", poison))
        assert cells(cube, *measures, levels=levels) != before
        table.append((9, "b", poison))
        table.append((9, "b", 8.0))
        table.drop(keys=[9])
        assert cells(cube, *measures, levels=levels) == before

    def test_cover_the_rows_that_were_there_before(self, shop: Shop) -> None:
        shop.sales.drop(shop.sales["ProductId"] == "P2")
        shop.cube.create_provider(["color"], ["Revenue"])
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50.0, None: 0.0}


def rereads(session: ge.Session, name: str = "t") -> int:
    return sum(provider.cells_reread for provider in session.statistics().providers[name])


class TestExtremes:
    @pytest.fixture
    def prices(self, session: ge.Session) -> ge.Cube:
        table = session.create_table("t", types={"k": ge.LONG, "g": ge.STRING, "x": ge.LONG}, keys=["k"])
        cube = session.create_cube(table)
        cube.measures["most"] = ge.agg.max(table["x"])
        cube.measures["least"] = ge.agg.min(table["x"])
        table.append((1, "a", 10), (2, "a", 30), (3, "a", 20), (4, "b", 5), (5, "b", None))
        cube.create_provider(["g"], ["most", "least"])
        return cube

    def extremes(self, cube: ge.Cube) -> dict[object, object]:
        assert cube.query("most", levels=["g"], explain=True).source == "provider"
        return cells(cube, "least", "most", levels=["g"])

    def test_are_found_again_when_their_row_goes(self, prices: ge.Cube, session: ge.Session) -> None:
        prices.fact.drop(keys=[2])
        assert self.extremes(prices) == {"a": (10, 20), "b": (5, 5)}
        prices.fact.drop(keys=[1])
        assert self.extremes(prices) == {"a": (20, 20), "b": (5, 5)}
        assert rereads(session) == 2

    def test_are_found_again_when_their_row_changes(self, prices: ge.Cube, session: ge.Session) -> None:
        prices.fact.append((2, "a", 15))
        assert self.extremes(prices) == {"a": (10, 20), "b": (5, 5)}
        assert rereads(session) == 1

    def test_are_found_again_when_their_row_leaves_the_cell(self, prices: ge.Cube) -> None:
        prices.fact.update([{"k": 2, "g": "b"}])
        assert self.extremes(prices) == {"a": (10, 20), "b": (5, 30)}

    def test_are_null_when_no_value_is_left(self, prices: ge.Cube) -> None:
        prices.fact.update([{"k": 4, "x": None}])
        assert self.extremes(prices) == {"a": (10, 30), "b": (None, None)}
        prices.fact.update([{"k": 4, "x": -1}])
        assert self.extremes(prices) == {"a": (10, 30), "b": (-1, -1)}

    def test_are_not_read_again_when_other_rows_go(self, prices: ge.Cube, session: ge.Session) -> None:
        prices.fact.drop(keys=[3])
        prices.fact.append((5, "b", 5), (3, "a", 29))
        prices.fact.update([{"k": 2, "x": 31}])
        assert self.extremes(prices) == {"a": (10, 31), "b": (5, 5)}
        assert rereads(session) == 0

    def test_are_not_read_again_when_the_row_is_replaced_by_a_greater(
        self, prices: ge.Cube, session: ge.Session
    ) -> None:
        with session.start_transaction():
            prices.fact.drop(keys=[2])
            prices.fact.append((7, "a", 99))
        assert self.extremes(prices) == {"a": (10, 99), "b": (5, 5)}
        assert rereads(session) == 0

    def test_move_with_a_dimension(self, session: ge.Session) -> None:
        facts = session.create_table("t", types={"k": ge.LONG, "d": ge.STRING, "x": ge.LONG}, keys=["k"])
        dimension = session.create_table("dim", types={"id": ge.STRING, "g": ge.STRING, "f": ge.LONG}, keys=["id"])
        facts.join(dimension, on={"d": "id"})
        dimension.append(("p", "one", 1), ("q", "one", 2))
        facts.append((1, "p", 10), (2, "q", 10), (3, "p", 30))
        cube = session.create_cube(facts)
        cube.measures["most"] = ge.agg.max(facts["x"] * dimension["f"])
        cube.create_provider(["g"], ["most"])
        assert cells(cube, "most", levels=["g"]) == {"one": 30}
        dimension.append(("p", "two", 1))
        assert cells(cube, "most", levels=["g"]) == {"one": 20, "two": 30}
        dimension.append(("q", "two", 4))
        assert cells(cube, "most", levels=["g"]) == {"two": 40}
        dimension.append(("q", "two", 0))
        assert cells(cube, "most", levels=["g"]) == {"two": 30}
        dimension.truncate()
        assert cells(cube, "most", levels=["g"]) == {None: None}

    def test_are_right_after_a_row_dropped_and_written_again_unchanged(
        self, prices: ge.Cube, session: ge.Session
    ) -> None:
        """The unchanged row keeps its place in the cell while the cell is read again for the row that goes."""
        with session.start_transaction():
            prices.fact.drop(keys=[1, 3])
            prices.fact.append((1, "a", 10), (3, "a", 20))
            prices.fact.drop(keys=[2])
        assert self.extremes(prices) == {"a": (10, 20), "b": (5, 5)}
        prices.fact.drop(keys=[3])
        assert self.extremes(prices) == {"a": (10, 10), "b": (5, 5)}

    @pytest.mark.parametrize("kind", ["INT", "DOUBLE", "FLOAT", "LONG"])
    def test_reach_the_ends_of_their_type(self, session: ge.Session, kind: str) -> None:
        ends = {
            "INT": (-(2**31), 2**31 - 1),
            "LONG": (-(2**63), 2**63 - 1),
            "FLOAT": (-math.inf, math.inf),
            "DOUBLE": (-math.inf, math.inf),
        }[kind]
        table = session.create_table("t", types={"k": ge.LONG, "x": getattr(ge, kind)}, keys=["k"])
        cube = session.create_cube(table)
        cube.measures["most"], cube.measures["least"] = ge.agg.max(table["x"]), ge.agg.min(table["x"])
        cube.create_provider(measures=["most", "least"])
        for low, high in (ends, ends[::-1], (0, 0)):
            table.append((1, low), (2, low))
            assert cells(cube, "least", "most") == {(): (low, low)}
            table.append((1, high), (2, high))
            assert cells(cube, "least", "most") == {(): (high, high)}
            table.append((1, None), (2, None))
            assert cells(cube, "least", "most") == {(): (None, None)}

    @pytest.mark.parametrize("rows", [1_000, 20_000])
    def test_cost_the_cell_that_lost_one_whatever_the_size_of_the_table(
        self, session: ge.Session, rows: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find, read = RowsByCell.find, list[int]()

        def counting(self: RowsByCell, cells: Any, size: int) -> Any:
            found = find(self, cells, size)
            read.append(len(found[0]))
            return found

        monkeypatch.setattr(RowsByCell, "find", counting)
        table = session.create_table("t", types={"k": ge.LONG, "g": ge.LONG, "x": ge.LONG}, keys=["k"])
        table.append(*((key, key % (rows // 10), key) for key in range(rows)))
        cube = session.create_cube(table)
        cube.hierarchies["g"] = [table["g"]]
        cube.measures["most"] = ge.agg.max(table["x"])
        provider = cube.create_provider(["g"], ["most"])
        for key in range(rows - 1, rows - 21, -1):
            table.drop(keys=[key])
        assert provider.statistics().cells_reread == 20
        assert read == [10] * 20, "the ten rows of the cell, and no other"
        assert provider.statistics().full_refresh_total == 0
        survivors = {group: group + 9 * (rows // 10) for group in range(rows // 10 - 20)}
        most = cells(cube, "most", levels=["g"])
        assert {group: most[group] for group in survivors} == survivors
        assert most[rows // 10 - 1] == rows - 1 - rows // 10
