"""Curves: medians over a growing size, one line per thing that is measured."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Curve"]


@dataclass(slots=True)
class Curve:
    """One plot."""

    name: str
    """Of the file."""
    title: str
    x: str
    """What grows."""
    y: str
    """What is measured, with its unit."""
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Per line the points."""

    def add(self, line: str, x: float, y: float) -> None:
        """Add a point."""
        self.lines.setdefault(line, []).append((x, y))
