"""CSV decoded on the device: the loaders' rows or none at all, and never rows where the loaders have an error."""

from __future__ import annotations

import logging
import random
import struct
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gpu_engine as ge
from gpu_engine.backend import cuda_csv
from gpu_engine.backend.choice import choose_backend
from gpu_engine.backend.cuda_backend import CudaBackend
from gpu_engine.errors import BadFileError
from loaders.csv import read_csv
from loaders.errors import SourceError
from tests.backends import BACKENDS

TYPES = {
    "n": pa.int64(),
    "i": pa.int32(),
    "x": pa.float64(),
    "b": pa.bool_(),
    "d": pa.date32(),
    "t": pa.timestamp("us"),
    "m": pa.decimal128(9, 2),
    "s": pa.string(),
}
ROW = {
    "n": "-9223372036854775808",
    "i": "2147483647",
    "x": "0.30000000000000004",
    "b": "true",
    "d": "2021-02-28",
    "t": "2021-05-31T12:30:00.25",
    "m": "-1234567.89",
    "s": "Zürich  ",
}
EMPTY = dict.fromkeys(ROW, "")


@pytest.fixture(params=["CudaOnCpu", "CudaBackend"], scope="module")
def backend(request: pytest.FixtureRequest) -> CudaBackend:
    made = BACKENDS[request.param]()
    assert isinstance(made, CudaBackend)
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "x.csv"


def decode(backend: CudaBackend, file: Path, types: dict[str, pa.DataType], at_once: int = 1 << 20) -> pa.Table | None:
    heard: list[tuple[int, int]] = []
    decoded = cuda_csv.read_csv(
        str(file), types, backend, backend._kernels, lambda *far: heard.append(far), smallest=0, at_once=at_once
    )
    assert heard == sorted(heard)
    if decoded is not None:
        assert heard[-1] == (decoded.num_rows, file.stat().st_size)
    return decoded


def on_the_device(backend: CudaBackend, file: Path, types: dict[str, pa.DataType]) -> pa.Table | None:
    decoded = decode(backend, file, types)
    return None if decoded is None else decoded.cast(pa.schema([(name, types[name]) for name in decoded.column_names]))


def by_the_loaders(file: Path, types: dict[str, pa.DataType]) -> pa.Table | None:
    """Return the rows, None where the loaders find a fault."""
    try:
        return pa.Table.from_batches([batch.rows for batch in read_csv(file, types)])
    except SourceError:
        return None


def same(a: pa.Table, b: pa.Table) -> bool:
    """Return whether tables are equal bit by bit: -0.0 is not 0.0."""
    return a.schema.equals(b.schema) and [repr(row) for row in a.to_pylist()] == [repr(row) for row in b.to_pylist()]


def taken(backend: CudaBackend, file: Path, types: dict[str, pa.DataType] = TYPES) -> bool:
    """Return whether the device took the file; its rows must be those of the loaders then."""
    decoded, expected = on_the_device(backend, file, types), by_the_loaders(file, types)
    if decoded is not None:
        assert expected is not None, f"the loaders refuse {file.read_bytes()!r}"
        assert same(decoded, expected), (decoded.to_pylist(), expected.to_pylist())
    return decoded is not None


def write(file: Path, *rows: dict[str, str], end: str = "\n", last: str = "\n") -> None:
    lines = [",".join(ROW), *(",".join(row.values()) for row in rows)]
    file.write_bytes((end.join(lines) + last).encode())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["\n", "\r\n", ""])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_file_of_all_types_is_decoded(backend: CudaBackend, file: Path, end: str, last: str, start: bytes) -> None:
    last = end if last else ""
    write(file, ROW, EMPTY, {**ROW, "s": "Paris", "n": "7"}, ROW, end=end, last=last)
    file.write_bytes(start + file.read_bytes())
    assert taken(backend, file)
    decoded = on_the_device(backend, file, TYPES)
    assert decoded is not None
    first, second = decoded.to_pylist()[:2]
    assert (first["n"], first["x"], first["d"]) == (-(2**63), 0.1 + 0.2, date(2021, 2, 28))
    assert first["t"] == datetime(2021, 5, 31, 12, 30, 0, 250000)
    assert set(second.values()) == {None}


