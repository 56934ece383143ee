"""T4, T5: rows by tuple and by mapping, upserts by key, partial updates, drops, and what a commit reports of them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

import gpu_engine as ge
from tests.engine.answers import Heard, rows
from tests.engine.conftest import Shop


@pytest.fixture
def cities(session: ge.Session) -> ge.Table:
    table = session.create_table(
        "cities",
        types={"Name": ge.STRING, "Country": ge.STRING, "People": ge.LONG},
        keys=["Name"],
        defaults={"Country": "France"},
    )
    table.append(("Paris", "France", 2_100_000), ("Rome", "Italy", 2_800_000))
    return table


def report_of(report: ge.CommitReport | None, table: str = "cities") -> ge.TableReport:
    assert report is not None
    return report.tables[table]


class TestAppend:
    def test_takes_tuples_in_column_order(self, cities: ge.Table) -> None:
        assert rows(cities)[0] == {"Name": "Paris", "Country": "France", "People": 2_100_000}

    def test_takes_mappings_with_defaults_for_what_they_leave_out(self, cities: ge.Table) -> None:
        cities.append({"Name": "Lyon"}, {"Name": "Nice", "Country": None})
        assert rows(cities)[2:] == [
            {"Name": "Lyon", "Country": "France", "People": None},
            {"Name": "Nice", "Country": None, "People": None},
        ]

    def test_takes_tuples_and_mappings_together(self, cities: ge.Table) -> None:
        cities.append(("Lyon", "France", 5), {"Name": "Nice"})
        assert len(cities) == 4

    def test_of_no_rows_changes_nothing(self, cities: ge.Table) -> None:
        report = cities.append()
        assert report is not None
        assert report.epoch == 1

    def test_of_a_known_key_updates_its_row(self, cities: ge.Table) -> None:
        report = cities.append(("Rome", "Italy", 3_000_000), ("Oslo", "Norway", 700_000))
        assert report_of(report) == ge.TableReport(added=1, updated=1)
        assert len(cities) == 3
        assert {row["Name"]: row["People"] for row in rows(cities)}["Rome"] == 3_000_000

    def test_reports_the_epoch_that_shows_it(self, cities: ge.Table, session: ge.Session) -> None:
        report = cities.append(("Oslo", "Norway", 1))
        assert report is not None
        assert report.epoch == session.epoch == 2

    def test_of_one_key_twice_keeps_the_last_and_counts_the_other(self, cities: ge.Table) -> None:
        report = cities.append(("Oslo", "Norway", 1), ("Bonn", "Germany", 2), ("Oslo", "Norway", 3))
        assert report_of(report) == ge.TableReport(added=2, duplicates=1)
        assert {row["Name"]: row["People"] for row in rows(cities)}["Oslo"] == 3

    def test_of_an_equal_row_changes_nothing(self, cities: ge.Table, session: ge.Session) -> None:
        report = cities.append(("Rome", "Italy", 2_800_000))
        assert report == ge.CommitReport(1, {"cities": ge.TableReport(unchanged=1)})
        assert session.epoch == 1

    def test_of_a_changed_and_an_equal_row_moves_only_the_changed_one(self, cities: ge.Table) -> None:
        report = cities.append(("Rome", "Italy", 2_800_000), ("Paris", "France", 1))
        assert report_of(report) == ge.TableReport(updated=1, unchanged=1)

    def test_of_a_key_that_was_dropped_adds_it(self, cities: ge.Table) -> None:
        cities.drop(keys=["Rome"])
        assert report_of(cities.append(("Rome", "Italy", 5))) == ge.TableReport(added=1)

    def test_without_a_key_always_adds(self, shop: Shop) -> None:
        row = ("2024-01-01", "P1", 10)
        report = shop.sales.append(row, row)
        assert report_of(report, "sales") == ge.TableReport(added=2)
        assert len(shop.sales) == 5

    def test_of_an_equal_row_notifies_nobody(self, shop: Shop) -> None:
        heard = Heard()
        live = shop.cube.live("Revenue", levels=["color"], on_change=heard)
        shop.products.append(("P1", "blue", 5.0))
        report = shop.products.append(("P1", "blue", 6.0))
        assert report is not None
        assert live.wait_for(report.epoch, timeout=20)
        assert [(change.snapshot, change.epoch) for change in heard.changes] == [(True, 2), (False, 3)]


MOMENT = datetime.datetime(2024, 5, 1, 12, 30)
KEY_PARTS: dict[str, tuple[ge.DataType, Any, Any]] = {
    "boolean": (ge.BOOLEAN, True, False),
    "int": (ge.INT, -(2**31), 2**31 - 1),
    "long": (ge.LONG, -(2**63), 2**63 - 1),
    "float": (ge.FLOAT, 0.5, -0.25),
    "double": (ge.DOUBLE, 1e300, 1e-300),
    "decimal": (ge.DECIMAL(18, 2), "0.01", "-9999999999999999.99"),
    "string": (ge.STRING, "", "long text with 日本語"),
    "date": (ge.LOCAL_DATE, "0001-01-01", "9999-12-31"),
    "timestamp": (ge.TIMESTAMP, MOMENT, MOMENT + datetime.timedelta(microseconds=1)),
}


class TestKeys:
    @pytest.mark.parametrize("part", KEY_PARTS)
    def test_of_any_scalar_type_identify_a_row(self, session: ge.Session, part: str) -> None:
        data_type, one, other = KEY_PARTS[part]
        table = session.create_table("t", types={"k": data_type, "v": ge.LONG}, keys=["k"])
        table.append((one, 1), (other, 2))
        table.append((one, 3))
        assert [row["v"] for row in rows(table)] == [2, 3]
        table.drop(keys=[other])
        assert [row["v"] for row in rows(table)] == [3]

    @pytest.mark.parametrize("part", KEY_PARTS)
    def test_of_several_parts_differ_where_one_part_does(self, session: ge.Session, part: str) -> None:
        data_type, one, other = KEY_PARTS[part]
        types = {"a": ge.STRING, "b": data_type, "c": ge.LONG, "v": ge.LONG}
        table = session.create_table("t", types=types, keys=["a", "b", "c"])
        table.append(("x", one, 1, 1), ("x", other, 1, 2), ("y", one, 1, 3), ("x", one, 2, 4), ("x", one, 1, 5))
        assert [row["v"] for row in rows(table)] == [2, 3, 4, 5]
        table.drop(keys=[("x", other, 1), {"a": "y", "b": one, "c": 1}])
        assert [row["v"] for row in rows(table)] == [4, 5]

    def test_may_be_all_columns(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"a": ge.LONG, "b": ge.STRING}, keys=["a", "b"])
        assert report_of(table.append((1, "x"), (1, "y"), (1, "x")), "t") == ge.TableReport(added=2, duplicates=1)
        assert report_of(table.append((1, "x")), "t") == ge.TableReport(unchanged=1)

    def test_may_stand_anywhere_among_the_columns(self, session: ge.Session) -> None:
        types = {"v": ge.LONG, "b": ge.STRING, "w": ge.LONG, "a": ge.LONG}
        table = session.create_table("t", types=types, keys=["a", "b"])
        table.append((1, "x", 2, 3), (4, "x", 5, 3))
        assert rows(table) == [{"v": 4, "b": "x", "w": 5, "a": 3}]
        table.drop(keys=[(3, "x")])
        assert len(table) == 0

    def test_take_all_nan_for_one_value_and_both_zeros_too(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"k": ge.DOUBLE, "v": ge.LONG}, keys=["k"])
        table.append((float("nan"), 1), (0.0, 2))
        table.append((float("nan"), 3), (-0.0, 4))
        assert [row["v"] for row in rows(table)] == [3, 4]

    def test_are_indexed_over_many_commits(self, session: ge.Session) -> None:
        table = session.create_table("t", types={"a": ge.LONG, "b": ge.STRING, "v": ge.LONG}, keys=["a", "b"])
        for number in range(300):
            table.append((number % 70, f"b{number % 3}", number))
        newest = {(number % 70, f"b{number % 3}"): number for number in range(300)}
        assert {(row["a"], row["b"]): row["v"] for row in rows(table)} == newest


class TestUpdate:
    def test_changes_only_the_columns_given(self, cities: ge.Table) -> None:
        report = cities.update([{"Name": "Rome", "People": 1}])
        assert report_of(report) == ge.TableReport(updated=1)
        assert rows(cities)[1] == {"Name": "Rome", "Country": "Italy", "People": 1}

    def test_tells_null_from_absent(self, cities: ge.Table) -> None:
        cities.update([{"Name": "Rome", "Country": None}])
        assert rows(cities)[1] == {"Name": "Rome", "Country": None, "People": 2_800_000}

    def test_takes_one_mapping_too(self, cities: ge.Table) -> None:
        cities.update({"Name": "Rome", "People": 1})
        assert rows(cities)[1]["People"] == 1

    def test_takes_rows_that_name_different_columns(self, cities: ge.Table) -> None:
        report = cities.update(
            [{"Name": "Rome", "People": 1}, {"Name": "Paris", "Country": "F"}, {"Name": "Rome", "Country": "I"}]
        )
        assert report_of(report).updated == 2
        assert {row["Name"]: (row["Country"], row["People"]) for row in rows(cities)} == {
            "Paris": ("F", 2_100_000),
            "Rome": ("I", 1),
        }

    def test_of_one_key_twice_keeps_the_last(self, cities: ge.Table) -> None:
        report = cities.update([{"Name": "Rome", "People": 1}, {"Name": "Rome", "People": 2}])
        assert report_of(report) == ge.TableReport(updated=1, duplicates=1)
        assert rows(cities)[1]["People"] == 2

    def test_to_what_is_there_changes_nothing(self, cities: ge.Table, session: ge.Session) -> None:
        assert report_of(cities.update([{"Name": "Rome", "People": 2_800_000}])) == ge.TableReport(unchanged=1)
        assert session.epoch == 1


class TestDrop:
    def test_by_condition_removes_the_rows_it_holds_for(self, cities: ge.Table) -> None:
        assert report_of(cities.drop(ge.field("Country") == "Italy")) == ge.TableReport(removed=1)
        assert [row["Name"] for row in rows(cities)] == ["Paris"]

    def test_by_condition_that_holds_for_nothing_changes_nothing(self, cities: ge.Table, session: ge.Session) -> None:
        assert report_of(cities.drop(cities["Country"] == "Spain")) == ge.TableReport()
        assert session.epoch == 1

    def test_by_keys_passes_over_unknown_ones(self, cities: ge.Table) -> None:
        assert report_of(cities.drop(keys=["Rome", "Oslo", "Rome"])) == ge.TableReport(removed=1)

    def test_by_keys_takes_one_key_alone(self, cities: ge.Table) -> None:
        cities.drop(keys="Rome")
        cities.drop(keys={"Name": "Paris"})
        assert len(cities) == 0

    def test_by_keys_takes_one_number_alone(self, session: ge.Session) -> None:
        table = session.create_table("numbered", types={"k": ge.LONG, "v": ge.LONG}, keys=["k"])
        table.append((1, 1), (2, 2))
        table.drop(keys=1)
        assert [row["k"] for row in rows(table)] == [2]

    def test_by_condition_works_without_a_key(self, shop: Shop) -> None:
        shop.sales.drop(shop.sales["quantity"] >= 20)
        assert [row["ProductId"] for row in rows(shop.sales)] == ["P1"]

    def test_by_condition_reaches_through_joins(self, shop: Shop) -> None:
        shop.sales.drop(ge.field("products.color") == "red")
        assert [row["ProductId"] for row in rows(shop.sales)] == ["P1", "P3"]
        shop.sales.drop(shop.products["color"].isnull())
        assert [row["ProductId"] for row in rows(shop.sales)] == ["P1"]


def test_truncate_removes_all_rows(cities: ge.Table) -> None:
    assert report_of(cities.truncate()) == ge.TableReport(removed=2)
    assert len(cities) == 0
    assert rows(cities) == []


def test_truncate_of_an_empty_table_changes_nothing(cities: ge.Table, session: ge.Session) -> None:
    cities.truncate()
    cities.truncate()
    assert session.epoch == 2


class TestConditions:
    @pytest.mark.parametrize(
        ("condition", "names"),
        [
            (ge.field("People") > 2_500_000, {"Rome"}),
            (ge.field("People") >= 2_800_000, {"Rome"}),
            (ge.field("People") < 2_500_000, {"Paris"}),
            (ge.field("People") <= 2_100_000, {"Paris"}),
            (ge.field("People") != 2_100_000, {"Rome", "Atlantis"}),
            (ge.field("Country").isin(["Italy", "Spain"]), {"Rome"}),
            (ge.field("Country").isin(["Italy", None]), {"Rome", "Atlantis"}),
            (ge.field("Country").isnull(), {"Atlantis"}),
            (ge.field("Country") == None, {"Atlantis"}),  # noqa: E711
            (~(ge.field("Country") == "Italy"), {"Paris", "Atlantis"}),
            ((ge.field("Country") == "Italy") | ge.field("People").isnull(), {"Rome", "Atlantis"}),
            ((ge.field("Country") == "Italy") & (ge.field("People") < 5), set()),
            (ge.field("People") * 2 - 1 > 5_000_000, {"Rome"}),
            (ge.field("People") > 2_500_000.5, {"Rome"}),
            (ge.field("People") < 2**70, {"Paris", "Rome"}),
            (ge.field("People") == 2**70, set()),
        ],
        ids=repr,
    )
    def test_hold_for_these_rows(self, cities: ge.Table, condition: ge.Condition, names: set[str]) -> None:
        cities.append(("Atlantis", None, None))
        assert set(cities.where(condition)["Name"].to_pylist()) == names

    def test_on_dates_take_text(self, shop: Shop) -> None:
        assert shop.sales.where(shop.sales["Date"] == "2024-01-01").num_rows == 3
        assert shop.sales.where(shop.sales["Date"] > "2024-01-01").num_rows == 0

    def test_stop_at_a_limit(self, shop: Shop) -> None:
        assert shop.sales.where(shop.sales["quantity"] > 0, limit=2)["quantity"].to_pylist() == [10, 20]


class TestReading:
    def test_names_columns_types_and_keys(self, cities: ge.Table) -> None:
        assert cities.name == "cities"
        assert cities.columns == ("Name", "Country", "People")
        assert dict(cities.types) == {"Name": ge.STRING, "Country": ge.STRING, "People": ge.LONG}
        assert cities.keys == ("Name",)
        assert len(cities) == 2

    def test_head_shows_the_first_rows_by_key(self, cities: ge.Table) -> None:
        head = cities.head(1)
        assert head.index.names == ["Name"]
        assert head.to_dict("index") == {"Paris": {"Country": "France", "People": 2_100_000}}

    def test_head_without_a_key_has_plain_numbers(self, shop: Shop) -> None:
        head = shop.sales.head()
        assert list(head.columns) == ["Date", "ProductId", "quantity"]
        assert list(head["quantity"]) == [10, 20, 30]

    def test_to_arrow_has_the_columns_types(self, cities: ge.Table) -> None:
        assert [str(kind) for kind in cities.to_arrow().schema.types] == ["string", "string", "int64"]
        assert cities.to_arrow(1).num_rows == 1

    def test_what_was_read_stays_as_it_was(self, cities: ge.Table) -> None:
        before = cities.to_arrow()
        cities.append(("Paris", "x", 0), *((f"c{number}", "x", number) for number in range(200)))
        cities.truncate()
        assert before.to_pydict() == {
            "Name": ["Paris", "Rome"],
            "Country": ["France", "Italy"],
            "People": [2_100_000, 2_800_000],
        }
