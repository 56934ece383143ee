"""The GPU backend calls CuPy, RMM, pylibcudf and cuDF by names that exist, with arguments that they take.

Needs the libraries and no GPU: they can be imported without one. What the calls do, only a GPU can show.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.backends import without_gpu

BACKEND = Path(__file__).resolve().parents[2] / "gpu_engine" / "backend"
FILES = sorted(BACKEND.glob("cuda_*.py"))
LIBRARIES = ("cupy", "rmm", "pylibcudf", "cudf")
XP = ("self.xp", "self._xp", "xp")
"""What the backend calls the array namespace, which is CuPy."""
METHODS = {
    "builder(source).build": "plc.io.parquet.ParquetReaderOptionsBuilder.build",
    "options.set_row_groups": "plc.io.parquet.ParquetReaderOptions.set_row_groups",
    "read.column_names": "plc.io.TableWithMetadata.column_names",
    "column.to_arrow": "plc.Column.to_arrow",
    "with_mask": "plc.Column.with_mask",
    "target.copy_from_host_async": "cupy.cuda.MemoryPointer.copy_from_host_async",
    "self._sent.record": "cupy.cuda.Event.record",
}
"""Calls of methods of objects that the libraries made, by how the calls end."""


@pytest.fixture(autouse=True)
def libraries() -> None:
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        without_gpu(f"{', '.join(missing)} not installed")


def names(tree: ast.AST) -> dict[str, Any]:
    """Return what a file calls the libraries and what it imports from them."""
    known: dict[str, Any] = dict.fromkeys(XP, import_module("cupy"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                root = one.name.partition(".")[0]
                if root in LIBRARIES:
                    import_module(one.name)
                    known[one.asname or root] = import_module(one.name if one.asname else root)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in LIBRARIES:
            known |= {one.asname or one.name: getattr(import_module(node.module), one.name) for one in node.names}
    return known


def found(node: ast.AST, known: dict[str, Any]) -> Any:
    """Return what a dotted name of a library means, None for any other; AttributeError if it means nothing."""
    text = ast.unparse(node)
    if text in known:
        return known[text]
    if not isinstance(node, ast.Attribute):
        return None
    owner = found(node.value, known)
    return None if owner is None else getattr(owner, node.attr)


def calls(path: Path) -> Iterator[tuple[str, Any, ast.Call]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = names(tree)
    known.setdefault("plc", import_module("pylibcudf"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found(node, known)
        if isinstance(node, ast.Call):
            called, text = found(node.func, known), ast.unparse(node.func)
            method = next((name for end, name in METHODS.items() if text.endswith(end)), None)
            if called is None and method is not None:
                called = found(ast.parse(method, mode="eval").body, known)
            if called is not None:
                yield text, called, node


@cache
def stub(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def signature(called: Any) -> inspect.Signature | None:
    """Return the parameters without `self`, from the stubs of the library for a class; None where nobody says."""
    if inspect.isclass(called):
        module = inspect.getmodule(called)
        path = Path(str(getattr(module, "__file__", ""))).with_suffix("").with_suffix(".pyi")
        if path.is_file():
            for node in stub(path).body:
                if isinstance(node, ast.ClassDef) and node.name == called.__name__:
                    made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
                    return declared(made[0]) if made else inspect.Signature()
    try:
        given = inspect.signature(called)
    except (TypeError, ValueError):
        return None
    first = next(iter(given.parameters.values()), None)
    return given.replace(parameters=list(given.parameters.values())[1:]) if first and first.name == "self" else given


def declared(function: ast.FunctionDef) -> inspect.Signature:
    space: dict[str, Any] = {}
    arguments = function.args
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        one.annotation = None
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [default and ast.Constant(None) for default in arguments.kw_defaults]
    exec(f"def made({ast.unparse(arguments)}): pass", space)
    given = inspect.signature(space["made"])
    return given.replace(parameters=list(given.parameters.values())[1:])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_names_exist_and_arguments_fit(path: Path) -> None:
    for text, called, node in calls(path):
        wanted = signature(called)
        if wanted is None or any(isinstance(one, ast.Starred) for one in node.args):
            continue
        named = {one.arg: None for one in node.keywords if one.arg}
        try:
            wanted.bind(*[None] * len(node.args), **named)
        except TypeError as error:
            pytest.fail(f"{path.name}:{node.lineno}: {text}{wanted}: {error}")


def test_they_are_looked_at_at_all() -> None:
    seen = {text: signature(called) for path in FILES for text, called, _ in calls(path)}
    assert {"plc.Column", "plc.copying.gather", "self.xp.argsort", "cupy.RawModule"} <= seen.keys()
    assert len(seen) > 60
    assert list(seen["plc.Column"].parameters)[:7] == [  # type: ignore[union-attr]
        *("data_type", "size", "data", "mask", "null_count", "offset", "children"),
    ]


@pytest.mark.parametrize("wrong", ["plc.copying.gathered(1)", "plc.copying.gather(1)", "plc.Column(1, 2, colour=3)"])
def test_a_wrong_call_is_found(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "cuda_wrong.py"
    path.write_text(f"import pylibcudf as plc\n{wrong}\n")
    with pytest.raises((AttributeError, pytest.fail.Exception)):
        test_names_exist_and_arguments_fit(path)