def test_quoted_fields_are_decoded(backend: CudaBackend, file: Path) -> None:
    quoted = {name: f'"{value}"' for name, value in ROW.items()}
    rows = [ROW, quoted, dict.fromkeys(ROW, '""'), {**ROW, "s": '"a ""b"", c\nd"'}, {**ROW, "s": '""""'}, quoted]
    for end in ("\n", "\r\n"):
        write(file, *rows, end=end, last=end)
        file.write_bytes(file.read_bytes().replace(b"n,i,", b'"n","i",', 1))
        assert taken(backend, file)
        decoded = on_the_device(backend, file, TYPES)
        assert decoded is not None
        assert decoded["s"].to_pylist() == [ROW["s"], ROW["s"], None, 'a "b", c\nd', '"', ROW["s"]]
        assert set(decoded.slice(2, 1).to_pylist()[0].values()) == {None}


def test_a_part_that_ends_within_quotes_leaves_the_file_to_the_host(backend: CudaBackend, file: Path) -> None:
    write(file, ROW, {**ROW, "s": '"' + "\n" * 300 + '"'})
    assert decode(backend, file, TYPES, at_once=200) is None
    assert taken(backend, file)


def test_files_of_arrows_writer_are_decoded(backend: CudaBackend, file: Path) -> None:
    rows = pa.table({"n": [1, None, 3], "s": ["a, b", None, 'c"d'], "t": pa.array([datetime(2021, 5, 31)] * 3)})
    pacsv.write_csv(rows, file)
    types = {name: TYPES[name] for name in rows.column_names}
    assert taken(backend, file, types)


def test_parts_are_put_together(backend: CudaBackend, file: Path) -> None:
    write(file, *({**ROW, "n": str(i), "s": f"text {i % 7}"} for i in range(300)), last="")
    decoded, expected = decode(backend, file, TYPES, at_once=200), by_the_loaders(file, TYPES)
    assert decoded is not None and expected is not None
    assert same(decoded.cast(expected.schema), expected)
    assert decoded["s"].num_chunks > 10
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in decoded["s"].chunks}) == 1


BROKEN: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("a short line", lambda text: text.replace(b",true", b"")),
    ("a long line", lambda text: text.replace(b",true", b",true,true")),
    ("a short and a long line", lambda text: text.replace(b",true", b"").replace(b",false", b",false,1")),
    ("a quote within a field", lambda text: text.replace(b"Paris", b'Pa"ris')),
    ("two quotes within a field", lambda text: text.replace(b"Paris", b'Pa""ris')),
    ("something behind a quoted field", lambda text: text.replace(b"Paris", b'"Pa"ris')),
    ("a blank before a quoted field", lambda text: text.replace(b"Paris", b' "Paris"')),
    ("a blank behind a quoted field", lambda text: text.replace(b"true", b'"true" ')),
    ("an open quote in the header", lambda text: text.replace(b"n,i", b'n,"i')),
    ("an open quote", lambda text: text.replace(b"Paris", b'"Paris')),
    ("a blank line", lambda text: text.replace(b"\n-", b"\n\n-")),
    ("a blank line at the end", lambda text: text + b"\n"),
    ("a lone carriage return", lambda text: text.replace(b"Paris", b"Pa\rris")),
    ("one that ends a line", lambda text: text.replace(b"Paris\n", b"Paris\r\r\n")),
    ("no UTF-8", lambda text: text.replace(b"Paris", b"Pa\xffris")),
    ("an unknown column", lambda text: text.replace(b"n,", b"nn,", 1)),
    ("a column twice", lambda text: text.replace(b"i,", b"n,", 1)),
    ("no rows", lambda text: text[: text.index(b"\n") + 1]),
    ("nothing", lambda text: b""),
]


