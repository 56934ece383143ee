"""Comparisons of two columns: which rows hold the same in both, or less in one than in the other.

Floor 3. Numbers compare with numbers of any type, everything else with its own type; null on either side makes the
comparison false. Text is never compared row by row: for equality the codes of one dictionary are translated into those
of the other, for order each distinct pair of texts is compared once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.errors import TypeMismatchError
from gpu_engine.expression.comparable import COMPARE, ROUNDED_UP, place_of
from gpu_engine.expression.connective import Condition, Resolve
from gpu_engine.expression.join import Reference
from gpu_engine.schema import DataType
from gpu_engine.storage.column import Column, Values, decode
from gpu_engine.storage.dictionary import StringDictionary

if TYPE_CHECKING:
    from gpu_engine.expression.condition import Operand
    from gpu_engine.expression.flat_rows import RowReader

__all__ = ["ColumnComparison", "compare_columns"]

_COMPARE_TEXT = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
_MIRRORED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compare_columns(left: Operand, operator: str, right: Operand) -> Condition:
    """Return the comparison of two bound operands.

    Raises
    ------
    TypeMismatchError
        If their types do not go together, or are VECTOR.
    """
    ours, theirs = left.type, right.type
    if ours.width is not None or not (ours == theirs or (ours.numeric and theirs.numeric)):
        expected = f"{ours} to compare with" if ours.width is None else "operand (a VECTOR cannot be compared)"
        raise TypeMismatchError(place_of(left), right, f"{expected}; it is {theirs}")
    return ColumnComparison(left, operator, right)


@dataclass(frozen=True, eq=False)
class ColumnComparison(Condition):
    """left op right for bound operands of the same type, or both numeric, and op one of == < <= > >=."""

    left: Operand
    operator: str
    right: Operand
    _translation: _Translation = field(default_factory=lambda: _Translation(), repr=False)

    def bind(self, resolve: Resolve) -> Condition:
        """Return itself."""
        return self

    def references(self) -> frozenset[Reference]:
        """Return the columns of both sides."""
        return self.left.references() | self.right.references()

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for the same comparison of the same operands."""
        return ("columns", self.operator, self.left.identity(), self.right.identity())

    def mask(self, rows: RowReader) -> Array:
        """Return where the comparison holds."""
        left, right = self.left.reference, self.right.reference
        if left is not None and right is not None and left.column.coded:
            return self._text(left.column, right.column, rows.codes(left), rows.codes(right))
        ours, theirs = _values(self.left, rows), _values(self.right, rows)
        result = _compare_numbers(self.operator, ours.data, self.left.type, theirs.data, self.right.type)
        for valid in (ours.valid, theirs.valid):
            if valid is not None:
                result &= valid
        return result

    def _text(self, left: Column, right: Column, ours: Array, theirs: Array) -> Array:
        assert isinstance(left.dictionary, StringDictionary)
        assert isinstance(right.dictionary, StringDictionary)
        if self.operator != "==":
            return _by_pairs(self.operator, left, right, ours, theirs)
        if left.dictionary is not right.dictionary:
            ours = self._translation.of(left.dictionary, right.dictionary, left.backend)[ours + 1]
        return (ours == theirs) & (theirs >= 0)


class _Translation:
    """Codes of one text dictionary in terms of another; what is new in either is looked up when asked again."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: tuple[Array, int] | None = None

    def of(self, source: StringDictionary, target: StringDictionary, backend: ArrayBackend) -> Array:
        """Return (size + 1,) int32 codes of the target, first for null, then for each source code; -1 for none."""
        codes, known = self._known or (backend.from_host([-1], "int32"), len(target))
        size = len(source)
        if size > len(codes) - 1:
            codes = backend.xp.concatenate([codes, target.lookup(source.values(size).slice(len(codes) - 1))])
        grown = len(target)
        if grown > known:
            places = source.lookup(target.values(grown).slice(known))
            found = backend.xp.flatnonzero((places >= 0) & (places < size))
            codes = codes.copy()
            codes[places[found] + 1] = found + known
        self._known = codes, grown
        return codes


def _by_pairs(operator: str, left: Column, right: Column, ours: Array, theirs: Array) -> Array:
    """Return (n,) bool for (n,) codes of two columns of text, by comparing each distinct pair of texts once."""
    backend = left.backend
    result = (ours >= 0) & (theirs >= 0)
    places = backend.xp.flatnonzero(result)
    if len(places):
        width = len(right.dictionary)
        groups = backend.group(ours[places].astype("int64") * width + theirs[places])
        lefts = decode(backend, left.dictionary, groups.keys // width)
        rights = decode(backend, right.dictionary, groups.keys % width)
        holds, _ = backend.from_arrow(_COMPARE_TEXT[operator](lefts, rights))
        result[places] = holds[groups.group_of]
    return result


def _values(operand: Operand, rows: RowReader) -> Values:
    """Return the values of an operand that is no text, from the codes where only those are known."""
    reference = operand.reference
    if reference is None:
        return operand.evaluate(rows)
    if rows.holds_values:
        return rows.values(reference)
    codes, xp = rows.codes(reference), rows.backend.xp
    dictionary = reference.column.dictionary
    data, _ = rows.backend.from_arrow(dictionary.values(len(dictionary)))
    if not len(data):
        return Values(xp.zeros(len(codes), dtype=reference.column.type.storage), codes >= 0)
    return Values(data[xp.maximum(codes, 0)], codes >= 0)


def _compare_numbers(operator: str, left: Array, ours: DataType, right: Array, theirs: DataType) -> Array:
    """Return (n,) bool; integers and decimals compare exactly whatever their scales, with floats as floats do."""
    left_scale, right_scale = ours.scale or 0, theirs.scale or 0
    if left.dtype.kind == "f" or right.dtype.kind == "f":
        ours_unscaled = left if not left_scale else left / 10.0**left_scale
        return COMPARE[operator](ours_unscaled, right if not right_scale else right / 10.0**right_scale)
    if left_scale > right_scale:
        return _compare_numbers(_MIRRORED[operator], right, theirs, left, ours)
    if left_scale == right_scale:
        return COMPARE[operator](left, right)
    unit = 10 ** (right_scale - left_scale)
    whole, rest = right // unit, right % unit
    if operator == "==":
        return (left == whole) & (rest == 0)
    return COMPARE[operator](left, whole + (rest > 0) if operator in ROUNDED_UP else whole)
