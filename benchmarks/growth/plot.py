"""Plots: curves as PNG, both axes logarithmic, and as Markdown tables."""

from __future__ import annotations

from pathlib import Path

from benchmarks.growth.curve import Curve

__all__ = ["draw", "to_markdown"]


def draw(curve: Curve, folder: Path) -> Path:
    """Write the plot of a curve into a folder; return its path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name, points in curve.lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y, xscale="log", yscale="log")
    highest = max(y for points in curve.lines.values() for _, y in points)
    lowest = min(y for points in curve.lines.values() for _, y in points)
    axes.set_ylim(min(lowest, highest / 100) * 0.8, highest * 1.5)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    path = folder / f"growth-{curve.name}.png"
    figure.savefig(path, dpi=110)
    return path


def to_markdown(curve: Curve) -> str:
    """Return the points as a table with a column per line."""
    xs = sorted({x for points in curve.lines.values() for x, _ in points})
    rows = [f"| {curve.x} | " + " | ".join(curve.lines) + " |", "| ---: |" + " ---: |" * len(curve.lines)]
    for x in xs:
        found = [dict(points).get(x) for points in curve.lines.values()]
        rows.append(f"| {x:,.0f} | " + " | ".join("" if y is None else f"{y:.3g}" for y in found) + " |")
    return f"{curve.title} ({curve.y}):\n\n" + "\n".join(rows) + "\n"