@pytest.mark.parametrize("change", [change for _, change in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_is_not_plain_is_left_to_the_host(
    backend: CudaBackend, file: Path, change: Callable[[bytes], bytes]
) -> None:
    write(file, ROW, {**ROW, "s": "Paris", "b": "false"})
    changed = change(file.read_bytes())
    assert changed != file.read_bytes()
    file.write_bytes(changed)
    assert not taken(backend, file)


@pytest.mark.parametrize(
    ("column", "texts", "expected"),
    [
        ("n", ["0", "-0", "007", "9223372036854775807", "-9223372036854775808", "-1"], True),
        ("n", ["9223372036854775808", "-9223372036854775809", "1e3", "1.0", "1.", "+1", "-", "0x1f", "1 2"], False),
        ("n", ["99999999999999999999", " ", "x", "\u0661"], False),
        ("i", ["2147483647", "-2147483648"], True),
        ("i", ["2147483648", "-2147483649"], False),
        ("x", ["1", "-0", "0.0", "1.", ".5", "1e3", "1E-3", "1.5e+10", "1.7976931348623157e308", "-0e5"], True),
        ("x", ["2.2250738585072014e-308", "9007199254740993", "0.1e-10", "00000000000000000000000012.5"], True),
        ("x", ["1e400", "nan", "inf", "1e", "e5", "1e+", ".", "-", "1.2.3", "+1", "1e-400"], False),
        ("x", ["12345678901234567890", "5e-324", "1.5f", "1d2", "1_0", "1e12345"], False),
        ("b", ["true", "false", "True", "FALSE", "1", "0"], True),
        ("b", ["yes", "tru", "truee", "2", "tRUE"], False),
        ("d", ["2000-02-29", "1900-02-28", "0001-01-01", "9999-12-31", "1969-12-31"], True),
        ("d", ["1900-02-29", "2021-02-30", "2021-13-01", "2021-00-01", "2021-01-00", "2021-1-01", "2021/01/01"], False),
        ("d", ["0000-01-01", "2021-05-31T00:00", "21-05-31"], False),
        ("t", ["2021-05-31", "2021-05-31 12:30", "2021-05-31T12:30:59", "1969-12-31T23:59:59.999999"], True),
        ("t", ["2021-05-31T24:00", "2021-05-31T12:60", "2021-05-31T12:30:60", "2021-05-31T12:30:00."], False),
        ("t", ["2021-05-31T12:30:00.1234567", "2021-05-31T12:30:00Z", "2021-05-31T12", "2021-05-31t12:30"], False),
        ("m", ["1", "1.2", "-0.01", "9999999.99", "-9999999.99", "0"], True),
        ("m", ["1.234", "10000000", "1e2", ".5", "1.", "99999999.9"], False),
        ("s", [" a ", "a;b", "null", "NULL", "\t"], True),
    ],
)
def test_fields_at_the_edges(backend: CudaBackend, file: Path, column: str, texts: list[str], expected: bool) -> None:
    for text in texts:
        write(file, ROW, {**ROW, column: text})
        assert taken(backend, file) is expected, text


NUMBERS = st.from_regex(r"-?[0-9]{0,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
FIELDS = st.one_of(
    st.text("0123456789-+.eE: T/", max_size=12),
    NUMBERS,
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(["true", "false", "0", "1", "", " 1", "1 ", "\t1"]),
)


@settings(max_examples=300)
@given(column=st.sampled_from(sorted(TYPES)), text=FIELDS)
def test_any_field_means_what_it_means_to_the_loaders(backend: CudaBackend, file: Path, column: str, text: str) -> None:
    write(file, ROW, {**ROW, column: text})
    taken(backend, file)


PIECES = ["1", "a", "", '""', '"1"', '"a,b"', '"a\nb"', '"a""b"', '""""', 'a"b', '"a"b', ' "a"', '"a', "\r", "é"]
LINES = st.tuples(
    st.lists(st.tuples(st.sampled_from(["1", "", '"2"', '""', "3.5"]), st.sampled_from(PIECES)), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
).map(lambda made: made[1].join(",".join(line) for line in made[0]))


@settings(max_examples=300)
@given(text=st.one_of(st.text('an,\n\r1.5é"', max_size=60), LINES))
@example(text="1,a\n\n2,a\n")
@example(text="1,a\r2,a\n")
@example(text='1,"a,""\n"\n"2","a"\n')
@example(text='"",""\n1,""""\n')
def test_any_lines_are_the_loaders_lines(backend: CudaBackend, file: Path, text: str) -> None:
    file.write_bytes(b"x,s\n" + text.encode())
    taken(backend, file, {"x": pa.float64(), "s": pa.string()})


def test_floats_are_the_nearest_ones(backend: CudaBackend, file: Path) -> None:
    """Values of all magnitudes, as they are written shortest, with 19 digits, and where ties lie near."""
    dice = random.Random(4)
    values = [struct.unpack("<d", dice.randbytes(8))[0] for _ in range(4000)]
    texts = [repr(x) for x in values if 1e-300 < abs(x) < 1e300]
    texts += [f"{dice.randrange(10**19)}e{dice.randrange(-320, 280)}" for _ in range(4000)]
    texts += [str((2 * dice.randrange(2**52, 2**53) + 1) * 2 ** dice.randrange(10)) for _ in range(4000)]
    texts += [f"{dice.randrange(10**17)}.{dice.randrange(100)}" for _ in range(2000)]
    texts = [text for text in texts if abs(float(text)) > 1e-307]
    file.write_text("k,x\n" + "".join(f"{k},{text}\n" for k, text in enumerate(texts)))
    decoded = on_the_device(backend, file, {"k": pa.int64(), "x": pa.float64()})
    assert decoded is not None
    assert decoded["x"].to_pylist() == [float(text) for text in texts]


def test_powers_of_five_are_rounded_as_the_proof_wants() -> None:
    words = cuda_csv.powers_of_five().view(np.uint64).tolist()
    assert len(words) == 2 * 651
    for number, power in enumerate(range(-342, 309)):
        leading = (words[2 * number] << 64) + words[2 * number + 1]
        assert leading >> 127 == 1
        scale, exact = leading.bit_length(), 5 ** abs(power)
        if power >= 0:
            shift = exact.bit_length() - scale
            assert leading == (exact >> shift if shift > 0 else exact << -shift)
        else:
            numerator = 1 << (scale + exact.bit_length() + 4)
            assert leading - 1 <= (numerator // exact) >> (numerator // exact).bit_length() - scale <= leading


def test_two_texts_with_one_hash_are_not_one_text(
    backend: CudaBackend, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, ROW, {**ROW, "s": "Paris"})
    monkeypatch.setattr(cuda_csv._Part, "_fields", _fields_hashed_alike(cuda_csv._Part._fields))
    with caplog.at_level(logging.INFO, "gpu_engine"):
        assert on_the_device(backend, file, TYPES) is None
    assert "1 fields are not written as the device reads them" in caplog.text


def _fields_hashed_alike(fields: Callable[..., Any]) -> Callable[..., Any]:
    """Let the first question for a column of text, which is that for hashes, see the numbers of another column."""
    asked: list[int] = []

    def changed(self: Any, column: int) -> Any:
        if column == len(ROW) - 1:
            asked.append(column)
        return fields(self, 0 if asked == [column] else column)

    return changed


def test_columns_of_too_many_texts_are_left_to_the_host(
    backend: CudaBackend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_csv, "MOST_TEXTS", 5)
    write(file, *({**ROW, "s": str(i % 5)} for i in range(50)))
    assert taken(backend, file)
    write(file, *({**ROW, "s": str(i % 6)} for i in range(50)))
    assert not taken(backend, file)


def test_other_types_and_one_column_are_left_to_the_host(backend: CudaBackend, file: Path) -> None:
    write(file, ROW)
    assert taken(backend, file)
    for other in (pa.float32(), pa.list_(pa.float64(), 2), pa.timestamp("us", "UTC"), pa.decimal128(38, 2)):
        assert decode(backend, file, {**TYPES, "x": other}) is None
    file.write_text("x\n1\n\n2\n")
    assert decode(backend, file, {"x": pa.int64()}) is None
    assert decode(backend, file.with_name("none"), {"x": pa.int64()}) is None


def test_small_files_are_left_to_the_host(backend: CudaBackend, file: Path) -> None:
    write(file, ROW)
    assert CudaBackend.read_file(backend, str(file), "csv", TYPES, lambda rows, nbytes: None) is None


def test_a_shortage_while_decoding_leaves_the_file_to_the_host(
    backend: CudaBackend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any) -> Any:
        raise MemoryError("no room")

    write(file, ROW)
    monkeypatch.setattr(backend, "from_host", no_room)
    assert decode(backend, file, TYPES) is None


def test_a_table_loads_them_and_names_what_is_wrong(
    backend: CudaBackend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_engine.session.choose_backend", lambda _: (backend, choose_backend("cpu")[1]))
    read: list[bool] = []
    decode_any = partial(cuda_csv.read_csv, smallest=0)

    def noted(*arguments: Any, **sizes: Any) -> pa.Table | None:
        decoded = decode_any(*arguments, **sizes)
        read.append(decoded is not None)
        return decoded

    monkeypatch.setattr(cuda_csv, "read_csv", noted)
    types = {"Id": ge.LONG, "Shop": ge.STRING, "Price": ge.DOUBLE}
    with ge.Session(backend="cpu") as session:
        sales = session.create_table("sales", types=types, keys=["Id"])
        file.write_text("Id,Shop,Price\n1,Paris,1.5\n2,Rome,\n3,,2.5\n")
        sales.load_csv(file)
        assert sales.to_arrow().to_pydict() == {
            "Id": [1, 2, 3],
            "Shop": ["Paris", "Rome", None],
            "Price": [1.5, None, 2.5],
        }
        file.write_text("Id,Shop,Price\n4,Paris,1.5\n5,Rome,many\n")
        with pytest.raises(BadFileError) as caught:
            sales.load_csv(file)
        assert (caught.value.line, caught.value.column, caught.value.value) == (3, "Price", "many")
        assert (len(sales), read) == (3, [True, False])
