"""Partitioned tables: dropping all rows of one value at once, and what listeners are told by partition."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.streams import caught_up, follow

D1, D2, D3 = (dt.date(2024, 5, day) for day in (1, 2, 3))


@pytest.fixture
def trades(session: ge.Session) -> ge.Table:
    table = session.create_table(
        "trades", {"id": ge.LONG, "day": ge.LOCAL_DATE, "qty": ge.LONG}, keys=["id"], partition_by="day"
    )
    table.append((1, D1, 10), (2, D2, 20), (3, D1, 30), (4, None, 40))
    return table


def ids(table: ge.Table) -> list[int]:
    return sorted(table.to_arrow()["id"].to_pylist())


class TestTable:
    def test_drops_a_partition_as_one_commit(self, session: ge.Session, trades: ge.Table) -> None:
        report = trades.drop_partition(D1)
        assert (report.epoch, report.tables["trades"].removed) == (2, 2)
        assert ids(trades) == [2, 4]
        assert ids(trades) == session.database.version().list("trades")["id"].to_pylist()

    def test_takes_the_value_as_users_write_it(self, trades: ge.Table) -> None:
        trades.drop_partition("2024-05-02")
        trades.drop_partition(None)
        assert ids(trades) == [1, 3]

    def test_drops_nothing_where_the_value_is_not_there(self, session: ge.Session, trades: ge.Table) -> None:
        assert trades.drop_partition(D3).epoch == session.epoch == 1

    def test_tells_its_partitioning_column(self, session: ge.Session, trades: ge.Table) -> None:
        assert trades.partition_by == "day"
        assert session.create_table("plain", {"id": ge.LONG}).partition_by is None

    def test_refuses_a_value_of_another_type(self, trades: ge.Table) -> None:
        with pytest.raises(ge.errors.TypeMismatchError, match="partition of table 'trades', column 'day'"):
            trades.drop_partition("yesterday")

    def test_without_partitions_refuses(self, session: ge.Session) -> None:
        with pytest.raises(ge.errors.InvalidQueryError, match="partition_by"):
            session.create_table("plain", {"id": ge.LONG}).drop_partition(1)

    @pytest.mark.parametrize("kind", [ge.DOUBLE, ge.FLOAT, ge.VECTOR(2)])
    def test_cannot_be_partitioned_by_floats(self, session: ge.Session, kind: ge.DataType) -> None:
        with pytest.raises(ge.errors.InvalidModelError, match="cannot partition"):
            session.create_table("plain", {"id": ge.LONG, "x": kind}, partition_by="x")
        assert "plain" not in session.tables

    def test_cannot_be_partitioned_by_a_column_it_lacks(self, session: ge.Session) -> None:
        with pytest.raises(ge.errors.UnknownColumnError, match="no column 'y'"):
            session.create_table("plain", {"id": ge.LONG}, partition_by="y")

    def test_can_be_made_from_every_source(self, session: ge.Session, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": [1, 2], "city": ["Rome", "Paris"]})
        frame.to_csv(tmp_path / "a.csv", index=False)
        frame.to_parquet(tmp_path / "b.parquet")
        made = [
            session.read_csv(tmp_path / "a.csv", partition_by="city"),
            session.read_parquet(tmp_path / "b.parquet", partition_by="city"),
            session.read_arrow(pa.Table.from_pandas(frame), "c", partition_by="city"),
            session.read_pandas(frame, "d", partition_by="city"),
        ]
        for table in made:
            table.drop_partition("Rome")
            assert ids(table) == [2]

    @pytest.mark.parametrize(
        ("kind", "kept", "dropped"),
        [
            (ge.STRING, "a", "b"),
            (ge.INT, 1, 2),
            (ge.LONG, 1, 2),
            (ge.BOOLEAN, False, True),
            (ge.DECIMAL(8, 2), "1.50", "2.50"),
            (ge.LOCAL_DATE, D1, D2),
            (ge.TIMESTAMP, dt.datetime(2024, 5, 1, 10), dt.datetime(2024, 5, 1, 11)),
        ],
    )
    def test_can_be_partitioned_by_any_exact_type(
        self, session: ge.Session, kind: ge.DataType, kept: Any, dropped: Any
    ) -> None:
        table = session.create_table("trades", {"id": ge.LONG, "by": kind}, keys=["id"], partition_by="by")
        registration, recorder = follow(session, ["id"])
        table.append((1, kept), (2, dropped), (3, dropped))
        table.drop_partition(dropped)
        caught_up(session, registration)
        added, gone = recorder.told[1:]
        assert [len(call[2]) for call in added.calls] == [1, 2]
        assert gone.names() == ["partition_dropped"]
        assert [line[1:] for line in recorder.lines()] == [(1,)]
        assert recorder.lines()[0][0] == added.calls[0][1]


class TestListener:
    def test_gets_each_partition_by_itself(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id", "qty"])
        assert sorted(recorder.last().calls, key=str) == [
            ("records_added", None, [(4, 40)]),
            ("records_added", D1, [(1, 10), (3, 30)]),
            ("records_added", D2, [(2, 20)]),
        ]
        trades.update([{"id": 3, "qty": 31}, {"id": 2, "qty": 21}, {"id": 4, "qty": 41}])
        caught_up(session, registration)
        assert sorted(recorder.last().calls, key=str) == [
            ("records_updated", None, [(4, 40)], [(4, 41)]),
            ("records_updated", D1, [(3, 30)], [(3, 31)]),
            ("records_updated", D2, [(2, 20)], [(2, 21)]),
        ]

    def test_sees_a_row_leave_one_partition_and_enter_another(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id"])
        trades.update([{"id": 1, "day": D3}])
        caught_up(session, registration)
        assert recorder.last().calls == [("records_deleted", D1, [(1,)]), ("records_added", D3, [(1,)])]

    def test_is_told_of_a_dropped_partition_in_one_call(self, session: ge.Session, trades: ge.Table) -> None:
        calls: list[tuple[Any, ...]] = []

        class Listener(ge.StreamListener):
            def partition_dropped(self, partition: Any, conditions: Any, rows: pa.RecordBatch) -> None:
                calls.append((partition, dict(conditions), rows.to_pylist()))

        registration, _ = follow(session, ["id", "qty"], ge.field("qty") > 10, listener=Listener())
        trades.drop_partition(D1)
        caught_up(session, registration)
        assert calls == [(D1, {"day": D1}, [{"id": 3, "qty": 30}])]
        assert registration.statistics().rows["partition_dropped"] == 1

    def test_is_told_nothing_of_one_that_its_query_does_not_list(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id"], ge.field("qty") > 25)
        trades.drop_partition(D2)
        caught_up(session, registration)
        assert recorder.last().calls == []

    def test_is_told_of_other_changes_after_it(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id", "qty"])
        with session.start_transaction():
            trades.drop_partition(D1)
            trades.append((2, D2, 21), (5, D3, 50))
            trades.drop(keys=[4])
        caught_up(session, registration)
        assert recorder.last().calls == [
            ("partition_dropped", D1, [(1, 10), (3, 30)]),
            ("records_deleted", None, [(4, 40)]),
            ("records_updated", D2, [(2, 20)], [(2, 21)]),
            ("records_added", D3, [(5, 50)]),
        ]

    def test_sees_what_a_transaction_loads_into_it_anew_as_added(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id", "qty"])
        with session.start_transaction():
            trades.drop_partition(D1)
            trades.append((1, D1, 10), (6, D1, 60), (2, D1, 20), (3, D2, 30))
        caught_up(session, registration)
        told = recorder.last()
        assert told.calls[:2] == [("partition_dropped", D1, [(1, 10), (3, 30)]), ("records_deleted", D2, [(2, 20)])]
        assert sorted(told.rows("records_added")) == [(D1, 1, 10), (D1, 2, 20), (D1, 6, 60), (D2, 3, 30)]

    def test_is_told_of_several_dropped_at_once(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id"])
        with session.start_transaction():
            trades.drop_partition(None)
            trades.drop_partition(D1)
        caught_up(session, registration)
        assert recorder.last().calls == [
            ("partition_dropped", None, [(4,)]),
            ("partition_dropped", D1, [(1,), (3,)]),
        ]

    def test_is_told_the_rows_if_the_drop_was_not_the_first_operation(
        self, session: ge.Session, trades: ge.Table
    ) -> None:
        registration, recorder = follow(session, ["id"])
        with session.start_transaction():
            trades.append((7, D1, 70))
            trades.drop_partition(D1)
        caught_up(session, registration)
        assert recorder.last().calls == [("records_deleted", D1, [(1,), (3,)])]

    def test_is_told_of_a_truncated_table_once(self, session: ge.Session, trades: ge.Table) -> None:
        registration, recorder = follow(session, ["id"])
        with session.start_transaction():
            trades.drop_partition(D1)
            trades.truncate()
        caught_up(session, registration)
        assert recorder.last().calls == [("truncate", None)]

    def test_of_facts_sees_a_dropped_partition_of_a_dimension(self, session: ge.Session) -> None:
        cities = session.create_table(
            "cities", {"name": ge.STRING, "land": ge.STRING}, keys=["name"], partition_by="land"
        )
        table = session.create_table("trades", {"id": ge.LONG, "city": ge.STRING}, keys=["id"])
        table.join(cities, on={"city": "name"})
        cities.append(("Rome", "Italy"), ("Paris", "France"))
        table.append((1, "Rome"), (2, "Paris"))
        registration, recorder = follow(session, ["id", "cities.land"])
        cities.drop_partition("Italy")
        caught_up(session, registration)
        assert recorder.last().calls == [("records_updated", None, [(1, "Italy")], [(1, None)])]
