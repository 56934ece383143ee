"""Prepared queries: compiled once, run at any version with any values that fit."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table(
        "trades",
        types={
            "id": ge.LONG,
            "leg": ge.STRING,
            "city": ge.STRING,
            "qty": ge.INT,
            "price": ge.DOUBLE,
            "day": ge.LOCAL_DATE,
        },
        keys=["id", "leg"],
    )
    cities = session.create_table("cities", types={"name": ge.STRING, "land": ge.STRING}, keys=["name"])
    table.join(cities, on={"city": "name"}, name="place")
    cities.append(("Paris", "France"), ("Rome", "Italy"))
    table.append(
        (1, "a", "Paris", 10, 1.5, "2024-05-01"),
        (2, "a", "Rome", None, 2.5, "2024-05-02"),
        (3, "a", None, 7, None, None),
    )
    return table


@pytest.fixture
def prepare(session: ge.Session, trades: ge.Table) -> Any:
    return session.database.prepare


def ids(answer: pa.Table) -> list[int]:
    return answer["id"].to_pylist()


def compilations(session: ge.Session) -> int:
    return session.database.statistics().compilations_total


class TestCompilation:
    def test_is_done_once(self, session: ge.Session, trades: ge.Table, prepare: Any) -> None:
        cube = session.create_cube(trades)
        before = compilations(session)
        by_city = prepare.list("trades", ["id"], ge.field("place.land") == ge.param("land"))
        by_key = prepare.get("trades")
        cities = prepare.distinct("trades", "city", ge.field("qty") > ge.param("least"))
        cells = prepare.cube(cube, "qty.SUM", ["city"], ge.field("place.land") == ge.param("land"))
        assert compilations(session) == before + 4
        for number in range(20):
            trades.append((100 + number, "a", "Rome", 1, 1.0, None))
            runner = session.database.version()
            assert len(ids(by_city.run(runner, land="Italy"))) == number + 2
            assert by_key.run(runner, id=100 + number, leg="a")["qty"] == 1
            assert cities.run(runner, least=5)["city"].to_pylist() == ["Paris", None]
            assert cells.run(runner, land="Italy")["qty.SUM"].to_list() == [number + 1]
            by_city.assign(land="Italy").run(runner)
        assert compilations(session) == before + 4

    def test_is_done_each_time_by_a_runner(self, session: ge.Session, trades: ge.Table) -> None:
        runner, before = session.database.version(), compilations(session)
        runner.list(trades)
        runner.get(trades, (1, "a"))
        runner.distinct(trades, "city")
        assert compilations(session) == before + 3

    def test_finds_what_is_wrong_before_anything_is_run(self, session: ge.Session, prepare: Any) -> None:
        before = compilations(session)
        with pytest.raises(ge.errors.UnknownColumnError, match="Did you mean 'city'"):
            prepare.list("trades", ["citi"])
        with pytest.raises(ge.errors.UnknownColumnError, match="Did you mean 'land'"):
            prepare.distinct("trades", "city", ge.field("place.lend") == ge.param("land"))
        with pytest.raises(ge.errors.UnknownTableError):
            prepare.get("trade")
        with pytest.raises(ge.errors.UnknownCubeError):
            prepare.cube("trade", "qty.SUM")
        assert compilations(session) == before

    def test_serves_every_epoch_and_branch(self, session: ge.Session, trades: ge.Table, prepare: Any) -> None:
        listing = prepare.list("trades", ["id"], ge.field("city") == ge.param("city"))
        old = session.database.version()
        session.branches.create("what-if")
        with session.start_transaction(branch="what-if"):
            trades.append((4, "a", "Paris", 1, 1.0, None))
        trades.drop(keys=[(1, "a")])
        assert ids(listing.run(old, city="Paris")) == [1]
        assert ids(listing.run(session.database.version("what-if"), city="Paris")) == [1, 4]
        assert ids(listing.run(session.database.version(), city="Paris")) == []


class TestParameters:
    def test_take_the_type_of_what_they_are_compared_with(self, prepare: Any) -> None:
        condition = (
            (ge.field("city") == ge.param("city"))
            & (ge.param("from") <= ge.field("day"))
            & ge.field("qty").isin(ge.param("quantities"))
            & ge.field("place.land").isin(["France", ge.param("land")])
            & (ge.field("qty") * ge.field("price") > ge.param("worth"))
            & ~(ge.field("qty") + 1 != ge.param("more"))
        )
        assert prepare.list("trades", where=condition).parameters == {
            "city": ge.STRING,
            "from": ge.LOCAL_DATE,
            "quantities": ge.ListType(ge.INT),
            "land": ge.STRING,
            "worth": ge.DOUBLE,
            "more": ge.LONG,
        }

    def test_show_in_the_query(self, prepare: Any) -> None:
        listing = prepare.list("trades", where=ge.field("qty").isin(ge.param("quantities")))
        assert repr(listing) == "PreparedListQuery(quantities: LIST(INT))"
        assert repr(ge.param("city")) == "param('city')"

    def test_may_stand_in_several_places(self, session: ge.Session, prepare: Any) -> None:
        condition = (ge.field("qty") > ge.param("x")) | (ge.field("price") > ge.param("x"))
        listing = prepare.list("trades", ["id"], condition)
        assert listing.parameters == {"x": ge.DOUBLE}
        assert ids(listing.run(session.database.version(), x=2)) == [1, 2, 3]
        assert ids(listing.run(session.database.version(), x=7.5)) == [1]
        whole = prepare.list("trades", where=(ge.field("id") == ge.param("x")) | (ge.field("qty") == ge.param("x")))
        assert whole.parameters == {"x": ge.LONG}

    def test_cannot_stand_for_values_of_two_types(self, prepare: Any) -> None:
        for other in (ge.field("qty") == ge.param("x"), ge.field("city").isin(ge.param("x"))):
            with pytest.raises(ge.errors.InvalidParameterError, match="'x' stands for STRING and for"):
                prepare.list("trades", where=(ge.field("city") == ge.param("x")) & other)

    def test_null_means_null(self, session: ge.Session, prepare: Any) -> None:
        runner = session.database.version()
        equal = prepare.list("trades", ["id"], ge.field("city") == ge.param("city"))
        among = prepare.list("trades", ["id"], ge.field("city").isin(ge.param("cities")))
        less = prepare.list("trades", ["id"], ge.field("qty") < ge.param("most"))
        assert ids(equal.run(runner, city=None)) == [3]
        assert ids(among.run(runner, cities=["Rome", None])) == [2, 3]
        assert ids(among.run(runner, cities=[])) == []
        assert ids(less.run(runner, most=None)) == []

    @pytest.mark.parametrize(
        ("where", "value", "expected"),
        [
            (ge.field("day") == ge.param("x"), "2024-05-02", [2]),
            (ge.field("day") >= ge.param("x"), dt.date(2024, 5, 2), [2]),
            (ge.field("price") == ge.param("x"), Decimal("2.5"), [2]),
            (ge.field("qty") > ge.param("x"), 7.5, [1]),
            (ge.field("city") > ge.param("x"), "Q", [2]),
            (ge.field("qty").isin(ge.param("x")), iter([7, 10]), [1, 3]),
            (ge.field("qty").isin(ge.param("x")), {7}, [3]),
        ],
    )
    def test_take_values_as_comparisons_do(
        self, session: ge.Session, prepare: Any, where: ge.Condition, value: Any, expected: list[int]
    ) -> None:
        assert ids(prepare.list("trades", ["id"], where).run(session.database.version(), x=value)) == expected

    def test_errors_name_all_that_is_wrong_and_all_that_exists(self, session: ge.Session, prepare: Any) -> None:
        condition = (ge.field("city") == ge.param("city")) & ge.field("qty").isin(ge.param("quantities"))
        listing = prepare.list("trades", where=condition & (ge.field("price") > ge.param("least")))
        with pytest.raises(ge.errors.InvalidParameterError) as caught:
            listing.run(session.database.version(), town="Paris", city=5, quantities="7")
        error = caught.value
        assert error.code == "invalid_parameter"
        assert error.known == ("city", "quantities", "least")
        assert error.problems == (
            "parameter 'town' is not known",
            "parameter 'city': 5 is not a valid STRING",
            "parameter 'quantities': '7' is not a valid LIST(INT)",
            "parameter 'least' has no value",
        )
        assert str(error).endswith("The query has: city (STRING), quantities (LIST(INT)), least (DOUBLE).")

    @pytest.mark.parametrize(
        ("where", "value"),
        [
            (ge.field("qty") == ge.param("x"), "7"),
            (ge.field("qty") == ge.param("x"), True),
            (ge.field("qty") == ge.param("x"), [7]),
            (ge.field("day") == ge.param("x"), "yesterday"),
            (ge.field("day") == ge.param("x"), dt.datetime(2024, 5, 1, 12)),
            (ge.field("qty").isin(ge.param("x")), 7),
            (ge.field("qty").isin(ge.param("x")), [7, "8"]),
            (ge.field("city").isin(["Rome", ge.param("x")]), ["Paris"]),
        ],
    )
    def test_values_of_another_type_are_refused(
        self, session: ge.Session, prepare: Any, where: ge.Condition, value: Any
    ) -> None:
        with pytest.raises(ge.errors.InvalidParameterError, match=r"parameter 'x': .* is not a valid"):
            prepare.list("trades", where=where).run(session.database.version(), x=value)

    def test_a_query_without_any_says_so(self, session: ge.Session, prepare: Any) -> None:
        with pytest.raises(ge.errors.InvalidParameterError, match=r"'x' is not known\. The query has no parameters"):
            prepare.list("trades").run(session.database.version(), x=1)

    @pytest.mark.parametrize("name", ["", 5, None])
    def test_need_a_name(self, name: Any) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match="give the parameter's name"):
            ge.param(name)

    def test_are_for_prepared_queries_only(self, session: ge.Session, trades: ge.Table) -> None:
        open_condition = (trades["city"] == ge.param("city")) | (trades["qty"] == 1)
        cube = session.create_cube(trades)
        for attempt in (
            lambda: session.database.version().list(trades, where=open_condition),
            lambda: session.database.version().distinct(trades, "city", open_condition),
            lambda: trades.drop(open_condition),
            lambda: trades.where(open_condition),
            lambda: cube.query("qty.SUM", filter=cube.levels["city"] == ge.param("city")),
            lambda: cube.live("qty.SUM", filter=cube.levels["city"] == ge.param("city")),
            lambda: cube.create_provider(["city"], ["qty.SUM"], cube.levels["city"] == ge.param("city")),
        ):
            with pytest.raises(ge.errors.InvalidParameterError, match="'city' has no value"):
                attempt()
        assert len(trades) == 3


class TestGet:
    def test_takes_the_key_columns_as_parameters(self, session: ge.Session, prepare: Any) -> None:
        query = prepare.get("trades", ["qty", "place.land"])
        assert query.parameters == {"id": ge.LONG, "leg": ge.STRING}
        runner = session.database.version()
        assert query.run(runner, id=1, leg="a") == {"qty": 10, "place.land": "France"}
        assert query.run(runner, id=1, leg="z") is None

    @pytest.mark.parametrize("key", [{"id": 1}, {"id": 1.5, "leg": "a"}, {"id": 1, "leg": None}])
    def test_refuses_keys_that_do_not_fit(self, session: ge.Session, prepare: Any, key: dict[str, Any]) -> None:
        with pytest.raises(ge.errors.InvalidParameterError, match=r"The query has: id \(LONG\), leg \(STRING\)"):
            prepare.get("trades").run(session.database.version(), **key)

    def test_takes_column_names_that_are_no_python_names(self, session: ge.Session) -> None:
        table = session.create_table("odd", types={"Trade Id": ge.LONG, "runner": ge.LONG}, keys=["Trade Id", "runner"])
        table.append((7, 8))
        query = session.database.prepare.get("odd")
        assert query.run(session.database.version(), **{"Trade Id": 7, "runner": 8}) == {"Trade Id": 7, "runner": 8}


class TestCube:
    def test_answers_as_the_cube_does(self, session: ge.Session, trades: ge.Table, prepare: Any) -> None:
        cube = session.create_cube(trades)
        condition = cube.levels["land"] == ge.param("land")
        query = prepare.cube(
            "trades", ["qty.SUM", cube.measures["contributors.COUNT"]], ["city"], condition, totals=True
        )
        assert query.parameters == {"land": ge.STRING}
        for land in ("France", "Italy", None, "Spain"):
            expected = cube.query(
                "qty.SUM", "contributors.COUNT", levels=["city"], filter=cube.levels["land"] == land, totals=True
            )
            assert query.run(session.database.version(), land=land).equals(expected)

    def test_answers_in_arrow_with_its_epoch(self, session: ge.Session, trades: ge.Table, prepare: Any) -> None:
        session.create_cube(trades)
        among = prepare.cube("trades", "qty.SUM", ["city"], ge.field("city").isin(ge.param("cities")), mode="arrow")
        old = session.database.version()
        trades.append((5, "a", "Rome", 100, 1.0, None))
        for runner, rome in (old, 0), (session.database.version(), 100):
            answer = among.run(runner, cities=["Rome", "Oslo"])
            assert answer.to_pylist() == [{"city": "Rome", "qty.SUM": rome}]
            assert answer.schema.metadata[b"epoch"] == str(runner.epoch).encode()

    def test_reads_a_provider_that_its_values_fit(self, session: ge.Session, trades: ge.Table, prepare: Any) -> None:
        cube = session.create_cube(trades)
        cube.create_provider(["city"], ["qty.SUM"])
        query = prepare.cube(cube, "qty.SUM", [], cube.levels["city"] == ge.param("city"))
        for city, total in ("Paris", 10), ("Rome", 0), (None, 7):
            assert query.run(session.database.version(), city=city)["qty.SUM"].to_list() == [total]

    def test_refuses_what_the_cube_refuses(self, session: ge.Session, trades: ge.Table, prepare: Any) -> None:
        cube = session.create_cube(trades)
        with pytest.raises(ge.errors.UnknownMeasureError):
            prepare.cube(cube, "quantity.SUM")
        with pytest.raises(ge.errors.InvalidQueryError, match="a cube is filtered by its levels only"):
            prepare.cube(cube, "qty.SUM", [], ge.field("price") == ge.param("price"))
        with pytest.raises(ge.errors.InvalidQueryError, match="use 'pandas', 'arrow', 'cudf' or 'arrays'"):
            prepare.cube(cube, "qty.SUM", mode="numpy")


class TestRunner:
    def test_must_be_one_of_the_same_session(self, prepare: Any) -> None:
        listing = prepare.list("trades")
        with ge.Session(backend="cpu") as other:
            for wrong in (other.database.version(), "master", None):
                with pytest.raises(ge.errors.InvalidQueryError, match="no version to run at"):
                    listing.run(wrong)

    def test_is_needed_for_rows_but_not_to_assign_values(self, session: ge.Session, prepare: Any) -> None:
        listing = prepare.list("trades", ["id"], ge.field("city") == ge.param("city"))
        with pytest.raises(ge.errors.InvalidParameterError, match="'city' has no value"):
            listing.condition  # noqa: B018
        in_rome = listing.assign(city="Rome")
        assert in_rome.parameters == {}
        assert in_rome.condition is not None
        assert ids(in_rome.run(session.database.version())) == [2]
        with pytest.raises(ge.errors.InvalidParameterError, match="'town' is not known"):
            listing.assign(town="Rome")


class TestValuesOfColumns:
    """What pyarrow would change quietly is refused, in rows as in keys and parameters."""

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (ge.LONG, 1.5),
            (ge.INT, Decimal("1.5")),
            (ge.LONG, float("nan")),
            (ge.DOUBLE, True),
            (ge.FLOAT, False),
            (ge.LOCAL_DATE, dt.datetime(2024, 5, 1, 12)),
        ],
    )
    def test_that_do_not_fit_are_refused(self, session: ge.Session, kind: ge.DataType, value: Any) -> None:
        table = session.create_table("one", types={"x": kind})
        with pytest.raises(ge.errors.TypeMismatchError, match=r"column 'x', row 1: .* is not a valid"):
            table.append((None,), (value,))
        assert len(table) == 0

    @pytest.mark.parametrize(
        ("kind", "value", "kept"),
        [
            (ge.LONG, 2.0, 2),
            (ge.INT, Decimal("7"), 7),
            (ge.LOCAL_DATE, dt.datetime(2024, 5, 1), dt.date(2024, 5, 1)),
            (ge.DOUBLE, 3, 3.0),
        ],
    )
    def test_that_fit_are_kept(self, session: ge.Session, kind: ge.DataType, value: Any, kept: Any) -> None:
        table = session.create_table("one", types={"x": kind})
        table.append((value,), (None,))
        assert table.to_arrow()["x"].to_pylist() == [kept, None]
