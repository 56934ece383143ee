"""Every call that a listener gets, in order, word by word, from its initial view to the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pytest

import gpu_engine as ge
from tests.engine.streams import caught_up, follow, tuples


def test_the_golden_order_of_all_calls(session: ge.Session) -> None:
    table = session.create_table(
        "trades", {"id": ge.LONG, "day": ge.STRING, "qty": ge.LONG}, keys=["id"], partition_by="day"
    )
    table.append((1, "mon", 10), (2, "mon", 20), (3, "tue", 30))
    calls: list[tuple[Any, ...]] = []

    class Golden:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *arguments: calls.append((name, *map(plain, arguments)))

    registration, _ = follow(session, ["id", "qty"], listener=Golden(), branch="master")
    with session.start_transaction():
        table.append((4, "tue", 40))
        table.update([{"id": 1, "qty": 11}])
        table.drop(keys=[2])
    with pytest.raises(RuntimeError), session.start_transaction():
        table.append((9, "mon", 90))
        raise RuntimeError
    with session.start_transaction():
        table.drop_partition("mon")
        table.append((3, "tue", 31), (5, "mon", 50))
        table.drop(keys=[4])
    table.truncate()
    caught_up(session, registration)
    registration.unregister()

    def info(epoch: int, *, initial: bool = False) -> ge.TransactionInfo:
        return ge.TransactionInfo("master", epoch, () if initial else ("trades",), initial)

    assert calls == [
        ("transaction_started", 1, info(1, initial=True)),
        ("records_added", "mon", [(1, 10), (2, 20)]),
        ("records_added", "tue", [(3, 30)]),
        ("transaction_committed", 1),
        ("transaction_started", 2, info(2)),
        ("records_deleted", "mon", [(2, 20)]),
        ("records_updated", "mon", [(1, 10)], [(1, 11)]),
        ("records_added", "tue", [(4, 40)]),
        ("transaction_committed", 2),
        ("transaction_started", 3, info(3)),
        ("transaction_rolled_back",),
        ("transaction_started", 3, info(3)),
        ("partition_dropped", "mon", {"day": "mon"}, [(1, 11)]),
        ("records_deleted", "tue", [(4, 40)]),
        ("records_updated", "tue", [(3, 30)], [(3, 31)]),
        ("records_added", "mon", [(5, 50)]),
        ("transaction_committed", 3),
        ("transaction_started", 4, info(4)),
        ("truncate",),
        ("transaction_committed", 4),
    ]


def plain(argument: Any) -> Any:
    if isinstance(argument, pa.RecordBatch):
        return tuples(argument)
    return dict(argument) if isinstance(argument, Mapping) else argument
