"""Answers in the form that was asked for: pandas, Arrow, a cuDF frame, or arrays where they lie.

Floor 4. Frames and arrays never leave the device: texts of levels come as codes beside the dictionary's texts.
"""

from __future__ import annotations

from typing import Any

from gpu_engine.backend.array_backend import Array, DeviceColumn
from gpu_engine.cube.answer import DEPTH, Answer, arrow_schema
from gpu_engine.cube.frame import frame_of
from gpu_engine.errors import InvalidQueryError, NeedsGpuError
from gpu_engine.expression.join import Reference
from gpu_engine.storage.dictionary import StringDictionary

__all__ = ["MODES", "check_mode", "device_columns", "rendered"]

MODES = ("pandas", "arrow", "cudf", "arrays")


def check_mode(mode: str, backend: str) -> None:
    """Refuse a form that does not exist, or not on this backend, before any work.

    Raises
    ------
    InvalidQueryError
        If `mode` is none of those above.
    NeedsGpuError
        If it is "cudf" and the session works on another backend than "gpu".
    """
    if mode not in MODES:
        raise InvalidQueryError([f"mode {mode!r}: use {', '.join(map(repr, MODES[:-1]))} or {MODES[-1]!r}."])
    if mode == "cudf" and backend != "gpu":
        raise NeedsGpuError("mode='cudf'", backend)


def rendered(answer: Answer, mode: str, epoch: int, branch: str) -> Any:
    """Return an answer as a DataFrame, an Arrow table stamped with its version, a cuDF frame, or columns by name."""
    if mode == "pandas":
        return frame_of(answer)
    if mode == "arrow":
        return answer.to_arrow(epoch, branch)
    columns = device_columns(answer)
    return answer.backend.to_frame(columns) if mode == "cudf" else columns


def device_columns(answer: Answer) -> dict[str, DeviceColumn]:
    """Return level columns, then measure columns, then the depth if there are totals, where they lie."""
    levels = zip(answer.query.levels, answer.codes, strict=True)
    columns = [_level_column(answer, level.reference, codes) for level, codes in levels]
    schema = arrow_schema(answer.query)
    names = [name for name in schema.names if answer.depth is None or name != DEPTH]
    types = schema.types[len(columns) : len(names)]
    columns += [
        DeviceColumn(values.data, values.valid, kind) for values, kind in zip(answer.values, types, strict=True)
    ]
    named = dict(zip(names, columns, strict=True))
    if answer.depth is not None:
        named[DEPTH] = DeviceColumn(answer.depth, None, schema.field(DEPTH).type)
    return named


def _level_column(answer: Answer, reference: Reference, codes: Array) -> DeviceColumn:
    column, backend = reference.column, answer.backend
    dictionary, xp = column.dictionary, backend.xp
    members = dictionary.values(len(dictionary))
    if isinstance(dictionary, StringDictionary):
        return DeviceColumn(codes, None, column.type.arrow, members)
    if not len(members):
        return DeviceColumn(xp.zeros(len(codes), dtype=column.type.storage), codes >= 0, column.type.arrow)
    data, _ = backend.from_arrow(members)
    return DeviceColumn(data[xp.maximum(codes, 0)], codes >= 0, column.type.arrow)
