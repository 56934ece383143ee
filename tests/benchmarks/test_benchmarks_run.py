"""The benchmarks work and check their answers. No time is asserted here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import workload
from benchmarks.check import first_difference, wrong_answers
from benchmarks.config import SMALL, chosen
from benchmarks.measure import Run, measure
from benchmarks.peers import PEERS, installed
from benchmarks.timing import Timing, peak_memory
from benchmarks.workload import QUERIES, Upserts

ROWS, SEED = 2_000, 7


@pytest.fixture(scope="module")
def small_run() -> Run:
    return measure(ROWS, SMALL, SEED, "cpu")


def benchmark_command(project_root: Path, *arguments: str, small: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", *arguments]
    environment = {**os.environ, "BENCH_SMALL": small}
    return subprocess.run(
        command, cwd=project_root, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_small_run_writes_json_and_markdown(project_root: Path, tmp_path: Path) -> None:
    report, page = tmp_path / "figures.json", tmp_path / "figures.md"
    done = benchmark_command(project_root, "--out", str(report), "--out", str(page), small="1")
    assert done.returncode == 0, done.stderr
    assert "answers equal DuckDB's" in done.stderr
    written = json.loads(report.read_text())
    assert [run["rows"] for run in written["runs"]] == [ROWS]
    assert {"processor", "python", "numpy", "duckdb"} <= written["machine"].keys()
    assert page.read_text().strip() == done.stdout.strip()
    for figure in written["runs"][0]["figures"]:
        assert f"| {figure['name']} |" in page.read_text()


def test_every_peer_gives_the_same_answers_on_the_same_lines(project_root: Path, tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    done = benchmark_command(project_root, "--engines", "all", "--out", str(report), small="1")
    assert done.returncode == 0, done.stderr
    runs = json.loads(report.read_text())["runs"]
    assert len(runs) == 1 + sum(map(installed, PEERS))
    lines = {figure["name"] for figure in runs[0]["figures"]}
    for run in runs[1:]:
        assert {figure["name"] for figure in run["figures"]} <= lines


def test_an_engine_that_is_not_there_is_named(project_root: Path) -> None:
    done = benchmark_command(project_root, "--engines", "gpu_engine,excel", small="1")
    assert done.returncode == 2
    assert "'excel'" in done.stderr


def test_a_report_of_an_unknown_kind_is_refused(project_root: Path, tmp_path: Path) -> None:
    done = benchmark_command(project_root, "--rows", "100", "--out", str(tmp_path / "figures.xlsx"))
    assert done.returncode == 2
    assert "figures.xlsx" in done.stderr


def test_every_answer_of_a_run_equals_duckdb(small_run: Run) -> None:
    assert wrong_answers(small_run, SEED) == []
    asked = [answer.question.name for answer in small_run.answers]
    for question in QUERIES:
        assert asked.count(question.name) == 2, "once from the rows, once from a provider"
    assert asked.count("live") == 3


def test_a_wrong_answer_is_found_and_named(small_run: Run) -> None:
    answers = list(small_run.answers)
    cells = dict(answers[-1].cells)
    key, values = next(iter(cells.items()))
    cells[key] = (values[0] + 1, *values[1:])
    answers[-1] = replace(answers[-1], cells=cells)
    wrong = wrong_answers(replace(small_run, answers=answers), SEED)
    assert len(wrong) == 1
    assert repr(key) in wrong[0]


def test_an_upsert_that_a_run_did_not_make_is_noticed(small_run: Run) -> None:
    size, count = small_run.taken[0]
    taken = [(size, count + 1), *small_run.taken[1:]]
    assert wrong_answers(replace(small_run, taken=taken), SEED)


def test_every_line_of_the_report_has_a_number(small_run: Run) -> None:
    names = [figure.name for figure in small_run.figures]
    assert len(set(names)) == len(names)
    for figure in small_run.figures:
        number = figure.value if figure.timing is None else figure.timing.median
        assert number is not None and number > 0, figure


@pytest.mark.parametrize(
    ("expected", "given", "words"),
    [
        ({("a",): (1,)}, {}, "missing"),
        ({}, {("a",): (1,)}, "should not be there"),
        ({("a",): (1,)}, {("a",): (2,)}, "should be (1,)"),
    ],
)
def test_differences_are_put_in_words(expected: workload.Cells, given: workload.Cells, words: str) -> None:
    assert words in str(first_difference(expected, given))
    assert first_difference(expected, expected) is None


class TestWorkload:
    def test_a_seed_gives_the_same_rows_every_time(self) -> None:
        assert workload.trades(50, SEED).equals(workload.trades(50, SEED))
        assert not workload.trades(50, SEED).equals(workload.trades(50, SEED + 1))
        assert workload.instruments(SEED).equals(workload.instruments(SEED))

    def test_instruments_have_every_product_and_one_row_per_key(self) -> None:
        rows = workload.instruments(SEED)
        assert rows.num_rows == len(set(rows["symbol"].to_pylist())) == 500
        assert len(set(rows["product"].to_pylist())) == 40

    @pytest.mark.parametrize("size", [2, 100, 1_000])
    def test_half_of_an_upsert_is_new_and_no_key_comes_twice(self, size: int) -> None:
        known = set(workload.trades(ROWS, SEED)["trade_id"].to_pylist())
        for batch in Upserts(ROWS, SEED).take(size, 3):
            keys = batch["trade_id"].to_pylist()
            assert len(set(keys)) == size
            assert len(known & set(keys)) == size // 2
            known |= set(keys)

    def test_single_rows_update_and_insert_by_turns(self) -> None:
        known = set(workload.trades(ROWS, SEED)["trade_id"].to_pylist())
        fresh = [not set(batch["trade_id"].to_pylist()) <= known for batch in Upserts(ROWS, SEED).take(1, 4)]
        assert fresh == [False, True, False, True]

    def test_an_upsert_can_be_larger_than_the_table(self) -> None:
        (batch,) = Upserts(10, SEED).take(20, 1)
        assert len(set(batch["trade_id"].to_pylist())) == 20

    def test_python_rows_hold_the_same_values(self) -> None:
        (batch,) = Upserts(ROWS, SEED).take(5, 1)
        assert workload.python_rows(batch) == [tuple(row.values()) for row in batch.to_pylist()]


def test_few_rows_ask_for_the_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_SMALL", raising=False)
    assert chosen(ROWS) is SMALL
    assert chosen(1_000_000) is not SMALL
    monkeypatch.setenv("BENCH_SMALL", "1")
    assert chosen(1_000_000) is SMALL


def test_timing_gives_median_tail_and_best() -> None:
    timing = Timing.of([0.003, 0.001, 0.002])
    assert (timing.median, timing.p95, timing.best, timing.runs) == (2.0, 3.0, 1.0, 3)


def test_peak_memory_is_that_of_a_python_process() -> None:
    assert 10 * 2**20 < peak_memory() < 2**40
