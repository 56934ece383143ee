"""Measure the push: `python -m benchmarks.push`. BENCH_SMALL=1 takes few subscribers and only proves that it works.

500 subscribers to ten different live queries over a million trades, ten 100-row transactions a second, one server
process started as docs/deployment.md says. Measured from the return of the commit to the whole frame at the client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import ASKED
from benchmarks.push.model import FOLDER
from benchmarks.push.subscribers import Subscriber

__all__ = ["Load", "Push", "main", "measure"]

LEVELS = (
    ("book", "product"),
    ("desk",),
    ("sector",),
    ("region", "desk"),
    ("currency", "sector"),
    ("book",),
    ("product",),
    ("trader",),
    ("desk", "product"),
    ("region", "sector"),
)
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the server has to bear."""

    rows: int
    subscribers: int
    commits: int
    per_second: float
    batch: int = 100


FULL = Load(rows=1_000_000, subscribers=500, commits=300, per_second=10)
SMALL = Load(rows=2_000, subscribers=12, commits=5, per_second=20)


@dataclass(frozen=True, slots=True)
class Push:
    """What came of it."""

    frames: int
    expected: int
    merged: int
    median: float
    """Milliseconds from the commit to the frame received."""
    p99: float
    commit: float
    """Median milliseconds of the commit itself."""
    cpu: float
    """Of the server process, as a share of one core."""
    megabytes: float
    """Sent to all subscribers each second."""
    memory_before: float
    """MiB resident before the first commit, with all subscribers there."""
    memory_after: float
    """The same after the last one."""

    def to_markdown(self, load: Load) -> str:
        """Return the figures as a table."""
        lines = {
            "frames received": f"{self.frames:,} of {self.expected:,}",
            "of which merged, because a subscriber was behind": f"{self.merged:,}",
            "commit to frame received, median": f"{self.median:.1f} ms",
            "commit to frame received, 99th percentile": f"{self.p99:.1f} ms",
            "the commit itself, median": f"{self.commit:.2f} ms",
            "server process": f"{self.cpu:.0%} of one core",
            "sent": f"{self.megabytes:.1f} MB/s",
            "server memory, before and after": f"{self.memory_before:.0f} and {self.memory_after:.0f} MiB",
        }
        head = f"| {load.subscribers} subscribers, {len(LEVELS)} queries, {load.per_second:g} commits/s | |"
        return "\n".join([head, "| --- | ---: |", *(f"| {name} | {value} |" for name, value in lines.items())]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; fail if a frame is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.push", description="Measure the push to subscribers.")
    small = os.environ.get("BENCH_SMALL") == "1"
    default = SMALL if small else FULL
    parser.add_argument("--rows", type=int, default=default.rows)
    parser.add_argument("--subscribers", type=int, default=default.subscribers)
    parser.add_argument("--commits", type=int, default=default.commits)
    parser.add_argument("--per-second", type=float, default=default.per_second)
    options = parser.parse_args(arguments)
    load = Load(options.rows, options.subscribers, options.commits, options.per_second)
    push = measure(load)
    print(push.to_markdown(load))
    return int(push.frames + push.merged < push.expected)


def measure(load: Load) -> Push:
    """Serve in a process of its own, subscribe, let it commit, and count what arrives."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {
            "rows": load.rows,
            "batch": load.batch,
            "commits": load.commits,
            "per_second": load.per_second,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "api.cli", "serve", "benchmarks.push.model:create_session", "--port", "0"]
        environment = {**os.environ, FOLDER: name}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                return asyncio.run(_measure(load, folder, server))
            finally:
                server.terminate()


async def _measure(load: Load, folder: Path, server: subprocess.Popen[str]) -> Push:
    assert server.stdout is not None
    silent = threading.Timer(TIMEOUT, server.kill)
    silent.start()
    line = await asyncio.to_thread(server.stdout.readline)
    silent.cancel()
    host, port = line.split("http://")[1].strip().rstrip("/").split(":")
    subscribers = [
        Subscriber({"measures": list(ASKED), "levels": list(LEVELS[number % len(LEVELS)])})
        for number in range(load.subscribers)
    ]
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one.run(host, int(port), ready)) for one in subscribers]
    for _ in subscribers:
        await asyncio.wait_for(ready.acquire(), TIMEOUT)
    before, busy, begin = _resident(server.pid), _cpu_seconds(server.pid), time.monotonic()
    for one in subscribers:
        one.nbytes = 0
    (folder / "go").touch()
    commits = await _commits(folder, load)
    epochs = {epoch: committed for epoch, _, committed in commits}
    last = max(epochs)
    deadline = time.monotonic() + TIMEOUT
    while not all(one.received and one.received[-1][0] >= last for one in subscribers):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    seconds, busy = time.monotonic() - begin, _cpu_seconds(server.pid) - busy
    after = _resident(server.pid)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    waits = sorted(moment - epochs[epoch] for one in subscribers for epoch, moment in one.received if epoch in epochs)
    durations = sorted(committed - started for _, started, committed in commits)
    return Push(
        frames=len(waits),
        expected=load.subscribers * load.commits,
        merged=sum(one.merged for one in subscribers),
        median=1e3 * waits[len(waits) // 2],
        p99=1e3 * waits[int(0.99 * (len(waits) - 1))],
        commit=1e3 * durations[len(durations) // 2],
        cpu=busy / seconds,
        megabytes=sum(one.nbytes for one in subscribers) / 1e6 / seconds,
        memory_before=before,
        memory_after=after,
    )


async def _commits(folder: Path, load: Load) -> list[tuple[int, float, float]]:
    deadline = time.monotonic() + TIMEOUT + load.commits / load.per_second
    while not (folder / "commits.json").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not finish its commits")
        await asyncio.sleep(0.05)
    return [(epoch, started, done) for epoch, started, done in json.loads((folder / "commits.json").read_text())]


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used, user and system (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
