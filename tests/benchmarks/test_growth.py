"""The curves of growth can be measured and drawn. No time is asserted here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.growth.__main__ import FULL, SMALL, main
from benchmarks.growth.curve import Curve
from benchmarks.growth.plot import to_markdown


@pytest.mark.parametrize("name", SMALL)
def test_a_curve_is_measured_and_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_SMALL", "1")
    assert main([name, "--out", str(tmp_path)]) == 0
    plots = list(tmp_path.glob("*.png"))
    assert plots
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)
    assert capsys.readouterr().out.count("\n| ---:") == len(plots)


def test_the_full_run_draws_what_the_tiny_one_does() -> None:
    assert list(FULL) == list(SMALL)


def test_an_unknown_curve_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["weight"])
    assert "weight" in capsys.readouterr().err


def test_lines_with_different_points_share_a_table() -> None:
    curve = Curve("name", "Title", "size", "ms")
    curve.add("one", 1, 0.5)
    curve.add("two", 10, 0.25)
    head, _, *rows = to_markdown(curve).splitlines()
    assert head == "Title (ms):"
    assert rows == ["| size | one | two |", "| ---: | ---: | ---: |", "| 1 | 0.5 |  |", "| 10 |  | 0.25 |"]
