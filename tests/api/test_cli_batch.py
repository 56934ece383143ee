"""The command `gpu-engine batch`, as a process: Parquet, a summary, differences, and mistakes that are explained."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import api
import gpu_engine as ge
from tests.processes import line_of

ROWS = [(1, "Paris", 10), (2, "Rome", 20), (3, "Paris", 30), (4, None, 40)]
CUBES = """
import gpu_engine as ge

def fill(session):
    sales = session.read_csv("sales.csv", keys=["Id"])
    cube = session.create_cube(sales)
    cube.create_provider(["Shop"], ["Quantity.SUM"])
    return sales, cube

def create(session):
    fill(session)

def moved(session):
    sales, _ = fill(session)
    sales.append((2, "Rome", 21), (5, "Oslo", 50))
    sales.drop(keys=[4])
    sales.update([{"Id": 1, "Quantity": 11}, {"Id": 3, "Quantity": 29}])

def sampled(session):
    session.create_cube(session.read_csv("sales.csv", keys=["Id"], sample=1))

def ticking(session):
    sales, _ = fill(session)

    def tick(stop):
        while not stop.is_set():
            sales.append((100 + session.epoch, "Rome", 1))

    session.run_in_background("ticker", tick)
    session.wait_for_commit(after=20)

def corrupt(session):
    _, cube = fill(session)
    rows = cube.providers[0]._cells.numbers.rows
    rows[rows > 0] += 1

def failing(session):
    fill(session)
    session.run_in_background("feed", lambda stop: 1 / 0).stop()

def stuck(session):
    import threading
    print("building", flush=True)
    threading.Event().wait()
"""
BY_SHOP = {"name": "by_shop", "cube": "sales", "measures": ["Quantity.SUM"], "levels": ["Shop"]}
BY_ID = {"name": "by_id", "cube": "sales", "measures": ["contributors.COUNT"], "levels": ["Id"]}
ALL_ROWS = {"name": "rows", "table": "sales", "fields": ["Id", "Quantity"], "limit": 3}


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `gpu-engine batch` in a folder with the module `cubes` and its data; whatever still runs is ended."""
    (tmp_path / "cubes.py").write_text(CUBES)
    lines = [f"{key},{shop or ''},{quantity}" for key, shop, quantity in ROWS]
    (tmp_path / "sales.csv").write_text("\n".join(["Id,Shop,Quantity", *lines, ""]))
    root = str(Path(api.__file__).parent.parent)
    search = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    started: list[subprocess.Popen[str]] = []

    def start(target: str, queries: Any, *arguments: str, errors: int = subprocess.PIPE) -> subprocess.Popen[str]:
        text = queries if isinstance(queries, str) else json.dumps(queries)
        (tmp_path / "queries.json").write_text(text)
        options = ["--query", "queries.json", "--out", "out", "--backend", "cpu", *arguments]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "api.cli", "batch", target, *options],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": search},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=60)


