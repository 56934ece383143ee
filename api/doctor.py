"""Whether a GPU works here, step by step, in lines for people.

Floor 6. The steps are those by which a session with backend="auto" decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import gpu_engine as ge

__all__ = ["diagnosis"]


def diagnosis(steps: Sequence[ge.ProbeStep]) -> list[str]:
    """Return a line for each step that was taken, and what follows from them."""
    width = max(len(step.name) for step in steps)
    lines = [
        f"{step.name:<{width}}  {'ok' if step.ok else 'failed':<6}  {step.detail} ({step.milliseconds:.1f} ms)"
        for step in steps
    ]
    if steps[-1].ok:
        return [*lines, "A GPU works here: sessions with backend='auto' or 'gpu' use it."]
    return [
        *lines,
        f"No GPU works here ({steps[-1].name}): backend='auto' means the CPU, and 'gpu' is refused.",
    ]
