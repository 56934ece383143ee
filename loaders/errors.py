"""The one error for input that cannot be used: where it is, what was found, what to do.

Floor 0: imports nothing. The engine turns it into its own `BadFileError`; the attributes are the same.
"""

from __future__ import annotations

__all__ = ["SourceError"]

SHOWN = 120
"""Characters of a value that a message shows; the attribute keeps all of it."""


class SourceError(ValueError):
    """A file is missing, cannot be read, or holds something that does not fit.

    Parameters
    ----------
    path
        The file, as its reader was given it.
    reason
        What is wrong and what to do about it.
    line
        Physical line of the file where the faulty record starts, the header being line 1. None where lines do not
        exist (Parquet) or the file as a whole is meant.
    column
        Name of the faulty column.
    value
        The faulty value, as the file has it.
    """

    def __init__(
        self, path: str, reason: str, line: int | None = None, column: str | None = None, value: str | None = None
    ) -> None:
        self.path, self.reason, self.line, self.column, self.value = path, reason, line, column, value
        at = path if line is None else f"{path}, line {line}"
        of = "" if column is None else f", column {column!r}"
        what = "" if value is None else f", value {_shown(value)}"
        super().__init__(f"{at}{of}{what}: {reason}")


def _shown(value: str) -> str:
    return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}... ({len(value)} characters)"