@pytest.fixture
def run(command: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """Run `gpu-engine batch` to its end and return the status and what it wrote to stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        process = command(*arguments)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    return run


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "out" / "summary.json").read_text())
    return summary


def cells_of(folder: Path, name: str) -> dict[Any, Any]:
    table = pq.read_table(folder / "out" / f"{name}.parquet")
    *keys, values = (column.to_pylist() for column in table.columns)
    return dict(zip(zip(*keys, strict=True) if len(keys) > 1 else keys[0], values, strict=True))


def quantities() -> dict[str | None, int]:
    sums: dict[str | None, int] = defaultdict(int)
    for _, shop, quantity in ROWS:
        sums[shop] += quantity
    return dict(sums)


def test_writes_each_answer_and_says_how_it_came_about(run, tmp_path):
    status, output, errors = run("cubes:create", [BY_SHOP, BY_ID, ALL_ROWS])
    assert (status, output) == (0, "gpu-engine wrote 3 of 3 queries; see out/summary.json\n"), errors
    assert sorted(os.listdir(tmp_path / "out")) == ["by_id.parquet", "by_shop.parquet", "rows.parquet", "summary.json"]
    assert cells_of(tmp_path, "by_shop") == quantities()
    assert cells_of(tmp_path, "by_id") == {key: 1 for key, _, _ in ROWS}
    assert cells_of(tmp_path, "rows") == {key: quantity for key, _, quantity in ROWS[:3]}
    metadata = pq.read_schema(tmp_path / "out" / "by_shop.parquet").metadata
    assert (metadata[b"branch"], metadata[b"epoch"]) == (b"master", b"1")
    summary = summary_of(tmp_path)
    assert (summary["exit_status"], summary["since"], summary["epochs"]) == (0, None, {"master": 1})
    assert summary["versions"]["gpu_engine"] == ge.__version__
    assert summary["backend"]["name"] == "cpu"
    assert summary["tables"] == {"sales": len(ROWS)}
    (source,) = summary["sources"]
    assert source.pop("seconds") > 0
    size = (tmp_path / "sales.csv").stat().st_size
    assert source == {"source": "sales.csv", "format": "csv", "files": 1, "rows": len(ROWS), "bytes": size}
    told = [(one["name"], one["rows"], one["source"], one["provider"]) for one in summary["queries"]]
    assert told == [("by_shop", 3, "provider", "Shop"), ("by_id", 4, "scan", None), ("rows", 3, "table", None)]
    assert all(0 < one["query_seconds"] <= one["seconds"] for one in summary["queries"])
    for one in summary["queries"]:
        assert one["bytes"] == (tmp_path / "out" / one["file"]).stat().st_size
    audit = summary["audit"]
    assert (audit["cells"], audit["different_cells"], len(audit["providers"])) == (3, 0, 1)
    assert "\x1b" not in errors, "control characters where there is no terminal"


def test_with_since_writes_the_cells_that_differ(run, tmp_path):
    status, _, errors = run("cubes:moved", [BY_SHOP, BY_ID], "--since", "1")
    assert status == 0, errors
    assert cells_of(tmp_path, "by_shop") == {
        ("added", "Oslo"): 50,
        ("changed", "Rome"): 21,
        ("removed", None): 40,
    }
    assert cells_of(tmp_path, "by_id") == {("added", 5): 1, ("removed", 4): 1}
    metadata = pq.read_schema(tmp_path / "out" / "by_shop.parquet").metadata
    assert {name: metadata[name] for name in (b"branch", b"epoch", b"since")} == {
        b"branch": b"master",
        b"epoch": b"4",
        b"since": b"1",
    }
    assert [one["source"] for one in summary_of(tmp_path)["queries"]] == ["difference", "difference"]


def test_with_since_now_writes_no_cells_but_their_columns(run, tmp_path):
    assert run("cubes:moved", [BY_SHOP], "--since", "4")[0] == 0
    table = pq.read_table(tmp_path / "out" / "by_shop.parquet")
    assert (table.column_names, table.num_rows) == (["__change__", "Shop", "Quantity.SUM"], 0)


@pytest.mark.parametrize("since", ["5", "-1"])
def test_an_epoch_that_is_not_kept_is_named(run, tmp_path, since):
    status, _, errors = run("cubes:moved", [BY_SHOP], "--since", since)
    assert (status, os.listdir(tmp_path / "out")) == (2, [])
    assert f"gpu-engine: epoch {since} is not readable. Readable epochs: 0 to 4." in errors


def test_loads_what_a_sample_left_out(run, tmp_path):
    assert run("cubes:sampled", [BY_SHOP])[0] == 0
    assert cells_of(tmp_path, "by_shop") == quantities()
    assert summary_of(tmp_path)["tables"] == {"sales": len(ROWS)}


def test_all_queries_see_one_epoch_while_commits_go_on(run, tmp_path):
    queries = [{**BY_SHOP, "name": f"q{number}"} for number in range(8)]
    status, _, errors = run("cubes:ticking", queries)
    assert status == 0, errors
    summary = summary_of(tmp_path)
    assert {one["epoch"] for one in summary["queries"]} == {summary["epochs"]["master"]}
    answers = [cells_of(tmp_path, one["name"]) for one in queries]
    assert all(answer == answers[0] for answer in answers)


def test_a_query_that_fails_leaves_the_others_and_the_earlier_file(run, tmp_path):
    assert run("cubes:create", [BY_SHOP])[0] == 0
    earlier = (tmp_path / "out" / "by_shop.parquet").read_bytes()
    status, _, errors = run("cubes:create", [{**BY_SHOP, "epoch": 99}, BY_ID])
    assert status == 1, errors
    failed, answered = summary_of(tmp_path)["queries"]
    assert failed["error"]["code"] == "epoch_not_retained"
    assert answered["rows"] == len(ROWS)
    assert summary_of(tmp_path)["exit_status"] == 1
    assert (tmp_path / "out" / "by_shop.parquet").read_bytes() == earlier
    assert sorted(os.listdir(tmp_path / "out")) == ["by_id.parquet", "by_shop.parquet", "summary.json"]


def test_a_provider_that_is_wrong_fails_the_batch(run, tmp_path):
    status, _, errors = run("cubes:corrupt", [BY_ID])
    assert (status, "audit_difference" in json.dumps(summary_of(tmp_path)["failures"])) == (1, True), errors
    audit = summary_of(tmp_path)["audit"]
    assert audit["different_cells"] > 0
    assert "aggregate='rows'" in audit["providers"][0]["differences"][0]
    assert run("cubes:corrupt", [BY_ID], "--no-audit")[0] == 0
    assert summary_of(tmp_path)["audit"] is None


def test_a_background_task_that_failed_fails_the_batch(run, tmp_path):
    assert run("cubes:failing", [BY_SHOP])[0] == 1
    (failure,) = summary_of(tmp_path)["failures"]
    assert (failure["component"], failure["code"]) == ("feed", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("queries", "about"),
    [
        ("[", "queries.json: this is not JSON"),
        ({}, "$: expected a list of queries, got an object"),
        ([], "$: there are no queries"),
        ([3], "$[0]: expected a JSON object"),
        ([{"cube": "sales"}], "$[0].name: expected a name for a file"),
        ([{**BY_SHOP, "name": "../up"}], "$[0].name: expected a name for a file"),
        ([BY_ID, {**BY_SHOP, "name": "By_Id"}], "$[1].name: 'By_Id' is the name of $[0] too"),
        ([{"name": "a"}], '$[0]: give either a "cube" or a "table"'),
        ([{**BY_SHOP, "cube": "seles"}], "$[0].cube: no cube 'seles'. Did you mean 'sales'?"),
        ([BY_ID, {**BY_SHOP, "levels": ["shop"]}], "$[1].levels[0]: no level 'shop'"),
        ([{**BY_SHOP, "measure": []}], "$[0]: unknown member 'measure'. Did you mean 'measures'?"),
        ([{**BY_SHOP, "branch": "x"}], "$[0].branch: no branch 'x'"),
        ([{**ALL_ROWS, "table": 3}], "$[0].table: expected a name, got a number"),
        ([{**ALL_ROWS, "fields": ["Ids"]}], "$[0].fields: no column 'Ids'"),
        ([{**ALL_ROWS, "limit": -1}], "$[0].limit: expected a number of rows"),
    ],
)
def test_a_mistake_in_the_queries_is_placed_and_nothing_runs(run, tmp_path, queries, about):
    status, output, errors = run("cubes:create", queries)
    assert (status, output) == (2, "")
    assert about in errors
    assert not list(tmp_path.glob("out/*"))


def test_differences_of_rows_of_tables_are_refused(run):
    status, _, errors = run("cubes:create", [BY_SHOP, ALL_ROWS], "--since", "1")
    assert status == 2
    assert "$[1]: --since compares cells" in errors


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["--query", "nowhere.json"], "cannot read the queries nowhere.json"),
        (["--out", "sales.csv"], "cannot write to the folder sales.csv"),
        (["--since", "then"], "invalid int value"),
    ],
)
def test_what_it_cannot_do_it_explains(run, arguments, about):
    status, _, errors = run("cubes:create", [BY_SHOP], *arguments)
    assert status == 2
    assert about in errors


def test_stops_on_sigterm_without_a_summary(command, run, tmp_path):
    assert run("cubes:create", [BY_SHOP])[0] == 0
    process = command("cubes:stuck", [BY_SHOP])
    assert line_of(process) == "building\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert not (tmp_path / "out" / "summary.json").exists()


def test_shows_its_progress_on_a_terminal(command):
    ours, theirs = pty.openpty()
    process = command("cubes:create", [BY_SHOP, BY_ID], errors=theirs)
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 60)[0] and (part := os.read(ours, 4096)):
            shown += part
    except OSError:
        pass  # the terminal's other end was closed: the process has ended
    finally:
        os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"sales.csv  4 rows" in shown
    assert b"2 of 2: by_id" in shown
    assert b"audit of the providers" in shown
