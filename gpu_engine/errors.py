"""The error tree: what was given, what exists, what to do.

Floor 1: imports nothing of the project. Every error is an `EngineError` and also a builtin, carries a stable `code`
that clients may switch on, and keeps its values as attributes. Messages name the input; nothing is half done when one
is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

__all__ = [
    "AmbiguousNameError",
    "BackendUnavailableError",
    "BadFileError",
    "BranchInUseError",
    "BranchMismatchError",
    "DuplicateNameError",
    "EngineError",
    "EpochNotRetainedError",
    "InvalidJoinError",
    "InvalidModelError",
    "InvalidParameterError",
    "InvalidQueryError",
    "InvalidRowError",
    "MissingMatchError",
    "SessionClosedError",
    "TypeMismatchError",
    "UnknownBranchError",
    "UnknownColumnError",
    "UnknownCubeError",
    "UnknownHierarchyError",
    "UnknownLevelError",
    "UnknownMeasureError",
    "UnknownNameError",
    "UnknownTableError",
]


def _hint(given: str, known: Sequence[str]) -> str:
    """Return the sentence that helps: the nearest known name, else the names that exist."""
    near = get_close_matches(given, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    if not known:
        return "There are none yet."
    shown = ", ".join(repr(name) for name in known[:20])
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return f"There are: {shown}{more}."


class EngineError(Exception):
    """Root of every error that the engine raises on purpose."""

    code = "engine_error"


class UnknownNameError(EngineError, KeyError):
    """A name that nothing bears; the subclasses say what kind of thing was looked for.

    A KeyError, so that `in` and `get` of the mappings that raise it work as of any mapping.
    """

    code = "unknown_name"
    kind = "name"

    def __init__(self, name: str, known: Iterable[str], within: str = "") -> None:
        self.name, self.known, self.within = name, tuple(known), within
        place = f" in {within}" if within else ""
        super().__init__(f"no {self.kind} {name!r}{place}. {_hint(name, self.known)}")

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownTableError(UnknownNameError):
    """No table of the session bears the name."""

    code = "unknown_table"
    kind = "table"


class UnknownColumnError(UnknownNameError):
    """The table, or the tables that its joins reach, have no such column."""

    code = "unknown_column"
    kind = "column"


class UnknownCubeError(UnknownNameError):
    """No cube of the session bears the name."""

    code = "unknown_cube"
    kind = "cube"


class UnknownLevelError(UnknownNameError):
    """The cube has no such level."""

    code = "unknown_level"
    kind = "level"


class UnknownHierarchyError(UnknownNameError):
    """The cube has no such hierarchy."""

    code = "unknown_hierarchy"
    kind = "hierarchy"


class UnknownMeasureError(UnknownNameError):
    """The cube has no such measure."""

    code = "unknown_measure"
    kind = "measure"


class UnknownBranchError(UnknownNameError):
    """The session has no such branch."""

    code = "unknown_branch"
    kind = "branch"


class AmbiguousNameError(EngineError, LookupError):
    """A short name that several things bear; the longer names that tell them apart are listed."""

    code = "ambiguous_name"

    def __init__(self, kind: str, name: str, candidates: Iterable[str]) -> None:
        self.kind, self.name, self.candidates = kind, name, tuple(candidates)
        super().__init__(f"{kind} {name!r} is ambiguous. Write one of: {', '.join(self.candidates)}.")


class BranchInUseError(EngineError, ValueError):
    """A branch cannot be deleted while something stands on it."""

    code = "branch_in_use"

    def __init__(self, branch: str, users: Sequence[str]) -> None:
        self.branch, self.users = branch, tuple(users)
        super().__init__(f"branch {branch!r} is in use by {', '.join(self.users)}. End those first.")


class BranchMismatchError(EngineError, ValueError):
    """A transaction inside another one names another branch: one transaction is on one branch."""

    code = "branch_mismatch"

    def __init__(self, outer: str, inner: str) -> None:
        self.outer, self.inner = outer, inner
        super().__init__(f"a transaction on branch {inner!r} cannot be part of one on {outer!r}. Start it outside.")


class DuplicateNameError(EngineError, ValueError):
    """A thing is to be created under a name that is taken."""

    code = "duplicate_name"

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"a {kind} {name!r} exists already. Choose another name, or use the one that exists.")


class TypeMismatchError(EngineError, TypeError):
    """A value does not fit the type of its column or level."""

    code = "type_mismatch"

    def __init__(self, where: str, value: object, expected: str, row: int | None = None) -> None:
        self.where, self.value, self.expected, self.row = where, value, expected, row
        at = f", row {row}" if row is not None else ""
        super().__init__(f"{where}{at}: {value!r} is not a valid {expected}. Give a value of that type, or null.")


class InvalidRowError(EngineError, ValueError):
    """A row has the wrong shape: too few or too many values, or no value for a key column."""

    code = "invalid_row"

    def __init__(self, table: str, row: int, reason: str) -> None:
        self.table, self.row, self.reason = table, row, reason
        super().__init__(f"table {table!r}, row {row}: {reason}")


class InvalidModelError(EngineError, ValueError):
    """A table, hierarchy, measure or provider is declared in a way that cannot work."""

    code = "invalid_model"


class InvalidJoinError(EngineError, ValueError):
    """A join does not go from columns of the one table to all keys of the other."""

    code = "invalid_join"


class InvalidQueryError(EngineError, ValueError):
    """A query has one or more problems; all of them are listed."""

    code = "invalid_query"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class InvalidParameterError(EngineError, ValueError):
    """Values for the parameters of a query are missing, unknown or of the wrong type; all problems are listed."""

    code = "invalid_parameter"

    def __init__(self, problems: Iterable[str], parameters: Mapping[str, object]) -> None:
        self.problems, self.known = tuple(problems), tuple(parameters)
        declared = ", ".join(f"{name} ({kind})" for name, kind in parameters.items())
        there = f"The query has: {declared}." if declared else "The query has no parameters."
        super().__init__(f"{'; '.join(self.problems)}. {there}")


class MissingMatchError(EngineError, ValueError):
    """A commit would leave facts without the row that a mandatory join needs; nothing of it was kept."""

    code = "missing_match"

    def __init__(self, join: str, examples: Sequence[object], count: int) -> None:
        self.join, self.examples, self.count = join, tuple(examples), count
        shown = ", ".join(repr(example) for example in self.examples)
        super().__init__(
            f"mandatory join {join!r}: {count} row(s) would have no match, for example for key {shown}. "
            "Add the target rows in the same transaction, or make the join optional."
        )


class BadFileError(EngineError, ValueError):
    """A file could not be read or does not fit its table; nothing of it was kept."""

    code = "bad_file"

    def __init__(
        self, path: str, reason: str, line: int | None = None, column: str | None = None, value: str | None = None
    ) -> None:
        self.path, self.reason, self.line, self.column, self.value = path, reason, line, column, value
        at = path if line is None else f"{path}, line {line}"
        of = "" if column is None else f", column {column!r}"
        what = "" if value is None else f", value {value!r}"
        super().__init__(f"{at}{of}{what}: {reason}")


class EpochNotRetainedError(EngineError, LookupError):
    """An epoch is asked for that is not readable: it lies ahead, or its rows are no longer kept."""

    code = "epoch_not_retained"

    def __init__(self, epoch: int, oldest: int, head: int) -> None:
        self.epoch, self.oldest, self.head = epoch, oldest, head
        super().__init__(f"epoch {epoch} is not readable. Readable epochs: {oldest} to {head}.")


class BackendUnavailableError(EngineError, RuntimeError):
    """The backend that was asked for cannot work here."""

    code = "backend_unavailable"

    def __init__(self, requested: str, reason: str) -> None:
        self.requested, self.reason = requested, reason
        super().__init__(
            f"backend {requested!r} is not usable: {reason}. Choose backend='cpu', or 'auto' to take what there is."
        )


class SessionClosedError(EngineError, RuntimeError):
    """The session was closed by its owner; it takes no more work."""

    code = "session_closed"

    def __init__(self) -> None:
        super().__init__("the session is closed. Create a new one with gpu_engine.Session().")
