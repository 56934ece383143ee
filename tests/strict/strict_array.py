"""An array that refuses what an array on a GPU refuses, and computes on NumPy where nobody sees it.

What CuPy forbids is refused (implicit conversion to the host), what it makes slow too (iteration, single values other
than through `ArrayBackend.scalar`, lists as indices), and what it does silently wrong: indices out of range wrap
around there, repeated indices of a scatter race, operands that overlap the result are read while they are written, and
NaN becomes another integer than here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NoReturn

import numpy as np

from tests.strict.shared_names import SHARED
from tests.strict.transfers import TransferMeter


class DeviceRefusal(Exception):
    """Engine code did to an array what a GPU refuses, charges dearly for, or does silently wrong.

    No builtin error, so that no handler for bad data takes it for one.
    """


def refuse(what: str, instead: str) -> NoReturn:
    raise DeviceRefusal(f"{what} {instead}")


def operand(value: Any, where: str) -> Any:
    """Return what stands for an operand on the host: a device array or a Python number, and nothing else."""
    if type(value) is StrictArray:
        return value._host
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, np.ndarray | np.generic):
        refuse(f"{where}: a NumPy {type(value).__name__} meets a device array.", "Bring it over with from_host.")
    refuse(f"{where}: {type(value).__name__} {value!r} is no operand.", "Give device arrays and Python numbers.")


def device(result: Any, meter: TransferMeter) -> Any:
    """Return a host result as device arrays, 0-d ones where NumPy gives scalars."""
    if isinstance(result, tuple | list):
        return type(result)(device(part, meter) for part in result)
    return StrictArray(np.asarray(result), meter)


def place(index: Any, where: str) -> tuple[Any, bool, bool]:
    """Return an index for the host, whether it has an array in it, and whether it has a mask."""
    parts = index if type(index) is tuple else (index,)
    hosts = tuple(_place_part(part, where) for part in parts)
    arrays = [part for part in hosts if isinstance(part, np.ndarray)]
    masks = sum(part.dtype.kind == "b" for part in arrays)
    if masks > 1:
        refuse(f"{where}: more than one mask.", "CuPy takes one; combine them.")
    return hosts, bool(arrays), bool(masks)


def _place_part(part: Any, where: str) -> Any:
    if part is None or part is Ellipsis or type(part) is int:
        return part
    if type(part) is slice:
        for bound in (part.start, part.stop, part.step):
            if bound is not None and type(bound) is not int:
                refuse(f"{where}: slice bound {bound!r} is a {type(bound).__name__}.", "Read it with `scalar` first.")
        return part
    if type(part) is StrictArray:
        if part.dtype.kind not in "biu":
            refuse(f"{where}: an index of {part.dtype}.", "Indices are integers or booleans.")
        return part._host
    refuse(f"{where}: {type(part).__name__} is no index of a device array.", "Use from_host, or a device array.")


def check_overlap(target: Any, source: Any, where: str) -> None:
    """Refuse a source that shares some of the target's memory without being it."""
    if not isinstance(source, np.ndarray) or not np.may_share_memory(target, source):
        return
    same = target.__array_interface__["data"] == source.__array_interface__["data"]
    if same and target.shape == source.shape and target.strides == source.strides:
        return
    if np.shares_memory(target, source):
        refuse(f"{where}: an operand overlaps the result, which CuPy writes while it reads.", "Copy it first.")


class StrictArray:
    """Stands for `cupy.ndarray`. Made by the backend and by operations on such arrays, never from host data."""

    __slots__ = ("_host", "_meter")
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # NumPy's operators leave the matter to the reflected ones here, which refuse
    __array_priority__ = 1000

    def __init__(self, host: Any, meter: TransferMeter) -> None:
        if host.dtype.kind not in "biufc" or host.dtype.names is not None:
            refuse(f"dtype {host.dtype} does not exist on a device.", "Use booleans, integers and floats.")
        self._host, self._meter = host, meter

    def __repr__(self) -> str:
        return f"<device array {self.dtype} {self.shape}>"

    def __len__(self) -> int:
        return len(self._host)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # other libraries look whether it has some protocol
            raise AttributeError(name)
        refuse(f"array.{name}: not a method of both NumPy and CuPy.", "Use a function of xp, or a verb of the backend.")

    def __getitem__(self, index: Any) -> StrictArray:
        where = "reading by index"
        hosts, fancy, masked = place(index, where)
        if masked:
            self._meter.size()
        if not fancy and Ellipsis not in hosts:
            hosts = (*hosts, Ellipsis)  # a single value stays an array: a view, as on the device
        try:
            return StrictArray(np.asarray(self._host[hosts]), self._meter)
        except IndexError as error:
            raise DeviceRefusal(f"{where}: {error}; CuPy would wrap around.") from error

    def __setitem__(self, index: Any, value: Any) -> None:
        where = "writing by index"
        hosts, fancy, masked = place(index, where)
        content = operand(value, where)
        try:
            target = self._host if fancy else self._host[(*hosts, Ellipsis) if Ellipsis not in hosts else hosts]
            check_overlap(target, content, where)
            with np.errstate(invalid="raise"):
                self._host[hosts] = content
        except IndexError as error:
            raise DeviceRefusal(f"{where}: {error}; CuPy would wrap around.") from error
        except FloatingPointError as error:
            raise DeviceRefusal(f"{where}: {error}; a GPU makes another integer of it.") from error
        if fancy and not masked and isinstance(content, np.ndarray) and content.ndim:
            self._check_no_race(hosts, content)

    def _check_no_race(self, hosts: Any, content: Any) -> None:
        held = self._host[hosts]
        wanted = np.broadcast_to(content.astype(held.dtype), held.shape)
        if not ((held == wanted) | ((held != held) & (wanted != wanted))).all():
            refuse("writing by index: one place gets different values, and on a device any may win.", "Group first.")


