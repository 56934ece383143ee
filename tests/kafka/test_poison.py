"""A poison message goes to the dead letters with all that is known of it, the rest of the batch is committed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import gpu_engine as ge
from tests.kafka.broker import Broker


@pytest.fixture
def poisoned(broker: Broker) -> str:
    """A topic with three good messages and two bad ones."""
    topic = broker.topic()
    broker.send(topic, [{"id": 1, "desk": "A"}, b"{broken", {"id": "two"}, {"id": 3}, {"id": 4}], key=b"\x00key")
    return topic


def test_it_carries_place_error_and_raw_bytes(
    broker: Broker, session: ge.Session, trades: ge.Table, poisoned: str
) -> None:
    load = trades.load_kafka(**broker.load(poisoned))
    assert load.wait(60)
    assert sorted(row["id"] for row in trades.to_arrow().to_pylist()) == [1, 3, 4]
    broken, misfit = session.dead_letters
    assert [letter.position for letter in (broken, misfit)] == [
        {"topic": poisoned, "partition": 0, "offset": offset} for offset in (1, 2)
    ]
    assert broken.raw == b"{broken" and misfit.raw == b'{"id": "two"}'
    assert broken.code == "DecodingError" and "JSON" in broken.reason
    assert misfit.code == "type_mismatch" and "'two' is not a valid LONG" in misfit.reason
    assert {letter.table for letter in (broken, misfit)} == {"trades"}
    assert load.statistics().dead_letters_total == 2 and load.error is None


def test_it_is_replayed_once_its_cause_is_gone(
    broker: Broker, session: ge.Session, trades: ge.Table, poisoned: str
) -> None:
    lenient = False

    def deserializer(record: ge.kafka.Record) -> dict[str, Any]:
        if lenient:
            return {"id": 100 + record.offset, "desk": (record.key or b"").decode()}
        return dict(record.json())

    assert trades.load_kafka(**broker.load(poisoned, deserializer=deserializer)).wait(60)
    before = len(trades)
    report = session.dead_letters.replay()
    assert report.replayed == () and len(report.refused) == 2 == len(session.dead_letters)
    lenient = True
    first, second = session.dead_letters
    assert session.dead_letters.replay([first.id]).replayed == (first.id,)
    assert [letter.id for letter in session.dead_letters] == [second.id]
    assert session.dead_letters.replay().replayed == (second.id,)
    assert len(session.dead_letters) == 0
    found = {row["id"]: row["desk"] for row in trades.to_arrow().to_pylist()}
    assert len(found) == before + 2 and found[101] == found[102] == "\x00key"


def test_a_bad_row_for_one_table_does_not_keep_the_others_from_theirs(broker: Broker, session: ge.Session) -> None:
    numbers = session.create_table("numbers", types={"n": ge.LONG})
    texts = session.create_table("texts", types={"n": ge.STRING})
    topic = broker.topic()
    broker.send(topic, [{"n": "7"}, {"n": "x"}])

    def number(record: ge.kafka.Record) -> dict[str, int]:
        return {"n": int(record.json()["n"])}

    assert session.load_kafka(routes={numbers: number, texts: None}, **broker.load(topic)).wait(60)
    assert numbers.to_arrow().to_pylist() == [{"n": 7}]
    assert texts.to_arrow().to_pylist() == [{"n": "7"}, {"n": "x"}]
    [letter] = session.dead_letters
    assert (letter.table, letter.code, letter.position["offset"]) == ("numbers", "ValueError", 1)


def test_all_rows_of_a_message_are_set_aside_together(broker: Broker, session: ge.Session) -> None:
    table = session.create_table("legs", types={"n": ge.LONG})
    topic = broker.topic()
    broker.send(topic, [[1, 2], [3, "x"], [4]])

    def legs(record: ge.kafka.Record) -> list[dict[str, Any]]:
        return [{"n": n} for n in record.json()]

    assert table.load_kafka(**broker.load(topic, deserializer=legs)).wait(60)
    assert [row["n"] for row in table.to_arrow().to_pylist()] == [1, 2, 4]
    [letter] = session.dead_letters
    report = session.dead_letters.replay(fix=lambda found: [{"n": 30}, {"n": 31}] if found == letter else None)
    assert report.replayed == (letter.id,)
    assert [row["n"] for row in table.to_arrow().to_pylist()] == [1, 2, 4, 30, 31]


def test_what_a_mandatory_join_refuses_goes_alone(broker: Broker, session: ge.Session) -> None:
    products = session.create_table("products", types={"product": ge.STRING, "color": ge.STRING}, keys=["product"])
    sales = session.create_table("sales", types={"n": ge.LONG, "product": ge.STRING})
    sales.join(products, on={"product": "product"}, optional=False)
    products.append(("P1", "blue"))
    topic = broker.topic()
    broker.send(topic, [{"n": n, "product": "P9" if n == 5 else "P1"} for n in range(10)])
    assert sales.load_kafka(**broker.load(topic)).wait(60)
    assert [row["n"] for row in sales.to_arrow().to_pylist()] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    [letter] = session.dead_letters
    assert letter.code == "missing_match"
    products.append(("P9", "red"))
    assert session.dead_letters.replay().replayed == (letter.id,)
    assert len(sales) == 10


def test_a_deserializer_that_cannot_say_yet_is_asked_again(
    broker: Broker, session: ge.Session, eventually: Callable[[Callable[[], object]], None]
) -> None:
    table = session.create_table("numbers", types={"n": ge.LONG})
    available = threading.Event()

    def ask(record: ge.kafka.Record) -> Any:
        if record.offset == 2 and not available.is_set():
            raise ge.kafka.UnavailableError("the price service is down")
        return record.json()

    topic = broker.topic()
    broker.send(topic, [{"n": 0}, {"n": "zero"}, {"n": 2}, {"n": 3}])
    load = table.load_kafka(**broker.load(topic, deserializer=ask))
    eventually(lambda: load.error is not None)
    assert "the price service is down" in str(load.error)
    available.set()
    assert load.wait(60)
    assert sorted(table.to_arrow()["n"].to_pylist()) == [0, 2, 3]
    assert [letter.position["offset"] for letter in session.dead_letters] == [1]


@pytest.mark.parametrize("returned", ["text", 5, [1], [{"n": 1}, None]])
def test_a_deserializer_that_returns_nonsense_poisons_its_message_only(
    broker: Broker, session: ge.Session, returned: Any
) -> None:
    table = session.create_table("numbers", types={"n": ge.LONG})
    topic = broker.topic()
    broker.send(topic, [{"n": 0}, {"n": 1}])
    load = table.load_kafka(
        **broker.load(topic, deserializer=lambda record: returned if record.offset else record.json())
    )
    assert load.wait(60)
    assert table.to_arrow().to_pylist() == [{"n": 0}]
    [letter] = session.dead_letters
    assert "Return a dict" in letter.reason


def test_a_tombstone_for_a_table_without_key_is_a_dead_letter(broker: Broker, session: ge.Session) -> None:
    table = session.create_table("numbers", types={"n": ge.LONG})
    topic = broker.topic()
    broker.send(topic, [{"n": 0}])
    broker.send(topic, [None], key="0")
    assert table.load_kafka(**broker.load(topic)).wait(60)
    [letter] = session.dead_letters
    assert letter.raw is None and "no key" in letter.reason and len(table) == 1


def test_replay_without_a_deserializer_says_what_to_do(broker: Broker, tmp_path: Any, poisoned: str) -> None:
    types = {"id": ge.LONG, "desk": ge.STRING, "price": ge.DOUBLE}
    with ge.Session(backend="cpu", data_dir=tmp_path) as session:
        table = session.create_table("trades", types=types, keys=["id"])
        assert table.load_kafka(**broker.load(poisoned)).wait(60)
        kept = list(session.dead_letters)
        assert len(kept) == 2
    with ge.Session(backend="cpu", data_dir=tmp_path) as session:
        table = session.create_table("trades", types=types, keys=["id"])
        assert list(session.dead_letters) == kept
        report = session.dead_letters.replay([kept[0].id])
        assert "Start the load again" in report.refused[kept[0].id]
        assert session.dead_letters.discard([kept[0].id]) == 1
        assert session.dead_letters.replay(fix=lambda letter: {"id": 2}).replayed == (kept[1].id,)
        assert len(table) == 4
    with ge.Session(backend="cpu", data_dir=tmp_path) as session:
        assert len(session.dead_letters) == 0 and len(session.tables["trades"]) == 4
