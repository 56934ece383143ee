"""Writes shared_names.json: the names that NumPy and CuPy share. Run where both are installed; no GPU is needed.

python -m tests.strict.write_shared_names
"""

from __future__ import annotations

import inspect
import json
import re
from types import ModuleType
from typing import Any

from tests.strict.shared_names import PATH

OF_THE_HOST = re.compile(
    r"array|asarray|asanyarray|ascontiguousarray|asfortranarray|asarray_chkfinite|asnumpy|copyto|from\w+|load\w*|save\w*"
    r"|array2string|array_repr|array_str|show_\w+|format_float\w+|get_printoptions|set_printoptions|printoptions"
    r"|vectorize|apply_\w+|piecewise|may_share_memory|shares_memory|who|info|disp|errstate|geterr|seterr\w*|genfromtxt"
    r"|base_repr|binary_repr|get_array_wrap|put|putmask|place|fill_diagonal|isscalar|iterable|byte_bounds|bytes|ndarray"
)
"""Names that take or give host data, print, or write into an argument."""
HOST_METHODS = {
    "item",
    "tolist",
    "tobytes",
    "tofile",
    "dump",
    "dumps",
    "sort",
    "byteswap",
    "choose",
    "put",
    "partition",
}
"""`sort` in place: CuPy only sorts arrays that own their memory so. Use `xp.sort`."""
PARAMETER = re.compile(r"(?:^|,)\s*\*?(?:int |_ndarray_base |Py_ssize_t )?(\w+)\s*(?:=[^,]*)?(?=,|$)")


def shared_names(numpy: ModuleType, cupy: ModuleType) -> dict[str, Any]:
    """Return the names that both have: functions with how they can be called in both, ufuncs, methods and the rest."""
    found: dict[str, Any] = {"cupy": cupy.__version__, "functions": {}, "ufuncs": [], "values": [], "methods": {}}
    for name in sorted(dir(cupy)):
        ours, theirs = getattr(numpy, name, None), getattr(cupy, name)
        if name.startswith("_") or ours is None or OF_THE_HOST.fullmatch(name) or isinstance(theirs, ModuleType):
            continue
        if isinstance(theirs, cupy.ufunc):
            found["ufuncs"].append(name)
        elif isinstance(theirs, float) or (isinstance(theirs, type) and _names_a_dtype(theirs, numpy)):
            found["values"].append(name)
        elif callable(theirs) and (call := _common_call(ours, theirs)):
            found["functions"][name] = call
    for name in sorted(dir(cupy.ndarray)):
        if not name.startswith("_") and name not in HOST_METHODS and callable(getattr(numpy.ndarray, name, None)):
            found["methods"][name] = _documented_parameters(getattr(cupy.ndarray, name))
    return found


def _names_a_dtype(value: type, numpy: ModuleType) -> bool:
    return value is bool or issubclass(value, numpy.generic | numpy.dtype | numpy.iinfo | numpy.finfo)


def _common_call(ours: Any, theirs: Any) -> list[Any] | None:
    """Return how many leading arguments mean the same in both, and the keywords that both take."""
    try:
        left, right = (list(inspect.signature(one).parameters.values()) for one in (ours, theirs))
    except ValueError:
        return None
    positional = 0
    for mine, other in zip(left, right, strict=False):
        if mine.kind == mine.KEYWORD_ONLY or other.kind == other.KEYWORD_ONLY:
            break
        if mine.kind == mine.VAR_POSITIONAL and other.kind == other.VAR_POSITIONAL:
            positional = 64
            break
        if positional >= 2 and mine.name != other.name:  # the names of operands differ, their order does not
            break
        positional += 1
    named = {one.name for one in left if one.kind != one.POSITIONAL_ONLY}
    return [positional, [one.name for one in right if one.name in named]]


def _documented_parameters(method: Any) -> list[str]:
    """Return the parameters of a compiled method, which only its docstring tells."""
    inside = re.search(r"\(self,?\s*(.*?)\)(?: ->|$|\n)", (method.__doc__ or "").splitlines()[0])
    return PARAMETER.findall(inside.group(1)) if inside else []


def as_text(found: dict[str, Any]) -> str:
    """Return JSON with a line for each function and method."""
    parts = []
    for kind, names in found.items():
        lines = (
            (f"  {json.dumps(name)}: {json.dumps(call)}" for name, call in names.items())
            if isinstance(names, dict)
            else ()
        )
        parts.append(f' "{kind}": ' + ("{\n" + ",\n".join(lines) + "\n }" if lines else json.dumps(names)))
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    import cupy
    import numpy

    PATH.write_text(as_text(shared_names(numpy, cupy)), encoding="utf-8")
