"""Which Parquet files the GPU decodes. It must not take one whose values it would have to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_engine.backend import cuda_arrow


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The row groups that were decoded at a time, on the host for once; files of 10 rows are large, 20 a part."""
    parts: list[list[int]] = []

    def decode(path: str, groups: list[int]) -> pa.Table:
        parts.append(groups)
        return pq.ParquetFile(path, read_dictionary=["s"]).read_row_groups(groups)

    monkeypatch.setattr(cuda_arrow, "_read_row_groups", decode)
    monkeypatch.setattr(cuda_arrow, "PARQUET_ROWS", 10)
    monkeypatch.setattr(cuda_arrow, "PARQUET_ROWS_AT_ONCE", 20)
    return parts


def unheard(rows: int, nbytes: int) -> None:
    """Hear nothing."""


TYPES = {"n": pa.int64(), "s": pa.string()}


def rows(count: int) -> pa.Table:
    return pa.table({"n": range(count), "s": [f"text {i % 7}" if i % 5 else None for i in range(count)]})


def test_large_files_are_decoded_some_row_groups_at_a_time(taken: list[list[int]], tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(rows(75), file, row_group_size=12)
    heard: list[tuple[int, int]] = []
    read = cuda_arrow.read_parquet(str(file), TYPES, lambda *far: heard.append(far))
    assert read is not None
    assert [rows for rows, _ in heard] == [24, 48, 72, 75]
    assert heard == sorted(heard) and 0 < heard[-1][1] < file.stat().st_size
    assert taken == [[0, 1], [2, 3], [4, 5], [6]]
    assert read.cast(rows(75).schema).equals(rows(75))
    assert len({chunk.dictionary.to_pylist().__repr__() for chunk in read["s"].chunks}) == 1


@pytest.mark.parametrize(
    ("table", "types"),
    [
        (rows(9), TYPES),
        (rows(30), {**TYPES, "n": pa.int32()}),
        (rows(30), {"n": pa.int64()}),
        (pa.table({"d": pa.array([None] * 30, pa.decimal128(9, 2))}), {"d": pa.decimal128(9, 2)}),
        (pa.table({"t": pa.array([0] * 30, pa.timestamp("ns"))}), {"t": pa.timestamp("us")}),
        (pa.table({"t": pa.array([0] * 30, pa.timestamp("us", "UTC"))}), {"t": pa.timestamp("us")}),
    ],
    ids=["few rows", "another type", "a column too many", "decimals", "nanoseconds", "a zone"],
)
def test_other_files_are_left_to_the_host(
    taken: list[list[int]], tmp_path: Path, table: pa.Table, types: dict[str, pa.DataType]
) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(table, file)
    assert cuda_arrow.read_parquet(str(file), types, unheard) is None
    assert taken == []


def test_what_cannot_be_read_is_left_to_the_host_to_explain(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(b"no parquet")
    assert cuda_arrow.read_parquet(str(file), TYPES, unheard) is None
    assert cuda_arrow.read_parquet(str(tmp_path / "none.parquet"), TYPES, unheard) is None


def test_an_error_of_the_decoder_is_left_to_the_host_and_logged(
    taken: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> pa.Table:
        raise RuntimeError("cuDF failure: unsupported encoding")

    file = tmp_path / "x.parquet"
    pq.write_table(rows(30), file)
    monkeypatch.setattr(cuda_arrow, "_read_row_groups", broken)
    with caplog.at_level("INFO", "gpu_engine"):
        assert cuda_arrow.read_parquet(str(file), TYPES, unheard) is None
    assert "unsupported encoding" in caplog.text


def test_texts_with_nulls_of_several_parts_share_a_dictionary(
    taken: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(path: str, groups: list[int]) -> pa.Table:
        """Decode as libcudf encodes: the null is one of the distinct texts."""
        read = pq.ParquetFile(path).read_row_groups(groups)
        texts = [None, *sorted(set(read["s"].drop_null().to_pylist()))]
        places = np.array([texts.index(text) for text in read["s"].to_pylist()], np.int32)
        return read.set_column(1, "s", cuda_arrow.dictionary_array(pa.array(texts), places))

    file = tmp_path / "x.parquet"
    pq.write_table(rows(75), file, row_group_size=12)
    monkeypatch.setattr(cuda_arrow, "_read_row_groups", decode)
    read = cuda_arrow.read_parquet(str(file), TYPES, unheard)
    assert read is not None
    assert read.cast(rows(75).schema).equals(rows(75))


def test_a_null_among_the_distinct_texts_becomes_null_rows() -> None:
    places = np.array([1, 0, 2, 0], np.int32)
    column = cuda_arrow.dictionary_array(pa.array([None, "a", "b"], pa.large_string()), places)
    assert column.to_pylist() == ["a", None, "b", None]
    assert (column.null_count, column.dictionary.to_pylist()) == (2, ["a", "b"])
    assert column.type.value_type == pa.string()
