"""The ledger of files: which files a table has taken in, as they were then, kept with the rows.

Floor 5. Size and time of change say whether a file is still as it was; where they do not, the digest of its content
does. So a file that was renamed or touched is known again, and only one that says something else has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from loaders.files import FileStamp, stamp

__all__ = ["FIRST_ROWS", "FileLedger", "LoadedFile"]

FIRST_ROWS = "first rows of table {}"
"""Name under which the first rows of a table are noted that came from no file."""


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file as it was when its rows were loaded."""

    size: int
    """Bytes."""
    modified_ns: int
    """Time of its last modification, nanoseconds since 1970 in UTC."""
    digest: str
    """BLAKE2b of its content, 16 bytes in hexadecimal digits."""

    @classmethod
    def of(cls, file: Path) -> Self:
        """Return how a file is now; FileNotFoundError if it is not there. Load it after this."""
        looks = stamp(file)
        if looks is None:
            raise FileNotFoundError(f"{file} is not there.")
        return cls(looks.size, looks.mtime_ns, _digest(file))

    def looks_like(self, looks: FileStamp | None) -> bool:
        """Return whether a file that looks so, or is not there, is taken for this one without reading it."""
        return looks is not None and (self.size, self.modified_ns) == (looks.size, looks.mtime_ns)


Entries = Mapping[Path, LoadedFile | None]
"""What becomes of entries of the ledger; None takes one out."""


class FileLedger:
    """The files that one table has, by absolute path. One caller at a time.

    Parameters
    ----------
    table
        Name of the table.
    positions
        Positions of the session's sources, those of the table's files among them.
    """

    def __init__(self, table: str, positions: Mapping[str, Any]) -> None:
        self._suffix = f" of table {table}"
        self._files = {
            Path(source.removeprefix("file ").removesuffix(self._suffix)): LoadedFile(**entry)
            for source, entry in positions.items()
            if source.startswith("file ") and source.endswith(self._suffix)
        }

    def __contains__(self, file: Path) -> bool:
        """Return whether a file was ever loaded under this name."""
        return file in self._files

    def has(self, file: Path, looks: FileStamp) -> bool:
        """Return whether a file is loaded as it looks now."""
        return file in self._files and self._files[file].looks_like(looks)

    def notes(self, entries: Entries) -> dict[str, Any]:
        """Return the positions that keep such entries."""
        return {
            f"file {file}{self._suffix}": None if entry is None else asdict(entry) for file, entry in entries.items()
        }

    def forgotten(self) -> dict[str, Any]:
        """Return the positions that take every entry out."""
        return self.notes(dict.fromkeys(self._files))

    def take(self, entries: Entries) -> None:
        """Take in entries that have been committed."""
        files = {**self._files, **entries}
        self._files = {file: entry for file, entry in files.items() if entry is not None}

    def recognise(self, present: Mapping[Path, FileStamp]) -> Entries:
        """Return what to enter for files that are loaded already, under another name or with another time of change.

        A file was renamed if it has the size, time and content of one that is no longer where it was loaded from. Where
        that one still is, it is a copy, and so a file of its own. Names may have been exchanged or passed on.
        """
        unknown = {file: looks for file, looks in present.items() if not self.has(file, looks)}
        wanted = {(looks.size, looks.mtime_ns) for looks in unknown.values()}
        gone: dict[tuple[int, int], list[Path]] = {}
        for file, entry in self._files.items():
            key = entry.size, entry.modified_ns
            if key in wanted and not entry.looks_like(present[file] if file in present else stamp(file)):
                gone.setdefault(key, []).append(file)
        moved: dict[Path, LoadedFile | None] = {}
        left: set[Path] = set()
        for file, looks in unknown.items():
            former = self._same_content(file, gone.get((looks.size, looks.mtime_ns), ()))
            if former is not None:
                gone[looks.size, looks.mtime_ns].remove(former)
                moved[file] = self._files[former]
                left.add(former)
            elif file in self._files and self._files[file].size == looks.size and self._same_content(file, [file]):
                moved[file] = LoadedFile(looks.size, looks.mtime_ns, self._files[file].digest)
        return {**dict.fromkeys(left), **moved}

    def _same_content(self, file: Path, candidates: Iterable[Path]) -> Path | None:
        """Return the first candidate whose content, when it was loaded, was what a file holds now."""
        candidates = list(candidates)
        try:
            digest = _digest(file) if candidates else None
        except FileNotFoundError:
            return None
        return next((each for each in candidates if self._files[each].digest == digest), None)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
