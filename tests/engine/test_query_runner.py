"""Runners: rows, keys, distinct values and statistics of tables at one version."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.answers import DEADLINE

DAY = dt.date(2024, 5, 1)


@pytest.fixture
def tables(session: ge.Session) -> dict[str, ge.Table]:
    trades = session.create_table(
        "trades",
        types={
            "id": ge.LONG,
            "leg": ge.STRING,
            "city": ge.STRING,
            "home": ge.STRING,
            "Product": ge.STRING,
            "qty": ge.LONG,
        },
        keys=["id", "leg"],
    )
    products = session.create_table(
        "products", types={"code": ge.STRING, "color": ge.STRING, "price": ge.DECIMAL(10, 2)}, keys=["code"]
    )
    trades.join(products, on={"Product": "code"}, name="product")
    products.append(("p1", "red", "1.50"), ("p2", "Paris", "0.07"))
    trades.append(
        (1, "a", "Paris", "Paris", "p1", 10),
        (1, "b", "Rome", "Paris", "p2", None),
        (2, "a", "Paris", "Oslo", "p3", 7),
        (3, "a", None, "Rome", None, 7),
    )
    return {"trades": trades, "products": products}


@pytest.fixture
def runner(session: ge.Session, tables: dict[str, ge.Table]) -> ge.QueryRunner:
    return session.database.version()


def ids(runner: ge.QueryRunner, where: ge.Condition | None = None, **rest: Any) -> list[tuple[int, str]]:
    listed = runner.list("trades", ["id", "leg"], where, **rest)
    return list(zip(*(column.to_pylist() for column in listed.columns), strict=True))


@pytest.fixture
def nothing_taken_in(session: ge.Session, runner: ge.QueryRunner) -> Iterator[None]:
    """Look-ups take nothing into dictionaries and indexes."""
    before = {name: table.nbytes for name, table in session.statistics().tables.items()}
    yield
    after = {name: table.nbytes for name, table in session.statistics().tables.items()}
    assert after == before


class TestVersion:
    def test_says_which_branch_and_epoch_it_reads(self, session: ge.Session, runner: ge.QueryRunner) -> None:
        assert (runner.branch, runner.epoch) == ("master", session.epoch)
        assert repr(runner) == f"QueryRunner(branch='master', epoch={session.epoch})"

    def test_answers_carry_branch_and_epoch(self, session: ge.Session, runner: ge.QueryRunner) -> None:
        stamp = {b"branch": b"master", b"epoch": str(session.epoch).encode()}
        assert runner.list("trades").schema.metadata == stamp
        assert runner.distinct("trades", "city").schema.metadata == stamp
        assert runner.get_many("trades", [(1, "a")]).schema.metadata == stamp

    def test_keeps_reading_its_epoch_while_writers_go_on(
        self, session: ge.Session, tables: dict[str, ge.Table], runner: ge.QueryRunner
    ) -> None:
        before = runner.list("trades", ["id", "qty", "product.color"])
        tables["trades"].update([{"id": 1, "leg": "a", "qty": 99}])
        tables["products"].append(("p3", "green", 2))
        tables["trades"].drop(keys=[(2, "a")])
        session.compact()
        assert runner.list("trades", ["id", "qty", "product.color"]).equals(before)
        assert runner.get("trades", (2, "a"), "product.color") == {"product.color": None}
        assert session.database.version().get("trades", (2, "a")) is None
        assert (
            session.database.version(epoch=runner.epoch).list("trades", ["id", "qty", "product.color"]).equals(before)
        )

    def test_keeps_reading_while_compaction_renumbers_rows(self) -> None:
        with ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=0)) as session:
            facts = session.create_table("facts", types={"id": ge.LONG, "code": ge.STRING}, keys=["id"])
            codes = session.create_table("codes", types={"code": ge.STRING, "text": ge.STRING}, keys=["code"])
            facts.join(codes, on={"code": "code"}, name="of")
            facts.append(*((number, f"c{number % 10}") for number in range(6000)))
            for text in "oldest", "old":
                codes.append(*((f"c{number}", text) for number in range(10)))
            facts.drop(facts["id"] < 1000)
            runner = session.database.version()
            codes.append(*((f"c{number}", "new") for number in range(10)))
            facts.drop(facts["id"] >= 1010)
            assert session.compact().tables.keys() == {"facts", "codes"}
            codes.append(*((f"c{number}", "newer") for number in range(2000)))
            assert runner.list("facts", "id", ge.field("of.text") == "old").num_rows == 5000
            assert runner.distinct("facts", "of.text")["of.text"].to_pylist() == ["old"]
            assert runner.get("codes", "c7", "text") == {"text": "old"}
            assert runner.get("codes", "c1999") is None

    def test_reads_a_branch(self, session: ge.Session, tables: dict[str, ge.Table]) -> None:
        session.branches.create("what-if")
        with session.start_transaction(branch="what-if"):
            tables["trades"].truncate()
        assert session.database.version("what-if").list("trades").num_rows == 0
        assert session.database.version().list("trades").num_rows == 4

    def test_refuses_versions_that_are_not_there(self, session: ge.Session, runner: ge.QueryRunner) -> None:
        with pytest.raises(ge.errors.UnknownBranchError, match="master"):
            session.database.version("maste")
        with pytest.raises(ge.errors.EpochNotRetainedError):
            session.database.version(epoch=runner.epoch + 1)

    def test_a_reader_and_a_writer_do_not_disturb_each_other(
        self, session: ge.Session, tables: dict[str, ge.Table]
    ) -> None:
        trades, stop = tables["trades"], threading.Event()

        def write() -> None:
            for number in range(300):
                trades.append(*((key, f"leg {number}", f"city {number}", "x", "p1", key) for key in range(number, 300)))
                if stop.is_set():
                    return

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for key in range(300):
                runner = session.database.version()
                rows = runner.list("trades", ["id", "leg", "qty"], ge.field("leg") > "leg")
                assert rows.num_rows == runner.statistics("trades").row_count - 4
                # Keys that the writer may be bringing just now.
                found = runner.get("trades", (299, f"leg {key}"), ["qty"])
                assert found in (None, {"qty": 299})
        finally:
            stop.set()
            writer.join(DEADLINE)
        assert not writer.is_alive()


class TestList:
    def test_gives_all_columns_of_the_table_in_the_order_of_writing(self, runner: ge.QueryRunner) -> None:
        listed = runner.list("trades")
        assert listed.column_names == ["id", "leg", "city", "home", "Product", "qty"]
        assert listed["id"].to_pylist() == [1, 1, 2, 3]

    def test_takes_tables_and_fields_as_names_and_as_objects(
        self, tables: dict[str, ge.Table], runner: ge.QueryRunner
    ) -> None:
        trades, products = tables["trades"], tables["products"]
        listed = runner.list(trades, [trades["id"], "product.color", products["price"], ge.field("city")])
        assert listed.column_names == ["id", "product.color", "product.price", "city"]
        assert listed["product.color"].to_pylist() == ["red", "Paris", None, None]
        assert listed["product.price"].to_pylist() == [Decimal("1.50"), Decimal("0.07"), None, None]
        assert runner.list("trades", "city").column_names == ["city"]

    def test_has_pages(self, runner: ge.QueryRunner) -> None:
        everything = ids(runner)
        assert ids(runner, limit=2) == everything[:2]
        assert ids(runner, limit=2, offset=1) == everything[1:3]
        assert ids(runner, offset=3) == everything[3:]
        assert ids(runner, limit=0) == ids(runner, offset=9) == []
        assert ids(runner, ge.field("qty") == 7, limit=1, offset=1) == [(3, "a")]

    def test_reads_no_further_than_its_limit(self, session: ge.Session) -> None:
        table = session.create_table("long", types={"n": ge.LONG})
        table.load_arrow(_numbers(300_000))
        runner = session.database.version()
        assert runner.list("long", limit=3, offset=299_998)["n"].to_pylist() == [299_998, 299_999]
        assert runner.list("long", where=ge.field("n") >= 150_000, limit=2)["n"].to_pylist() == [150_000, 150_001]
        assert runner.list("long", where=ge.field("n") < 0).num_rows == 0

    def test_compares_columns_of_the_same_type_also_of_text(
        self, tables: dict[str, ge.Table], runner: ge.QueryRunner
    ) -> None:
        trades, products = tables["trades"], tables["products"]
        assert ids(runner, trades["city"] == trades["home"]) == [(1, "a")]
        assert ids(runner, trades["city"] != trades["home"]) == [(1, "b"), (2, "a"), (3, "a")]
        assert ids(runner, trades["city"] > trades["home"]) == [(1, "b"), (2, "a")]
        assert ids(runner, trades["home"] == products["color"]) == [(1, "b")]
        assert ids(runner, trades["qty"] > products["price"]) == [(1, "a")]

    def test_compares_text_that_comes_after_the_query_was_compiled(
        self, session: ge.Session, tables: dict[str, ge.Table]
    ) -> None:
        trades, products = tables["trades"], tables["products"]
        same = session.database.prepare.list("trades", ["id"], trades["city"] == products["color"])
        assert same.run(session.database.version())["id"].to_pylist() == []
        trades.append((4, "a", "Lima", "x", "p1", 1))
        assert same.run(session.database.version())["id"].to_pylist() == []
        products.append(("p1", "Lima", 1))
        assert same.run(session.database.version())["id"].to_pylist() == [4]
        products.append(("p9", "Bern", 1))
        trades.append((5, "a", "Bern", "x", "p9", 1), (6, "a", "Kyiv", "x", "p9", 1))
        assert same.run(session.database.version())["id"].to_pylist() == [4, 5]

    def test_tells_all_that_is_wrong_with_a_query(self, runner: ge.QueryRunner) -> None:
        with pytest.raises(ge.errors.InvalidQueryError) as caught:
            runner.list("trades", ["citi", "product.colour", 5], ge.field("qty") == "many", limit=-1)
        assert len(caught.value.problems) == 5
        for hint in ("limit -1", "'city'", "'color'", "5 is no field", "'many' is not a valid LONG"):
            assert hint in str(caught.value)

    @pytest.mark.parametrize(
        ("fields", "error", "hint"),
        [
            (["citi"], ge.errors.UnknownColumnError, "Did you mean 'city'"),
            (["product.colour"], ge.errors.UnknownColumnError, "Did you mean 'color'"),
            (["produkt.color"], ge.errors.UnknownColumnError, "Did you mean 'product'"),
            (["id", "id"], ge.errors.InvalidQueryError, "'id' comes twice"),
            ([], ge.errors.InvalidQueryError, "at least one field of table 'trades'"),
            ([ge.field("qty") * 2], ge.errors.InvalidQueryError, "is no field"),
        ],
    )
    def test_refuses_fields(self, runner: ge.QueryRunner, fields: Any, error: type[Exception], hint: str) -> None:
        with pytest.raises(error, match=hint):
            runner.list("trades", fields)

    def test_refuses_tables(self, runner: ge.QueryRunner) -> None:
        with pytest.raises(ge.errors.UnknownTableError, match="Did you mean 'trades'"):
            runner.list("trade")
        with ge.Session(backend="cpu") as other, pytest.raises(ge.errors.InvalidQueryError, match="another session"):
            runner.list(other.create_table("trades", types={"id": ge.LONG}))

    @pytest.mark.parametrize(
        ("condition", "error", "hint"),
        [
            (ge.field("city") == 5, ge.errors.TypeMismatchError, "'city': 5 is not a valid STRING"),
            (ge.field("city") == ge.field("qty"), ge.errors.TypeMismatchError, "'city': qty .* STRING .*it is LONG"),
            (ge.field("qty").isin(["x"]), ge.errors.TypeMismatchError, "'x' is not a valid LONG"),
            (ge.field("city") == ge.param("city"), ge.errors.InvalidParameterError, "'city' has no value"),
            ("city", ge.errors.InvalidQueryError, "'city' is not a condition"),
            (ge.field("city") + 1 == 2, ge.errors.InvalidModelError, "'city' is STRING; arithmetic"),
        ],
    )
    def test_refuses_conditions(
        self, runner: ge.QueryRunner, condition: Any, error: type[Exception], hint: str
    ) -> None:
        with pytest.raises(error, match=hint):
            runner.list("trades", where=condition)

    def test_takes_levels_of_a_cube_over_the_same_table_only(
        self, session: ge.Session, tables: dict[str, ge.Table], runner: ge.QueryRunner
    ) -> None:
        cube = session.create_cube(tables["trades"])
        assert ids(runner, cube.levels["color"] == "red") == [(1, "a")]
        for level in cube.levels["city"], cube.levels["color"]:
            with pytest.raises(ge.errors.InvalidQueryError, match="no column that rows of table 'products' reach"):
                runner.list("products", where=level == "x")

    def test_refuses_text_as_a_list_of_values(self) -> None:
        with pytest.raises(ge.errors.TypeMismatchError, match="'Paris' is not a valid list"):
            ge.field("city").isin("Paris")


class TestComparisons:
    @pytest.fixture
    def prices(self, session: ge.Session) -> ge.Table:
        table = session.create_table(
            "prices",
            types={
                "n": ge.INT,
                "long": ge.LONG,
                "cents": ge.DECIMAL(10, 2),
                "single": ge.FLOAT,
                "one": ge.STRING,
                "two": ge.STRING,
                "pair": ge.VECTOR(2),
            },
        )
        table.append(
            (1, 2**53 + 1, "0.07", 0.1, "a", "b", [1.0, 2.0]),
            (2, 2**53, "0.08", 0.2, "b", "b", None),
            (3, None, None, None, "c", None, [0.0, 0.0]),
        )
        return table

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (ge.field("long") > float(2**53), [1]),
            (ge.field("long") == float(2**53), [2]),
            (ge.field("long") < 2.0**63, [1, 2]),
            (ge.field("long") <= -(10**400), []),
            (ge.field("long") < None, []),
            (ge.field("n") < 2.5, [1, 2]),
            (ge.field("n") >= 1.5, [2, 3]),
            (ge.field("n") == 1.5, []),
            (ge.field("long").isin([float(2**53), 2.5, None]), [2, 3]),
            (ge.field("cents") == 0.07, [1]),
            (ge.field("cents") > 0.075, [2]),
            (ge.field("cents") <= Decimal("0.075"), [1]),
            (ge.field("single") == 0.1, [1]),
            (ge.field("single") > 1e300, []),
            (ge.field("single") < 10**400, [1, 2]),
            (ge.field("single") == float("nan"), []),
            (ge.field("n") > ge.field("cents"), [1, 2]),
            (ge.field("single") > ge.field("cents"), [1, 2]),
            (ge.field("long") >= ge.field("n"), [1, 2]),
            (ge.field("one") == ge.field("two"), [2]),
            (ge.field("one") < ge.field("two"), [1]),
            (ge.field("one") >= "b", [2, 3]),
            (ge.field("two").isin([]), []),
        ],
    )
    def test_are_exact_and_mean_the_same_on_rows_and_on_cells(
        self, session: ge.Session, prices: ge.Table, condition: ge.Condition, expected: list[int]
    ) -> None:
        assert session.database.version().list(prices, ["n"], condition)["n"].to_pylist() == expected
        cube = session.create_cube(prices, mode="manual")
        for column in ("n", "long", "cents", "single", "one", "two"):
            cube.hierarchies[column] = [prices[column]]
        cube.create_provider(list(cube.levels), ["contributors.COUNT"])
        question = {"levels": ["n"], "filter": condition}
        assert cube.query("contributors.COUNT", **question, explain=True).source == "provider"
        assert cube.query("contributors.COUNT", **question, mode="arrow")["n"].to_pylist() == expected

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (ge.field("cents") * 2 == 0.14, [1]),
            (ge.field("cents") * ge.field("cents") == Decimal("0.0064"), [2]),
            (ge.field("cents") + ge.field("cents") < ge.field("n"), [1, 2]),
            ((ge.field("long") - ge.field("n")).isnull(), [3]),
            (ge.field("pair").isnull(), [2]),
            (~ge.field("pair").isnull(), [1, 3]),
        ],
    )
    def test_take_arithmetic_and_null_tests(
        self, session: ge.Session, prices: ge.Table, condition: ge.Condition, expected: list[int]
    ) -> None:
        assert session.database.version().list(prices, ["n"], condition)["n"].to_pylist() == expected

    def test_a_vector_is_null_or_not_and_no_more(self, session: ge.Session, prices: ge.Table) -> None:
        for condition in (
            prices["pair"] == [1.0, 2.0],
            prices["pair"] < prices["pair"],
            prices["pair"] == ge.param("v"),
        ):
            with pytest.raises(ge.errors.TypeMismatchError, match="VECTOR"):
                session.database.version().list(prices, where=condition)


class TestGet:
    @pytest.mark.parametrize("key", [(1, "b"), [1, "b"], {"id": 1, "leg": "b"}, {"leg": "b", "id": 1.0}])
    @pytest.mark.usefixtures("nothing_taken_in")
    def test_finds_a_row_by_its_key(self, runner: ge.QueryRunner, key: Any) -> None:
        assert runner.get("trades", key, ["city", "product.color"]) == {"city": "Rome", "product.color": "Paris"}

    @pytest.mark.parametrize("key", [(1, "z"), (9, "a"), (2**40, "never seen")])
    @pytest.mark.usefixtures("nothing_taken_in")
    def test_gives_none_for_a_key_without_a_row(self, runner: ge.QueryRunner, key: Any) -> None:
        assert runner.get("trades", key) is None

    def test_takes_single_keys_of_every_type(self, session: ge.Session) -> None:
        keys: dict[ge.DataType, Any] = {
            ge.BOOLEAN: True,
            ge.INT: -5,
            ge.LONG: 2**53 + 1,
            ge.FLOAT: 0.5,
            ge.DOUBLE: 0.1,
            ge.STRING: "é",
            ge.LOCAL_DATE: DAY,
            ge.TIMESTAMP: dt.datetime(2024, 5, 1, 12, 30, 0, 1),
            ge.DECIMAL(10, 2): Decimal("0.07"),
        }
        for number, (kind, key) in enumerate(keys.items()):
            table = session.create_table(f"t{number}", types={"key": kind, "value": ge.LONG}, keys=["key"])
            table.append((key, number))
            runner = session.database.version()
            assert runner.get(table, key) == {"key": key, "value": number}
            assert runner.get(table, {"key": key}, "value") == {"value": number}

    def test_many_come_in_the_order_of_their_keys_all_null_without_a_row(self, runner: ge.QueryRunner) -> None:
        found = runner.get_many("trades", [(3, "a"), (7, "a"), (1, "a"), (3, "a")], ["id", "city", "qty"])
        assert found.to_pylist() == [
            {"id": 3, "city": None, "qty": 7},
            {"id": None, "city": None, "qty": None},
            {"id": 1, "city": "Paris", "qty": 10},
            {"id": 3, "city": None, "qty": 7},
        ]
        assert runner.get_many("trades", []).num_rows == 0
        assert runner.get_many("trades", [(7, "a")]).num_rows == 1

    @pytest.mark.parametrize(
        ("key", "error", "hint"),
        [
            (1, ge.errors.InvalidRowError, "must have the parts"),
            ((1, "a", 2), ge.errors.InvalidRowError, "must have the parts"),
            ({"id": 1}, ge.errors.InvalidRowError, "must have the parts"),
            ({"id": 1, "leg": "a", "city": "x"}, ge.errors.InvalidRowError, "must have the parts"),
            ((1, None), ge.errors.InvalidRowError, "'leg' is null"),
            (("x", "a"), ge.errors.TypeMismatchError, "'x' is not a valid LONG"),
            ((1.5, "a"), ge.errors.TypeMismatchError, "1.5 is not a valid LONG"),
        ],
    )
    def test_refuses_keys(self, runner: ge.QueryRunner, key: Any, error: type[Exception], hint: str) -> None:
        with pytest.raises(error, match=hint):
            runner.get("trades", key)

    def test_needs_a_table_with_a_key(self, session: ge.Session) -> None:
        session.create_table("log", types={"line": ge.STRING})
        with pytest.raises(ge.errors.InvalidQueryError, match="'log' has no key"):
            session.database.version().get("log", "x")


class TestDistinct:
    def test_gives_each_combination_once_in_order_null_last(self, runner: ge.QueryRunner) -> None:
        assert runner.distinct("trades", "city")["city"].to_pylist() == ["Paris", "Rome", None]
        found = runner.distinct("trades", ["qty", "product.color"])
        assert found.to_pylist() == [
            {"qty": 7, "product.color": None},
            {"qty": 10, "product.color": "red"},
            {"qty": None, "product.color": "Paris"},
        ]

    def test_takes_a_condition(self, runner: ge.QueryRunner) -> None:
        assert runner.distinct("trades", ["city"], ge.field("qty") == 7)["city"].to_pylist() == ["Paris", None]
        assert runner.distinct("trades", ["city"], ge.field("qty") == 8).num_rows == 0

    def test_merges_what_chunks_have_in_common(self, session: ge.Session) -> None:
        table = session.create_table("long", types={"n": ge.LONG, "rest": ge.LONG})
        rows = _numbers(300_000)
        table.load_arrow(rows.append_column("rest", [[n % 7 for n in range(300_000)]]))
        assert session.database.version().distinct("long", "rest")["rest"].to_pylist() == list(range(7))


class TestStatistics:
    def test_are_exact(self, runner: ge.QueryRunner) -> None:
        statistics = runner.statistics("trades")
        assert (statistics.table, statistics.branch, statistics.row_count) == ("trades", "master", 4)
        assert statistics.columns["city"] == ge.ColumnStatistics("STRING", 2, 1, "Paris", "Rome")
        assert statistics.columns["qty"] == ge.ColumnStatistics("LONG", 2, 1, 7, 10)

    def test_of_an_empty_table(self, session: ge.Session) -> None:
        table = session.create_table("none", types={"x": ge.DOUBLE, "v": ge.VECTOR(3)})
        statistics = session.database.version().statistics(table)
        assert statistics.row_count == 0
        assert statistics.columns["x"] == ge.ColumnStatistics("DOUBLE", 0, 0, None, None)
        assert statistics.columns["v"] == ge.ColumnStatistics("VECTOR(3)", 0, 0, None, None)

    def test_count_rows_beyond_a_chunk(self, session: ge.Session) -> None:
        session.create_table("long", types={"n": ge.LONG}).load_arrow(_numbers(300_000))
        statistics = session.database.version().statistics("long")
        assert statistics.row_count == statistics.columns["n"].cardinality == 300_000
        assert (statistics.columns["n"].min, statistics.columns["n"].max) == (0, 299_999)


def _numbers(count: int) -> pa.Table:
    return pa.table({"n": pa.array(range(count), pa.int64())})
