"""The served session: the common workload, with upserts at a steady pace once the benchmark says so.

Started as `gpu-engine serve benchmarks.push.model:create_session`, the command of docs/deployment.md. The folder in
GPU_ENGINE_PUSH_FOLDER is how the benchmark talks to it: settings.json is read, a file `go` starts the upserts, and
commits.json is written when they are done, with the moment at which each epoch was committed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import gpu_engine as ge
from benchmarks import workload
from benchmarks.engine import fill
from benchmarks.workload import Upserts

__all__ = ["create_session"]

FOLDER = "GPU_ENGINE_PUSH_FOLDER"


def create_session(session: ge.Session) -> None:
    """Fill a session with the workload and start the thread that waits for its turn to upsert."""
    folder = Path(os.environ[FOLDER])
    settings = json.loads((folder / "settings.json").read_text())
    table, _ = fill(session, workload.trades(settings["rows"], 1), workload.instruments(1))
    batches = list(Upserts(settings["rows"], 1).take(settings["batch"], settings["commits"]))

    def upsert(closing: threading.Event) -> None:
        while not (folder / "go").exists():
            if closing.wait(0.05):
                return
        commits = []
        begin = time.monotonic()
        for turn, batch in enumerate(batches):
            if closing.wait(max(0.0, begin + turn / settings["per_second"] - time.monotonic())):
                return
            started = time.monotonic()
            report = table.load_arrow(batch)
            assert report is not None
            commits.append((report.epoch, started, time.monotonic()))
        written = folder / "commits.part"
        written.write_text(json.dumps(commits))
        written.rename(folder / "commits.json")

    session.run_in_background("benchmark upserts", upsert)
