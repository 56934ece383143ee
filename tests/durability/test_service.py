"""A service on a data directory: killed and started again it answers the same, and says what its disk cannot do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpu_engine.durability.log_file import LogFile
from tests.api.conftest import Http
from tests.durability.conftest import Shops
from tests.processes import line_of

ROOT = Path(__file__).resolve().parents[2]
MODEL = """
import gpu_engine as ge

def fill(session):
    session.create_table("sales", {"id": ge.LONG, "city": ge.STRING}, keys=["id"])
"""


@contextmanager
def serving(folder: Path) -> Iterator[Http]:
    """Serve the model on the data directory of a folder, and kill the service in the end."""
    (folder / "model.py").write_text(MODEL)
    arguments = ["serve", "model:fill", "--port", "0", "--data-dir", "data", "--durability", "fsync"]
    with subprocess.Popen(
        [sys.executable, "-m", "api.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as service:
        try:
            yield Http(line_of(service).split()[-1])
        finally:
            service.kill()


def test_a_killed_service_goes_on_where_it_was(tmp_path: Path) -> None:
    with serving(tmp_path) as http:
        status, _, answer = http.post("/tables/sales/rows", {"rows": [[1, "Paris"], [2, "Rome"]]})
        assert (status, answer["epoch"]) == (200, 1)
    with serving(tmp_path) as http:
        assert http.get("/tables/sales/rows")[2]["rows"] == [[1, "Paris"], [2, "Rome"]]
        assert http.post("/tables/sales/rows", {"rows": [[3, "Oslo"]]})[2]["epoch"] == 2


@pytest.mark.parametrize(
    ("operation", "status", "code"), [("append", 507, "log_write_failed"), ("sync", 503, "log_failed")]
)
def test_a_write_that_the_disk_refuses_has_a_status_of_its_own(
    shops: Shops, monkeypatch: pytest.MonkeyPatch, operation: str, status: int, code: str
) -> None:
    shop = shops.open()
    shop.sales.append((1, "Paris", 1))
    http = Http(shop.session.serve())

    def fail(self: LogFile, *buffers: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(LogFile, operation, fail)
        refused, _, answer = http.post("/tables/sales/rows", {"rows": [[2, "Rome", 2]]})
    assert (refused, answer["error"]["code"]) == (status, code)
    assert http.get("/tables/sales/rows")[0] == 200
    shows = [failure["code"] for failure in http.get("/health")[2]["failures"]]
    assert shows == ([code] if operation == "sync" else [])
