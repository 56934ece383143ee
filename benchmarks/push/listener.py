"""One subscriber in a process of its own, which tells at once of each frame that it has received whole."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.push.subscribers import Subscriber

__all__ = ["Listener"]

READY = "ready"


class Listener:
    """A subscriber to one live query, seen from the process that commits."""

    def __init__(self, url: str, query: dict[str, Any]) -> None:
        host, port = url.split("://")[1].strip("/").rsplit(":", 1)
        command = [sys.executable, "-m", __name__, host, port, json.dumps(query)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._line() != READY:
            self.close()
            raise RuntimeError("the listener got no snapshot")

    def received(self, epoch: int) -> float:
        """Wait for the frame of an epoch; return when all of it was there, by `time.monotonic`."""
        while True:
            told, moment = self._line().split()
            if int(told) >= epoch:
                return float(moment)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the listener ended")
        return line.strip()


def main(arguments: Sequence[str]) -> None:
    """Subscribe and print, until the socket ends."""
    host, port, query = arguments
    asyncio.run(_listen(host, int(port), json.loads(query)))


async def _listen(host: str, port: int, query: dict[str, Any]) -> None:
    ready = asyncio.Semaphore(0)
    subscriber = Subscriber(query, on_change=lambda epoch, moment: print(epoch, moment, flush=True))
    reading = asyncio.create_task(subscriber.run(host, port, ready))
    await ready.acquire()
    print(READY, flush=True)
    await reading


if __name__ == "__main__":
    main(sys.argv[1:])
