"""The layout of a data directory: where its lock, its log and its checkpoints lie.

Floor 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one data directory."""

    root: Path

    @property
    def lock(self) -> Path:
        """The file whose lock is the right to write."""
        return self.root / "lock"

    @property
    def log(self) -> Path:
        """The folder of segments."""
        return self.root / "log"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def damaged(self) -> Path:
        """The folder for what is damaged, once it is no longer needed."""
        return self.root / "damaged"

    @property
    def exists(self) -> bool:
        """Whether a data directory is here."""
        return self.log.is_dir() or self.checkpoints.is_dir()

    def take_away(self, path: Path) -> Path:
        """Move a damaged file or folder of the directory to where nobody reads it, and return where that is."""
        target = self.place_for_damage(path.name)
        path.rename(target)
        return target

    def place_for_damage(self, name: str) -> Path:
        """Return a free name in the folder of what is damaged."""
        self.damaged.mkdir(exist_ok=True)
        target, number = self.damaged / name, 1
        while target.exists():
            number += 1
            target = self.damaged / f"{name}.{number}"
        return target

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.root, self.log, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
