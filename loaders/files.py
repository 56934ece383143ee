"""Which files a path, a folder or a glob means, and how to tell that one of them has changed.

Floor 0: imports only loaders.errors. Reads folders and file attributes, never a file's content.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Self

from loaders.errors import SourceError

__all__ = [
    "FileStamp",
    "PathLike",
    "Selection",
    "default_name",
    "expand",
    "is_pattern",
    "regular_file",
    "snapshot",
    "stamp",
]

DATA_SUFFIXES = (".csv", ".parquet")
"""What counts as a data file in a folder when nobody says otherwise."""

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What a file looks like from outside; when it differs, the file has changed.

    A file written twice with the same size looks unchanged if both times are the same to the file system: some
    milliseconds on Linux, two seconds on FAT.
    """

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last modification, nanoseconds since 1970 in UTC, as fine as the file system keeps it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that a path, a folder or a glob selects, now or later.

    A folder means the files directly in it that end in one of `suffixes`. A glob means what Python's glob module finds,
    `**` included. Files whose name starts with a dot are hidden: they are selected by their own name only.
    """

    root: Path
    """The folder under which all of them lie."""
    pattern: tuple[str, ...]
    """One glob per part of the path below `root`."""
    suffixes: tuple[str, ...] | None = None
    """The endings allowed, in lower case; None allows any."""

    @classmethod
    def of(cls, path_or_glob: PathLike, suffix: str | None = None) -> Self:
        """Return what a path, a folder or a glob selects.

        Parameters
        ----------
        path_or_glob
            A glob, if `is_pattern` says so; a folder, if there is one; else one file, which need not exist yet.
        suffix
            For a folder: take the files with this ending. Without it, those of `DATA_SUFFIXES`.
        """
        path = Path(path_or_glob)
        if is_pattern(path):
            plain = next(index for index, part in enumerate(path.parts) if glob.has_magic(part))
            return cls(Path(*path.parts[:plain]), path.parts[plain:])
        if path.is_dir():
            return cls(path, ("*",), (suffix.lower(),) if suffix else DATA_SUFFIXES)
        return cls(path.parent, (glob.escape(path.name),))

    @property
    def recursive(self) -> bool:
        """Whether files in folders below `root` can be selected."""
        return len(self.pattern) > 1 or self.pattern == ("**",)

    def matches(self, path: Path) -> bool:
        """Return whether a path is selected, by its name alone; it need not exist."""
        if not path.is_relative_to(self.root) or not self._suffix_fits(path):
            return False
        return _parts_match(path.relative_to(self.root).parts, self.pattern)

    def scan(self) -> dict[Path, FileStamp]:
        """Return the files selected now with their stamps, sorted by path."""
        return {path: found for path in sorted(set(self._paths())) if (found := stamp(path)) is not None}

    def _paths(self) -> Iterator[Path]:
        pattern = os.path.join(glob.escape(str(self.root)), *self.pattern)
        for name in glob.iglob(pattern, recursive=True):
            path = Path(name)
            if self._suffix_fits(path):
                yield path

    def _suffix_fits(self, path: Path) -> bool:
        return self.suffixes is None or path.suffix.lower() in self.suffixes


def is_pattern(path_or_glob: PathLike) -> bool:
    """Return whether the text is a glob: it has wildcards, and nothing of exactly that name exists."""
    return glob.has_magic(str(path_or_glob)) and not os.path.lexists(path_or_glob)


def expand(path_or_glob: PathLike, suffix: str | None = None) -> list[Path]:
    """Return the files that a path, a folder or a glob means now, sorted, relative where the input is.

    Parameters
    ----------
    path_or_glob, suffix
        As for `Selection.of`.

    Returns
    -------
    list of Path
        For a folder or a glob this may be empty.

    Raises
    ------
    SourceError
        If it is neither a glob nor a folder, and no file of that name is there.
    """
    if not is_pattern(path_or_glob) and not Path(path_or_glob).is_dir():
        return [regular_file(path_or_glob)]
    return list(Selection.of(path_or_glob, suffix).scan())


def snapshot(path_or_glob: PathLike, suffix: str | None = None) -> dict[Path, FileStamp]:
    """Return the files selected now with their stamps, sorted by path; absent files are left out.

    Take it before you read the files and give it to `FileWatcher.start`: what changes in between is then reported.
    """
    return Selection.of(path_or_glob, suffix).scan()


def stamp(path: PathLike) -> FileStamp | None:
    """Return what a file looks like from outside; None if it is not there or not a regular file.

    Raises
    ------
    OSError
        If the file system cannot tell, for example while a network drive is away.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileStamp(status.st_size, status.st_mtime_ns)


def default_name(path_or_glob: PathLike) -> str:
    """Return the name that a table gets from its input: the file's without its ending, or the folder's.

    For a glob it is the name of the last folder that has no wildcard.
    """
    path = Path(os.path.abspath(path_or_glob))
    if is_pattern(path_or_glob) or path.is_dir():
        return Selection.of(path).root.name
    return path.stem


def regular_file(path: PathLike) -> Path:
    """Return the path of a file that is there.

    Raises
    ------
    SourceError
        If there is none, or it is a folder or something else that cannot be read from start to end.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(str(path), f"there is no such file. {_nearby(file)}") from None
    except OSError as error:
        raise SourceError(str(path), f"the file cannot be read ({error.strerror}). Check it and its folder.") from error
    if stat.S_ISDIR(mode):
        raise SourceError(str(path), "this is a folder, not a file. Name a file in it, or a glob like folder/*.csv.")
    if not stat.S_ISREG(mode):
        raise SourceError(str(path), "this is not a regular file. Copy its content into one.")
    return file


def _nearby(file: Path) -> str:
    """Return the sentence that helps to find a missing file."""
    folder = file.parent
    if not folder.is_dir():
        return f"Its folder {str(folder)!r} does not exist either."
    near = get_close_matches(file.name, [entry.name for entry in folder.iterdir()], n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Check the name; its folder is {str(folder.absolute())!r}."


def _parts_match(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether the parts of a relative path match a glob, as Python's glob module would find it."""
    if not pattern:
        return not parts
    if pattern[0] == "**" and _parts_match(parts, pattern[1:]):
        return True
    if not parts or (parts[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    if pattern[0] == "**":
        return _parts_match(parts[1:], pattern)
    return fnmatch(parts[0], pattern[0]) and _parts_match(parts[1:], pattern[1:])
