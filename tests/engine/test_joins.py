"""J1 to J3: facts point to keys, rows of which may come late, change and go, and only those facts are touched."""

from __future__ import annotations

from typing import Any

import pytest

import gpu_engine as ge
from gpu_engine.database.commit import Commit
from tests.engine.answers import DEADLINE, Heard, cells, rows, told
from tests.engine.conftest import Shop


class TestTheExample:
    """J3 with its numbers: 50, 200 and 0.0, then 50, 200 and 450."""

    def test_a_fact_without_a_match_shows_na_and_sums_to_zero(self, shop: Shop) -> None:
        revenue = cells(shop.cube, "Revenue", levels=["color"])
        assert revenue == {"blue": 50.0, "red": 200.0, None: 0.0}
        assert cells(shop.cube, "Revenue") == {(): 250.0}

    def test_shows_na_as_text_in_pandas(self, shop: Shop) -> None:
        frame = shop.cube.query("Revenue", levels=["Date", "color"])
        assert frame.index.names == ["Date", "color"]
        assert list(frame.index.get_level_values("color")) == ["blue", "red", "N/A"]
        assert list(frame["Revenue"]) == [50.0, 200.0, 0.0]

    def test_a_late_row_brings_its_facts_out_of_na(self, shop: Shop) -> None:
        report = shop.products.append(("P3", "green", 15.0))
        assert report == ge.CommitReport(3, {"products": ge.TableReport(added=1)})
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50.0, "green": 450.0, "red": 200.0}

    def test_a_late_row_touches_one_fact_and_refreshes_nothing_in_full(self, shop: Shop, touched: list[int]) -> None:
        heard = Heard()
        live = shop.cube.live("Revenue", "contributors.COUNT", levels=["color"], on_change=heard)
        assert live.wait_for(2, DEADLINE)
        touched.clear()
        shop.products.append(("P3", "green", 15.0))
        assert set(touched) == {1}
        assert live.wait_for(3, DEADLINE)
        assert told(heard.changes[1], 1) == ({"green": (450.0, 1)}, {}, {}, {None: (0.0, 1)})
        (provider,) = shop.session.statistics().providers["sales"]
        assert (provider.commits, provider.cells, provider.cells_reread, provider.full_refresh_total) == (1, 3, 0, 0)

    def test_a_changed_row_moves_its_facts(self, shop: Shop) -> None:
        shop.cube.create_provider(["color"], ["Revenue"])
        shop.products.update([{"Id": "P1", "color": "red"}])
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"red": 250.0, None: 0.0}
        shop.products.update([{"Id": "P1", "unit_price": 1.0}])
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"red": 210.0, None: 0.0}

    def test_a_row_that_goes_leaves_its_facts_in_na(self, shop: Shop) -> None:
        shop.cube.create_provider(["color"], ["Revenue"])
        shop.products.drop(keys=["P2"])
        assert cells(shop.cube, "Revenue", "contributors.COUNT", levels=["color"]) == {"blue": (50, 1), None: (0, 2)}

    def test_a_row_that_comes_back_finds_its_facts_again(self, shop: Shop) -> None:
        shop.cube.create_provider(["color"], ["Revenue"])
        shop.products.truncate()
        assert cells(shop.cube, "Revenue", levels=["color"]) == {None: 0.0}
        shop.products.append(("P2", "black", 1.0))
        assert cells(shop.cube, "Revenue", levels=["color"]) == {"black": 20.0, None: 0.0}

    def test_a_row_without_facts_touches_no_cell(self, shop: Shop) -> None:
        live = shop.cube.live("Revenue", levels=["color"])
        report = shop.products.append(("P7", "white", 1.0))
        assert report is not None
        assert live.changes_since(2) == ([], report.epoch)
        assert shop.session.statistics().providers["sales"][0].commits == 0

    def test_a_column_nobody_reads_touches_no_cell(self, shop: Shop) -> None:
        shop.cube.create_provider(["Date"], ["quantity.SUM"])
        shop.products.append(("P1", "violet", 9.0))
        assert shop.session.statistics().providers["sales"][0].commits == 0


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each provider was given to take from its cells and to bring to them, commit by commit."""
    moves, counts = Commit.moves, list[int]()

    def counting(self: Commit, root: Any, joins: Any) -> Any:
        found = moves(self, root, joins)
        counts.append(len(found.new))
        return found

    monkeypatch.setattr(Commit, "moves", counting)
    return counts


def test_a_dimension_change_costs_the_facts_that_point_to_it(session: ge.Session, touched: list[int]) -> None:
    """Of 10,000 facts the ten of one product are touched: only its cells move."""
    facts = session.create_table("facts", types={"id": ge.LONG, "product": ge.LONG, "n": ge.LONG}, keys=["id"])
    products = session.create_table("products", types={"pid": ge.LONG, "price": ge.LONG}, keys=["pid"])
    facts.join(products, on={"product": "pid"})
    facts.append(*((number, number % 1000, 1) for number in range(10_000)))
    products.append(*((number, 1) for number in range(1000)))
    cube = session.create_cube(facts)
    cube.measures["cost"] = ge.agg.sum(facts["n"] * products["price"])
    live = cube.live("cost", "contributors.COUNT", levels=["pid"])
    touched.clear()
    products.append((7, 3))
    assert set(touched) == {10}
    (change,), _ = live.changes_since(2)
    assert told(change, 1) == ({}, {7: (30, 10)}, {7: (10, 10)}, {})


class TestChains:
    @pytest.fixture
    def chain(self, session: ge.Session) -> ge.Cube:
        sales = session.create_table("sales", types={"id": ge.LONG, "city": ge.STRING, "n": ge.LONG}, keys=["id"])
        cities = session.create_table("cities", types={"city_id": ge.STRING, "country": ge.STRING}, keys=["city_id"])
        countries = session.create_table(
            "countries", types={"country_id": ge.STRING, "continent": ge.STRING}, keys=["country_id"]
        )
        cities.join(countries, on={"country": "country_id"})
        sales.join(cities, on={"city": "city_id"})
        sales.append((1, "Paris", 1), (2, "Rome", 2), (3, "Paris", 4), (4, None, 8))
        cube = session.create_cube(sales)
        cube.create_provider(["continent"], ["n.SUM"])
        return cube

    def test_show_na_until_every_step_is_there(self, chain: ge.Cube, session: ge.Session) -> None:
        assert cells(chain, "n.SUM", levels=["continent"]) == {None: 15}
        session.tables["countries"].append(("France", "Europe"))
        assert cells(chain, "n.SUM", levels=["continent"]) == {None: 15}
        session.tables["cities"].append(("Paris", "France"), ("Rome", "Italy"))
        assert cells(chain, "n.SUM", levels=["continent"]) == {"Europe": 5, None: 10}

    def test_carry_changes_of_the_far_end(self, chain: ge.Cube, session: ge.Session) -> None:
        session.tables["cities"].append(("Paris", "France"), ("Rome", "Italy"))
        session.tables["countries"].append(("France", "Europe"), ("Italy", "Europe"))
        session.tables["countries"].update([{"country_id": "Italy", "continent": "South"}])
        assert cells(chain, "n.SUM", levels=["continent"]) == {"Europe": 5, "South": 2, None: 8}
        session.tables["countries"].drop(keys=["France"])
        assert cells(chain, "n.SUM", levels=["continent"]) == {"South": 2, None: 13}

    def test_carry_changes_of_the_middle(self, chain: ge.Cube, session: ge.Session) -> None:
        session.tables["countries"].append(("France", "Europe"), ("Italy", "South"))
        session.tables["cities"].append(("Paris", "France"), ("Rome", "Italy"))
        session.tables["cities"].update([{"city_id": "Paris", "country": "Italy"}])
        assert cells(chain, "n.SUM", levels=["continent"]) == {"South": 7, None: 8}
        session.tables["cities"].update([{"city_id": "Paris", "country": None}])
        assert cells(chain, "n.SUM", levels=["continent"]) == {"South": 2, None: 13}

    def test_are_named_step_by_step_in_conditions(self, chain: ge.Cube, session: ge.Session) -> None:
        session.tables["countries"].append(("France", "Europe"))
        session.tables["cities"].append(("Paris", "France"))
        session.tables["sales"].drop(ge.field("cities.countries.continent") == "Europe")
        assert [row["id"] for row in rows(session.tables["sales"])] == [2, 4]

    def test_explain_that_a_provider_answers(self, chain: ge.Cube) -> None:
        explanation = chain.query("n.SUM", levels=["continent"], explain=True)
        assert (explanation.source, explanation.provider) == ("provider", "cities.countries.continent")


class TestSeveralJoinsToOneTable:
    @pytest.fixture
    def flights(self, session: ge.Session) -> ge.Cube:
        airports = session.create_table("airports", types={"code": ge.STRING, "country": ge.STRING}, keys=["code"])
        types = {"start": ge.STRING, "end": ge.STRING, "seats": ge.LONG}
        flights = session.create_table("flights", types=types)
        flights.join(airports, on={"start": "code"}, name="from")
        flights.join(airports, on={"end": "code"}, name="to")
        airports.append(("CDG", "France"), ("FCO", "Italy"), ("ORY", "France"))
        flights.append(("CDG", "FCO", 100), ("FCO", "ORY", 10), ("CDG", "ORY", 1))
        return session.create_cube(flights)

    def test_are_told_apart_by_name(self, flights: ge.Cube) -> None:
        levels = [flights.levels["from", "country"], flights.levels["to", "country"]]
        assert cells(flights, "seats.SUM", levels=levels) == {
            ("France", "France"): 1,
            ("France", "Italy"): 100,
            ("Italy", "France"): 10,
        }

    def test_make_a_short_name_ambiguous(self, flights: ge.Cube) -> None:
        with pytest.raises(ge.errors.AmbiguousNameError, match=r"'country' is ambiguous.*from.*to") as caught:
            flights.query("seats.SUM", levels=["country"])
        assert caught.value.code == "ambiguous_name"

    def test_both_follow_a_change(self, flights: ge.Cube, session: ge.Session) -> None:
        levels = [flights.levels["from", "country"], flights.levels["to", "country"]]
        flights.create_provider(levels, ["seats.SUM"])
        session.tables["airports"].append(("ORY", "Corsica"), ("CDG", "Corsica"))
        assert cells(flights, "seats.SUM", levels=levels) == {
            ("Corsica", "Corsica"): 1,
            ("Corsica", "Italy"): 100,
            ("Italy", "Corsica"): 10,
        }

    def test_may_share_what_lies_behind_their_table(self, flights: ge.Cube, session: ge.Session) -> None:
        countries = session.create_table("countries", types={"id": ge.STRING, "continent": ge.STRING}, keys=["id"])
        session.tables["airports"].join(countries, on={"country": "id"})
        session.tables["flights"].join(session.tables["airports"], on={"end": "code"}, name="third")
        countries.append(("France", "Europe"), ("Italy", "South"))
        with pytest.raises(ge.errors.AmbiguousNameError, match=r"from\.countries\.continent.*to\.countries\.continent"):
            flights.levels["continent"]
        paths = [f"{join}.countries.continent" for join in ("from", "to", "third")]
        levels = [flights.levels[path] for path in paths]
        assert len({level.hierarchy for level in levels}) == 3
        expected = {("Europe", "South", "South"): 100, ("South", "Europe", "Europe"): 10, ("Europe",) * 3: 1}
        assert cells(flights, "seats.SUM", levels=levels) == expected
        assert cells(flights, "seats.SUM", levels=paths) == expected

    def test_make_a_column_of_the_table_ambiguous_in_a_measure(self, flights: ge.Cube, session: ge.Session) -> None:
        with pytest.raises(ge.errors.AmbiguousNameError, match=r"from\.country.*to\.country"):
            flights.measures["n"] = ge.agg.count(session.tables["airports"]["country"])
        flights.measures["n"] = ge.agg.count(ge.field("to.country"))
        assert cells(flights, "n") == {(): 3}


class TestCompositeKeys:
    def test_join_by_all_their_parts(self, session: ge.Session) -> None:
        prices = session.create_table(
            "prices", types={"day": ge.LOCAL_DATE, "name": ge.STRING, "price": ge.LONG}, keys=["day", "name"]
        )
        trades = session.create_table("trades", types={"instrument": ge.STRING, "traded": ge.LOCAL_DATE, "n": ge.LONG})
        trades.join(prices, on={"instrument": "name", "traded": "day"})
        cube = session.create_cube(trades)
        cube.measures["value"] = ge.agg.sum(trades["n"] * prices["price"])
        cube.create_provider(["instrument"], ["value"])
        trades.append(
            ("X", "2024-01-01", 1), ("X", "2024-01-02", 10), ("Y", "2024-01-01", 100), (None, "2024-01-01", 5)
        )
        prices.append(("2024-01-01", "X", 2), ("2024-01-02", "X", 3), ("2024-01-01", "Y", 4))
        assert cells(cube, "value", levels=["instrument"]) == {"X": 32, "Y": 400, None: 0}
        prices.append(("2024-01-02", "X", 5))
        assert cells(cube, "value", levels=["instrument"]) == {"X": 52, "Y": 400, None: 0}

    def test_take_the_columns_of_the_same_names_by_default(self, session: ge.Session) -> None:
        dimension = session.create_table("d", types={"a": ge.LONG, "b": ge.STRING, "x": ge.STRING}, keys=["a", "b"])
        facts = session.create_table("f", types={"a": ge.LONG, "b": ge.STRING})
        join = facts.join(dimension)
        assert join.on == {"a": "a", "b": "b"}
        assert facts.joins == {"d": join}

    def test_join_int_to_long(self, session: ge.Session) -> None:
        dimension = session.create_table("d", types={"id": ge.LONG, "x": ge.STRING}, keys=["id"])
        facts = session.create_table("f", types={"n": ge.INT})
        facts.join(dimension, on={"n": "id"})
        facts.append((-1,), (2,), (None,))
        dimension.append((-1, "minus"), (2, "two"))
        cube = session.create_cube(facts)
        assert cells(cube, "contributors.COUNT", levels=["x"]) == {"minus": 1, "two": 1, None: 1}


def test_a_join_made_late_sees_the_rows_that_are_there(session: ge.Session) -> None:
    facts = session.create_table("f", types={"key": ge.STRING})
    facts.append(("a",), ("b",), ("a",), (None,))
    dimension = session.create_table("d", types={"id": ge.STRING, "x": ge.STRING}, keys=["id"])
    dimension.append(("a", "first"))
    cube = session.create_cube(facts)
    facts.join(dimension, on={"key": "id"})
    assert cells(cube, "contributors.COUNT", levels=["x"]) == {"first": 2, None: 2}
    dimension.append(("b", "second"))
    assert cells(cube, "contributors.COUNT", levels=["x"]) == {"first": 2, "second": 1, None: 1}


class TestMandatory:
    @pytest.fixture
    def books(self, session: ge.Session) -> tuple[ge.Table, ge.Table]:
        books = session.create_table("books", types={"Book": ge.STRING, "Desk": ge.STRING}, keys=["Book"])
        trades = session.create_table("trades", types={"Id": ge.LONG, "Book": ge.STRING}, keys=["Id"])
        books.append(("B1", "rates"))
        trades.join(books, on={"Book": "Book"}, optional=False)
        trades.append((1, "B1"))
        return trades, books

    @pytest.mark.parametrize("book", ["B2", None])
    def test_refuses_a_fact_without_a_match(
        self, books: tuple[ge.Table, ge.Table], session: ge.Session, book: Any
    ) -> None:
        trades, _ = books
        with pytest.raises(ge.errors.MissingMatchError) as caught:
            trades.append((2, "B1"), (3, book))
        assert caught.value.code == "missing_match"
        assert caught.value.count == 1
        assert caught.value.examples == (book,)
        assert "'books'" in str(caught.value)
        assert repr(book) in str(caught.value)
        assert len(trades) == 1
        assert session.epoch == 2

    def test_refuses_to_drop_a_row_that_facts_need(self, books: tuple[ge.Table, ge.Table], session: ge.Session) -> None:
        _, table = books
        with pytest.raises(ge.errors.MissingMatchError, match="1 row"):
            table.drop(keys=["B1"])
        with pytest.raises(ge.errors.MissingMatchError):
            table.truncate()
        assert len(table) == 1
        assert session.epoch == 2

    def test_takes_fact_and_target_in_one_transaction(
        self, books: tuple[ge.Table, ge.Table], session: ge.Session
    ) -> None:
        trades, table = books
        with session.start_transaction():
            trades.append((2, "B2"))
            table.append(("B2", "credit"))
        assert len(trades) == 2

    def test_lets_a_target_go_with_its_facts(self, books: tuple[ge.Table, ge.Table], session: ge.Session) -> None:
        trades, table = books
        with session.start_transaction():
            table.drop(keys=["B1"])
            trades.drop(keys=[1])
        assert (len(trades), len(table)) == (0, 0)

    def test_names_three_examples_at_most(self, books: tuple[ge.Table, ge.Table]) -> None:
        trades, _ = books
        with pytest.raises(ge.errors.MissingMatchError) as caught:
            trades.append(*((number, f"X{number}") for number in range(2, 9)))
        assert caught.value.count == 7
        assert caught.value.examples == ("X2", "X3", "X4")

    def test_cannot_be_made_over_facts_without_a_match(self, session: ge.Session) -> None:
        facts = session.create_table("f", types={"key": ge.STRING})
        facts.append(("a",))
        dimension = session.create_table("d", types={"id": ge.STRING}, keys=["id"])
        with pytest.raises(ge.errors.MissingMatchError):
            facts.join(dimension, on={"key": "id"}, optional=False)
        assert facts.joins == {}
        assert facts.append(("b",)) is not None


class TestRefusedJoins:
    @pytest.mark.parametrize(
        ("on", "message"),
        [
            ({"product": "pid"}, r"all keys of the target.*\['pid', 'day'\]"),
            ({"product": "pid", "day": "name"}, r"all keys of the target"),
            ({"product": "name"}, r"all keys of the target"),
            ({"product": "pid", "n": "day"}, r"'n' is LONG but 'day' is LOCAL_DATE"),
            ({}, r"all keys of the target"),
        ],
    )
    def test_name_what_does_not_fit(self, session: ge.Session, on: dict[str, str], message: str) -> None:
        types = {"pid": ge.STRING, "day": ge.LOCAL_DATE, "name": ge.STRING}
        target = session.create_table("products", types=types, keys=["pid", "day"])
        facts = session.create_table("facts", types={"product": ge.STRING, "day": ge.LOCAL_DATE, "n": ge.LONG})
        with pytest.raises(ge.errors.InvalidJoinError, match=message) as caught:
            facts.join(target, on=on)
        assert caught.value.code == "invalid_join"
        assert facts.joins == {}

    def test_a_target_without_a_key(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.InvalidJoinError, match="'sales' with keys="):
            shop.products.join(shop.sales, on={"Id": "ProductId"})

    def test_an_unknown_column(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.UnknownColumnError, match=r"'Product'.*'ProductId'"):
            shop.sales.join(shop.products, on={"Product": "Id"}, name="again")

    def test_a_name_that_is_taken(self, shop: Shop) -> None:
        with pytest.raises(ge.errors.DuplicateNameError, match="'products'"):
            shop.sales.join(shop.products, on={"ProductId": "Id"})
        with pytest.raises(ge.errors.DuplicateNameError, match="'quantity'"):
            shop.sales.join(shop.products, on={"ProductId": "Id"}, name="quantity")

    def test_a_circle(self, session: ge.Session) -> None:
        one = session.create_table("one", types={"id": ge.LONG, "other": ge.LONG}, keys=["id"])
        two = session.create_table("two", types={"id": ge.LONG, "other": ge.LONG}, keys=["id"])
        one.join(two, on={"other": "id"})
        with pytest.raises(ge.errors.InvalidJoinError, match="back to 'two'"):
            two.join(one, on={"other": "id"})
        with pytest.raises(ge.errors.InvalidJoinError, match="back to 'one'"):
            one.join(one, on={"other": "id"}, name="self")
