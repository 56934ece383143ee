"""Rows that do not fit are set aside where the user asks for it, and can be tried again."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpu_engine as ge

TYPES = {"id": ge.LONG, "city": ge.STRING, "amount": ge.DOUBLE}


@pytest.fixture
def sales(session: ge.Session) -> ge.Table:
    return session.create_table("sales", types=TYPES, keys=["id"])


def ids(table: ge.Table) -> list[int]:
    return [row["id"] for row in table.to_arrow().to_pylist()]


def test_good_rows_are_appended_and_bad_ones_set_aside(session: ge.Session, sales: ge.Table) -> None:
    bad = [(2, "Rome", "much"), (None, "Oslo", 3.0), (4, "Bonn"), {"id": 5, "town": "x"}]
    report = sales.append((1, "Paris", 1.0), *bad, (6, "Kiel", 6.0), on_error="dead_letter")
    assert report is not None and report.tables["sales"].added == 2
    assert ids(sales) == [1, 6]
    letters = list(session.dead_letters)
    assert [letter.position["row"] for letter in letters] == [1, 2, 3, 4]
    assert [letter.code for letter in letters] == ["type_mismatch", "invalid_row", "invalid_row", "unknown_column"]
    raw = [json.loads(letter.raw or b"") for letter in letters]
    assert raw == [list(row) if isinstance(row, tuple) else row for row in bad]
    assert "row 2" in letters[1].reason


def test_what_json_cannot_say_is_set_aside_as_text(session: ge.Session, sales: ge.Table) -> None:
    endless: list[object] = [2, "Rome"]
    endless.append(endless)
    rows = [(1, "\ud800", 1.0), {("id", 1): 2}, tuple(endless), (3, object(), 1.0)]
    sales.append(*rows, (4, "Kiel", 4.0), on_error="dead_letter")
    assert ids(sales) == [4]
    raw = [json.loads(letter.raw or b"") for letter in session.dead_letters]
    assert raw[:2] == [[1, "\ud800", 1.0], "{('id', 1): 2}"]
    assert len(raw) == len(rows)


def test_by_default_nothing_is_set_aside(session: ge.Session, sales: ge.Table) -> None:
    with pytest.raises(ge.errors.TypeMismatchError):
        sales.append((1, "Paris", 1.0), (2, "Rome", "much"))
    assert len(sales) == 0 and len(session.dead_letters) == 0
    with pytest.raises(ge.errors.InvalidModelError, match="on_error='ignore'"):
        sales.append((1, "Paris", 1.0), on_error="ignore")


def test_one_load_is_one_commit_with_its_dead_letters(session: ge.Session, sales: ge.Table) -> None:
    with pytest.raises(RuntimeError), session.start_transaction():
        sales.append((1, "Paris", 1.0), (2, "Rome", "much"), on_error="dead_letter")
        raise RuntimeError
    assert len(sales) == 0 and len(session.dead_letters) == 0
    sales.append((1, "Paris", 1.0), (2, "Rome", "much"), on_error="dead_letter")
    assert session.epoch == 1


def test_csv_lines_that_do_not_fit_carry_line_and_text(session: ge.Session, sales: ge.Table, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_text('id,city,amount\n1,Paris,1.5\n2,"Ro\nme",x\n3,Oslo\n,Bonn,4\n5,"Kiel, K",5\n', encoding="utf-8")
    sales.load_csv(file, on_error="dead_letter")
    assert sales.to_arrow().to_pylist() == [
        {"id": 1, "city": "Paris", "amount": 1.5},
        {"id": 5, "city": "Kiel, K", "amount": 5.0},
    ]
    letters = sorted(session.dead_letters, key=lambda letter: letter.position["line"])
    assert [(letter.position["line"], letter.code) for letter in letters] == [
        (3, "bad_file"),
        (5, "bad_file"),
        (6, "invalid_row"),
    ]
    assert letters[0].raw == b'"2","Ro\nme","x"' and letters[0].source == str(file)
    assert "column 'amount', value 'x'" in letters[0].reason
    assert "field(s)" in letters[1].reason


def test_csv_lines_are_replayed_by_the_types_of_the_table(session: ge.Session, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_text("id,amount\n1,1.5\n2,x\n", encoding="utf-8")
    table = session.read_csv(file, types={"id": ge.LONG, "amount": ge.LONG}, keys=["id"], on_error="dead_letter")
    assert len(table) == 0 and len(session.dead_letters) == 2
    assert len(session.dead_letters.replay().refused) == 2
    report = session.dead_letters.replay(fix=lambda letter: {"id": letter.position["line"], "amount": 0})
    assert len(report.replayed) == 2 and ids(table) == [2, 3]


def test_a_quote_that_is_never_closed_costs_the_rest_of_the_file(
    session: ge.Session, sales: ge.Table, tmp_path: Path
) -> None:
    file = tmp_path / "sales.csv"
    file.write_text('id,city,amount\n1,Paris,1\n2,"Rome,2\n3,Oslo,3\n', encoding="utf-8")
    sales.load_csv(file, on_error="dead_letter")
    assert ids(sales) == [1]
    [letter] = session.dead_letters
    assert "never closed" in letter.reason and b"Oslo" in (letter.raw or b"")


def test_many_bad_lines_among_many_good_ones(session: ge.Session, sales: ge.Table, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    lines = [f"{n},C{n % 7},{'bad' if n % 997 == 0 else n}" for n in range(1, 40_001)]
    file.write_text("id,city,amount\n" + "\n".join(lines) + "\n", encoding="utf-8")
    sales.load_csv(file, on_error="dead_letter")
    bad = [n for n in range(1, 40_001) if n % 997 == 0]
    assert ids(sales) == [n for n in range(1, 40_001) if n % 997]
    assert sorted(letter.position["line"] - 1 for letter in session.dead_letters) == bad


def test_parquet_rows_that_do_not_fit_are_set_aside(session: ge.Session, sales: ge.Table, tmp_path: Path) -> None:
    file = tmp_path / "sales.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "city": ["a", "b", "c"], "amount": ["1.5", "x", "3"]}), file)
    with pytest.raises(ge.errors.BadFileError):
        sales.load_parquet(file)
    sales.load_parquet(file, on_error="dead_letter")
    assert ids(sales) == [1, 3]
    [letter] = session.dead_letters
    assert letter.position == {"row": 1} and json.loads(letter.raw or b"")["amount"] == "x"


def test_arrow_and_rows_of_any_kind(session: ge.Session, sales: ge.Table) -> None:
    rows = pa.table({"id": [1, None, 3], "city": ["a", "b", "c"]})
    sales.load(rows, on_error="dead_letter")
    sales.load([{"id": 4}, {"id": "x"}], on_error="dead_letter")
    assert ids(sales) == [1, 3, 4] and len(session.dead_letters) == 2
    with pytest.raises(ge.errors.UnknownColumnError):
        sales.load_arrow(pa.table({"id": [1], "town": ["x"]}), on_error="dead_letter")


def test_the_same_line_is_one_dead_letter_each_time(session: ge.Session, sales: ge.Table, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_text("id,city,amount\n1,Paris,x\n", encoding="utf-8")
    for _ in range(3):
        sales.load_csv(file, on_error="dead_letter")
    assert len(session.dead_letters) == 1


def test_letters_are_found_by_table_and_id(session: ge.Session, sales: ge.Table) -> None:
    other = session.create_table("other", types={"n": ge.LONG})
    sales.append(("x", "a", 1.0), on_error="dead_letter")
    other.append(("y",), on_error="dead_letter")
    [letter] = session.dead_letters.list("other")
    assert session.dead_letters[letter.id] == letter
    assert len(session.dead_letters.list(limit=1)) == 1
    for act in (session.dead_letters.replay, session.dead_letters.discard):
        with pytest.raises(ge.errors.UnknownDeadLetterError):
            act([letter.id, "nobody"])
    assert session.dead_letters.discard() == 2 and len(session.dead_letters) == 0


def test_the_oldest_letters_go_when_there_are_too_many(
    session: ge.Session, sales: ge.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_engine.database.source_notes.MOST_DEAD_LETTERS", 5)
    for n in range(8):
        sales.append((n, "a", "bad"), on_error="dead_letter")
    assert [json.loads(letter.raw or b"")[0] for letter in session.dead_letters] == [3, 4, 5, 6, 7]
    assert session.dead_letters.dropped_total == 3


def test_letters_are_bounded_in_bytes(session: ge.Session, sales: ge.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_engine.database.source_notes.MOST_BYTES", 50_000)
    for n in range(8):
        sales.append((n, "a" * 10_000, "bad"), on_error="dead_letter")
    assert len(session.dead_letters) == 3 and session.dead_letters.dropped_total == 5
