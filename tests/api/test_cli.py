"""The command `gpu-engine`, as a process: it serves, says where, stops cleanly, and explains what it cannot do."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import api
import gpu_engine as ge
from tests.processes import line_of

CUBES = """
import gpu_engine as ge

def fill(session):
    table = session.create_table("Sales", types={"Shop": ge.STRING, "Quantity": ge.LONG}, keys=["Shop"])
    session.create_cube(table)
    table.append(("Paris", 10))

def create():
    session = ge.Session(backend="cpu")
    fill(session)
    return session

def either(session=None):
    session = session or ge.Session(backend="cpu")
    fill(session)
    return session

def wrong():
    return 42

def broken():
    raise ValueError("no such thing")

def refused(session):
    session.tables["nothing"]

def greedy(session, price):
    return session

def unpacked():
    import a_module_nobody_has
"""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `gpu-engine` with arguments, in a folder with the module `cubes`; whatever still runs is ended."""
    (tmp_path / "cubes.py").write_text(CUBES)
    (tmp_path / "torn.py").write_text("def create(:\n")
    root = str(Path(api.__file__).parent.parent)
    search = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "api.cli", *arguments],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": search},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def address_of(process: subprocess.Popen[str]) -> str:
    line = line_of(process)
    found = re.fullmatch(r"gpu-engine is serving at (http://127\.0\.0\.1:\d+/)\n", line)
    assert found, line + process.communicate(timeout=60)[1]
    return found[1]


@pytest.mark.parametrize("target", [["cubes:create"], ["cubes:fill"], ["cubes:either", "--backend", "cpu"]])
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_told_to_stop(command, target, signal_number):
    process = command("serve", *target, "--port", "0")
    with urllib.request.urlopen(f"{address_of(process)}api/v1/tables/Sales/rows", timeout=60) as response:
        assert json.load(response)["rows"] == [["Paris", 10]]
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors


def test_an_interrupt_stops_it_also_where_a_script_has_started_it_in_the_background(command):
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells do for what they start in the background
    try:
        process = command("serve", "cubes:create", "--port", "0")
    finally:
        signal.signal(signal.SIGINT, usual)
    address_of(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["cubes"], "not of the form module:function"),
        (["cubes:"], "not of the form module:function"),
        (["nowhere:create"], "no module 'nowhere'"),
        (["torn:create"], "SyntaxError"),
        (["cubes:craete"], "no function 'craete'. It has: fill, create, either"),
        (["cubes:wrong"], "returned int"),
        (["cubes:broken"], "ValueError: no such thing"),
        (["cubes:refused"], "no table 'nothing'"),
        (["cubes:greedy"], "needs the arguments session, price"),
        (["cubes:unpacked"], "pip install a_module_nobody_has"),
        (["cubes:create", "--backend", "cpu"], "--backend needs a function that takes the session"),
        (["cubes:create", "--port", "70000"], "port 70000 does not exist"),
        (["cubes:create", "--port", "many"], "invalid int value"),
    ],
)
def test_what_it_cannot_do_it_explains(command, arguments, about):
    process = command("serve", *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert about in errors


def test_a_port_in_use_is_named(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = command("serve", "cubes:create", "--port", port)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in errors


def test_it_knows_its_version(command):
    output, _ = command("--version").communicate(timeout=60)
    assert output.strip() == f"gpu-engine {ge.__version__}"


def test_the_demo_serves_its_cube(command):
    pytest.importorskip("scipy")
    process = command("demo", "--backend", "cpu", "--port", "0")
    with urllib.request.urlopen(f"{address_of(process)}api/v1/cubes", timeout=60) as response:
        assert [cube["name"] for cube in json.load(response)["cubes"]] == ["market_risk"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_gpu_that_does_not_work_is_an_error_and_names_the_step(command: Callable[..., subprocess.Popen[str]]) -> None:
    if ge.probe_gpu()[-1].ok:
        pytest.skip("here a GPU works")
    process = command("serve", "cubes:fill", "--backend", "gpu", "--port", "0")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert f"gpu-engine: backend 'gpu' is not usable: {ge.probe_gpu()[-1].name}" in errors
