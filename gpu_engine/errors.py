"""The error tree: what was given, what exists, what to do.

Floor 1: imports `wording` only. Every error is an `EngineError` and also a builtin, carries a stable `code`
that clients may switch on, and keeps its values as attributes. Nothing is half done when one is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpu_engine.wording import hint, size

__all__ = [
    "AmbiguousNameError",
    "AuditDifferenceError",
    "BackendUnavailableError",
    "BadFileError",
    "BranchInUseError",
    "BranchMismatchError",
    "DataDirectoryDamagedError",
    "DataDirectoryInUseError",
    "DuplicateNameError",
    "EngineError",
    "EpochNotRetainedError",
    "InvalidJoinError",
    "InvalidModelError",
    "InvalidParameterError",
    "InvalidQueryError",
    "InvalidRowError",
    "KafkaError",
    "LogFailedError",
    "LogWriteError",
    "MemoryShortageError",
    "MissingMatchError",
    "NeedsGpuError",
    "SessionClosedError",
    "TableChangedError",
    "TypeMismatchError",
    "UnknownBranchError",
    "UnknownColumnError",
    "UnknownCubeError",
    "UnknownDeadLetterError",
    "UnknownHierarchyError",
    "UnknownLevelError",
    "UnknownMeasureError",
    "UnknownNameError",
    "UnknownTableError",
]


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
        super().__init__(f"no {self.kind} {name!r}{place}. {hint(name, self.known)}")

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


class UnknownDeadLetterError(UnknownNameError):
    """The session has no dead letter of the id."""

    code = "unknown_dead_letter"
    kind = "dead letter"


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


class AuditDifferenceError(EngineError, ArithmeticError):
    """An audit has found cells of a provider that are not what their rows give."""

    code = "audit_difference"

    def __init__(self, cube: str, provider: str, epoch: int, cells: int, first: str) -> None:
        self.cube, self.provider, self.epoch, self.cells, self.first = cube, provider, epoch, cells, first
        super().__init__(
            f"cube {cube!r}, provider {provider!r}, epoch {epoch}: {cells} cell(s) differ from their rows, the first: "
            f"{first}. Build the session again, and report this with the commits that led here."
        )


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


class MemoryShortageError(EngineError, MemoryError):
    """There is no room for what was asked; nothing of it was kept, and the epoch is what it was."""

    code = "memory_short"

    def __init__(self, what: str, needed: int | None, available: int, device: str) -> None:
        self.what, self.needed, self.available, self.device = what, needed, available, device
        wanted = "more memory" if needed is None else f"about {size(needed)}"
        super().__init__(
            f"{what} needs {wanted}; backend {device!r} has {size(available)} available. Nothing has changed. "
            "Load in smaller parts, drop what is not needed and compact, or take a larger machine."
        )


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


class KafkaError(EngineError, RuntimeError):
    """A topic cannot be read; the rows that came from it stay, and so does the position after them."""

    code = "kafka_failed"

    def __init__(self, topic: str, reason: str) -> None:
        self.topic, self.reason = topic, reason
        super().__init__(f"kafka topic {topic!r}: {reason}")


class EpochNotRetainedError(EngineError, LookupError):
    """An epoch is asked for that is not readable: it lies ahead, or its rows are no longer kept."""

    code = "epoch_not_retained"

    def __init__(self, epoch: int, oldest: int, head: int, pinned: Iterable[int] = ()) -> None:
        self.epoch, self.oldest, self.head, self.pinned = epoch, oldest, head, tuple(pinned)
        shown = ", ".join(str(one) for one in sorted(set(self.pinned))[-10:])
        pins = f", and pinned {shown}" if shown else ""
        super().__init__(f"epoch {epoch} is not readable. Readable epochs: {oldest} to {head}{pins}.")


class BackendUnavailableError(EngineError, RuntimeError):
    """The backend that was asked for cannot work here."""

    code = "backend_unavailable"

    def __init__(self, requested: str, reason: str) -> None:
        self.requested, self.reason = requested, reason
        super().__init__(
            f"backend {requested!r} is not usable: {reason}. Choose backend='cpu', or 'auto' to take what there is."
        )


class NeedsGpuError(EngineError, RuntimeError):
    """What was asked for exists on a GPU only, and the session works on another backend."""

    code = "needs_gpu"

    def __init__(self, what: str, backend: str) -> None:
        self.what, self.backend = what, backend
        super().__init__(
            f"{what} needs the GPU, and this session works on backend {backend!r}. Create it with backend='gpu', or "
            "ask for Arrow, pandas or arrays instead."
        )


class SessionClosedError(EngineError, RuntimeError):
    """The session was closed by its owner; it takes no more work."""

    code = "session_closed"

    def __init__(self) -> None:
        super().__init__("the session is closed. Create a new one with gpu_engine.Session().")


class DataDirectoryInUseError(EngineError, RuntimeError):
    """Another session, of this process or another one, works on the data directory."""

    code = "data_directory_in_use"

    def __init__(self, path: str, owner: str) -> None:
        self.path, self.owner = path, owner
        super().__init__(f"data directory {path} is in use by {owner}. End that session, or choose another directory.")


class DataDirectoryDamagedError(EngineError, ValueError):
    """What a data directory holds is not what was written there, and more than its unfinished end is concerned."""

    code = "data_directory_damaged"

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path}: {reason}. Nothing was changed. Restore a backup, or let `gpu-engine repair` keep all that comes "
            "before the damage; it says what that loses."
        )


class TableChangedError(EngineError, ValueError):
    """The model declares a table in another way than the data directory holds it."""

    code = "table_changed"

    def __init__(self, table: str, stored: str, given: str) -> None:
        self.table, self.stored, self.given = table, stored, given
        super().__init__(
            f"table {table!r} of the data directory has {stored}; the model declares {given}. Declare it as it is, "
            "choose another name, or `gpu-engine export` its rows and load them in a new directory."
        )


class LogWriteError(EngineError, RuntimeError):
    """The log could not be written, for example because the disk is full; nothing of the transaction was kept."""

    code = "log_write_failed"

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} cannot be written: {reason}. Nothing was kept. Make room, then try again.")


class LogFailedError(EngineError, RuntimeError):
    """The log can no longer be trusted, so the session takes no more writes; it can still be read."""

    code = "log_failed"

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} failed: {reason}. What was acknowledged before is safe, what came last may not be on disk. "
            "The session is read-only now: start it again once the disk is sound."
        )