def _refused(name: str, instead: str) -> Callable[..., NoReturn]:
    def method(self: StrictArray, *args: Any, **kwargs: Any) -> NoReturn:
        refuse(f"{name} of a device array of {self.dtype} {self.shape}:", instead)

    return method


_SCALAR = "one value, and a wait for the device. Use ArrayBackend.scalar."
_HOST = "implicit conversion to the host. Use ArrayBackend.to_host or to_arrow."
for _name in ("__bool__", "__int__", "__float__", "__complex__", "__index__", "item"):
    setattr(StrictArray, _name, _refused(_name, _SCALAR))
for _name in ("__array__", "__dlpack__", "__arrow_c_array__", "__buffer__", "get", "tolist", "tobytes"):
    setattr(StrictArray, _name, _refused(_name, _HOST))
for _name in ("__iter__", "__contains__", "__reversed__"):
    setattr(StrictArray, _name, _refused(_name, "one transfer for each value. Use array operations."))


def _binary(name: str, reflected: bool) -> Callable[[StrictArray, Any], StrictArray]:
    function = getattr(np, name)

    def method(self: StrictArray, other: Any) -> StrictArray:
        right = operand(other, name)
        if right is None:
            refuse(f"{name}: None is no operand.", "Ask `is None`.")
        pair = (right, self._host) if reflected else (self._host, right)
        return StrictArray(np.asarray(function(*pair)), self._meter)

    return method


def _in_place(name: str) -> Callable[[StrictArray, Any], StrictArray]:
    function = getattr(np, name)

    def method(self: StrictArray, other: Any) -> StrictArray:
        right = operand(other, name)
        check_overlap(self._host, right, f"{name} in place")
        function(self._host, right, out=self._host)
        return self

    return method


def _unary(name: str) -> Callable[[StrictArray], StrictArray]:
    function = getattr(np, name)
    return lambda self: StrictArray(np.asarray(function(self._host)), self._meter)


_ARITHMETIC = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
_COMPARISON = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
for _name, _ufunc in _ARITHMETIC.items():
    setattr(StrictArray, f"__{_name}__", _binary(_ufunc, reflected=False))
    setattr(StrictArray, f"__r{_name}__", _binary(_ufunc, reflected=True))
    setattr(StrictArray, f"__i{_name}__", _in_place(_ufunc))
for _name, _ufunc in _COMPARISON.items():
    setattr(StrictArray, f"__{_name}__", _binary(_ufunc, reflected=False))
for _name, _ufunc in {"neg": "negative", "pos": "positive", "invert": "invert", "abs": "absolute"}.items():
    setattr(StrictArray, f"__{_name}__", _unary(_ufunc))


def _attribute(name: str) -> property:
    return property(lambda self: getattr(self._host, name))


for _name in ("shape", "dtype", "size", "ndim", "nbytes", "itemsize", "strides"):
    setattr(StrictArray, _name, _attribute(_name))
StrictArray.T = property(lambda self: StrictArray(self._host.T, self._meter))  # type: ignore[attr-defined]


def argument(value: Any, where: str) -> Any:
    """Return what stands for an argument on the host: an operand, several device arrays, a shape or a dtype."""
    if isinstance(value, str | type | np.dtype):
        return value
    if isinstance(value, tuple) and all(type(part) is int for part in value):
        return value
    if isinstance(value, list | tuple) and all(type(part) is StrictArray for part in value):
        return [part._host for part in value]
    return operand(value, where)


def _method(name: str, parameters: tuple[str, ...]) -> Callable[..., StrictArray]:
    def method(self: StrictArray, *args: Any, **kwargs: Any) -> StrictArray:
        unknown = kwargs.keys() - set(parameters)
        if unknown or (len(args) > len(parameters) and parameters[:1] != ("shape",)):
            refuse(f"{name}({', '.join(map(str, (*args, *unknown)))}): CuPy takes", f"{', '.join(parameters)}.")
        if name in ("nonzero", "compress"):
            self._meter.size()
        given = [argument(value, name) for value in args]
        named = {key: argument(value, name) for key, value in kwargs.items()}
        if isinstance(named.get("out"), np.ndarray):
            for one in (self._host, *given):
                check_overlap(named["out"], one, name)
        try:
            with np.errstate(invalid="raise") if name == "astype" else nullcontext():
                return device(getattr(self._host, name)(*given, **named), self._meter)  # type: ignore[no-any-return]
        except IndexError as error:
            raise DeviceRefusal(f"{name}: {error}; CuPy would wrap around.") from error
        except FloatingPointError as error:
            raise DeviceRefusal(f"{name}: {error}; a GPU makes another integer of it.") from error

    return method


for _name, _parameters in SHARED["methods"].items():
    setattr(StrictArray, _name, _method(_name, tuple(_parameters)))
