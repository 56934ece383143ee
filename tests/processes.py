"""Processes that tests start: what they say is waited for, but not for ever."""

from __future__ import annotations

import subprocess
import threading
from typing import AnyStr

SECONDS = 60.0
"""A program that says nothing for so long hangs, also on a machine that is busy with other things."""


def line_of(process: subprocess.Popen[AnyStr], seconds: float = SECONDS) -> AnyStr:
    """Return the next line of a process; nothing if it ends, or says nothing for so long: then it is killed."""
    assert process.stdout is not None
    end = threading.Timer(seconds, process.kill)
    end.daemon = True
    end.start()
    try:
        return process.stdout.readline()
    finally:
        end.cancel()
