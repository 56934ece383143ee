"""Faulty CSV files: the error names line, column and value, and says what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

import loaders.csv
import loaders.csv_faults
from loaders.csv import infer_schema, read_csv
from loaders.errors import SourceError

NUMBERS = {"a": pa.int64(), "b": pa.float64(), "c": pa.string()}


def fault_of(path: Path, types: Mapping[str, pa.DataType] | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(read_csv(path, types))
    error = caught.value
    assert error.path == str(path)
    assert str(error).startswith(str(path))
    return error


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "faulty.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


Write = Callable[[str | bytes], Path]


class TestWholeFile:
    def test_missing_with_a_near_name(self, tmp_path: Path) -> None:
        (tmp_path / "sales.csv").touch()
        assert "Did you mean 'sales.csv'?" in str(fault_of(tmp_path / "sale.csv"))

    def test_missing_with_its_folder(self, tmp_path: Path) -> None:
        assert "does not exist either" in str(fault_of(tmp_path / "no" / "sales.csv"))

    def test_folder(self, tmp_path: Path) -> None:
        assert "a folder, not a file" in str(fault_of(tmp_path))

    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that refuses to be read")
    def test_unreadable(self) -> None:
        assert "cannot be read" in fault_of(Path("/proc/self/mem")).reason

    def test_empty(self, write: Write) -> None:
        error = fault_of(write(""))
        assert "empty (0 bytes)" in error.reason
        assert error.line is None

    def test_blank(self, write: Write) -> None:
        assert "blank lines only" in fault_of(write("\n\n")).reason

    def test_binary(self, write: Write) -> None:
        assert "UTF-8" in fault_of(write(b"PAR1\xff\xfe\x00\x01" * 50)).reason

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
    def test_other_encoding_of_the_header(self, write: Write, encoding: str) -> None:
        assert "UTF-8" in fault_of(write("a,b\n1,2\n".encode(encoding))).reason


class TestHeader:
    @pytest.mark.parametrize("header", ["a,b,a", '"a",b,a'])
    def test_with_a_name_twice(self, write: Write, header: str) -> None:
        error = fault_of(write(f"\n{header}\n1,2,3\n"))
        assert (error.line, error.column) == (2, "a")
        assert "columns 1 and 3" in error.reason

    def test_with_a_missing_name(self, write: Write) -> None:
        error = fault_of(write(",a\n0,1\n"))
        assert "column 1 has no name" in error.reason
        assert "index=False" in error.reason

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_with_another_separator(self, write: Write, separator: str) -> None:
        error = fault_of(write(f"a{separator}b\n1{separator}2\n"))
        assert (error.line, "seems to separate columns" in error.reason) == (1, True)
        assert "with commas" in error.reason

    def test_with_another_separator_in_one_of_several_names(self, write: Write) -> None:
        assert infer_schema(write("a;b,c\n1,2\n")).names == ["a;b", "c"]

    def test_is_looked_at_when_only_the_schema_is_asked_for(self, write: Write) -> None:
        with pytest.raises(SourceError):
            infer_schema(write("a,a\n"))


@pytest.mark.parametrize("types", [{}, NUMBERS], ids=["inferred", "given"])
class TestLine:
    @pytest.mark.parametrize("line", ["3", "3,4", "3,4,5,6"])
    def test_with_wrong_number_of_fields(self, write: Write, types: Mapping[str, pa.DataType], line: str) -> None:
        error = fault_of(write(f'a,b,c\n1,2,"x\ny"\n\n{line}\n5,6,z\n'), types)
        assert error.line == 5
        assert f"has {line.count(',') + 1} field(s), the header has 3" in error.reason

    @pytest.mark.parametrize("end", ["", "\n", "\n3,4,z\n"])
    def test_with_an_open_quote(self, write: Write, types: Mapping[str, pa.DataType], end: str) -> None:
        error = fault_of(write(f'a,b,c\n1,2,x\n2,3,"torn{end}'), types)
        assert error.line == 3
        assert error.value == f"torn{end}"
        assert "never closed" in error.reason

    def test_that_is_not_utf8(self, write: Write, types: Mapping[str, pa.DataType]) -> None:
        error = fault_of(write("a,b,c\n1,2,x\n2,3,Köln\n".encode("latin-1")), types)
        assert (error.line, error.column, error.value) == (3, "c", "K\\xf6ln")
        assert "UTF-8" in error.reason


def test_an_open_quote_in_the_only_column_or_the_header(write: Write) -> None:
    assert fault_of(write('a\nx\n"y\n')).line == 3
    assert fault_of(write('a,"b\n')).line == 1


def test_a_quote_open_over_more_than_a_field_may_hold(write: Write) -> None:
    error = fault_of(write('a,b\n1,x\n2,"' + "y" * 200_000))
    assert error.line == 3
    assert "quote" in error.reason


@pytest.mark.parametrize(
    ("type_", "good", "bad", "hint"),
    [
        (pa.int64(), "1", "1.5", "whole number"),
        (pa.int32(), "1", "3000000000", "int32"),
        (pa.float64(), "1", "one", "number like"),
        (pa.bool_(), "true", "yes", "truth value"),
        (pa.date32(), "2021-05-01", "2021-13-01", "2021-05-31"),
        (pa.timestamp("us"), "2021-05-01T10:00", "10:00", "2021-05-31T12:30:00"),
        (pa.decimal128(6, 2), "1.25", "1.255", "2 of them after the point"),
        (pa.decimal128(6, 2), "1.25", "10000", "at most 6 digits"),
        (pa.list_(pa.float64(), 2), "1;2", "1;2;3", "1.0;1.0"),
        (pa.list_(pa.float64(), 2), "1;2", "1;", "1.0;1.0"),
        (pa.list_(pa.float64(), 2), "1;2", "1;x", "1.0;1.0"),
    ],
)
def test_a_value_that_does_not_fit(write: Write, type_: pa.DataType, good: str, bad: str, hint: str) -> None:
    error = fault_of(write(f'k,v\n"x\ny",{good}\n,\n\n2,{bad}\n3,{bad}\n'), {"v": type_})
    assert (error.line, error.column, error.value) == (6, "v", bad)
    assert hint in error.reason
    assert str(type_) in error.reason


def test_times_with_and_without_a_zone_do_not_mix(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 256)
    path = write("at\n" + "2021-05-01T10:00Z\n" * 50 + "2021-05-01T10:00\n")
    error = fault_of(path, {"at": pa.timestamp("us")})
    assert (error.line, error.value) == (52, "2021-05-01T10:00")
    assert "with a zone" in error.reason


def test_the_first_fault_of_the_file_is_told(write: Write) -> None:
    path = write("a,b,c\n1,2,x\n1,y,x\nz,2,x\n1,2\n")
    error = fault_of(path, NUMBERS)
    assert (error.line, error.column, error.value) == (3, "b", "y")


def test_a_fault_deep_in_a_streamed_file_is_found(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(loaders.csv_faults, "ROWS_AT_ONCE", 100)
    path = write("a,b,c\n" + "1,2,x\n" * 5000 + "oops,2,x\n" + "1,2,x\n" * 5000)
    with pytest.raises(SourceError) as caught:
        list(read_csv(path, NUMBERS))
    assert (caught.value.line, caught.value.column, caught.value.value) == (5002, "a", "oops")


def test_a_value_unlike_the_first_part_of_a_large_file_says_so(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders.csv, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(loaders.csv, "INFERENCE_BYTES", 1024)
    error = fault_of(write("a,b\n" + "1,2\n" * 1000 + "1,x\n"))
    assert (error.line, error.column, error.value) == (1002, "b", "x")
    assert "first part of the file" in error.reason


def test_a_long_value_is_shortened_in_the_message_only(write: Write) -> None:
    error = fault_of(write("a\n" + "x" * 5000), {"a": pa.int64()})
    assert error.value == "x" * 5000
    assert len(str(error)) < 1000


def test_a_type_that_csv_cannot_hold_is_refused(write: Write) -> None:
    assert "struct" in fault_of(write("a\n1\n"), {"a": pa.struct([("x", pa.int64())])}).reason


@given(line=st.integers(0, 199), column=st.sampled_from(["a", "b"]), breaks=st.integers(0, 3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_line_is_the_one_that_an_editor_shows(tmp_path: Path, line: int, column: str, breaks: int) -> None:
    rows = [{"a": str(n), "b": "0.5", "c": '"' + "\n" * (n % (breaks + 1)) + '"'} for n in range(200)]
    rows[line][column] = "BAD"
    path = tmp_path / "edited.csv"
    path.write_text("a,b,c\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    error = fault_of(path, NUMBERS)
    assert "BAD" in path.read_text().split("\n")[(error.line or 0) - 1]
    assert (error.column, error.value) == (column, "BAD")
