"""Facts about the project itself: sizes, seams, names, packaging. They read the tree; they do not run the engine."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import gpu_engine as ge

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("api", "gpu_engine", "loaders")
CUDA_LIBRARIES = {"cupy", "cudf", "pylibcudf", "rmm"}
ARRAY_LIBRARIES = {"numpy", *CUDA_LIBRARIES}
TEXT_SUFFIXES = {"", ".css", ".csv", ".html", ".js", ".json", ".md", ".py", ".toml", ".yml"}
NOT_OURS = {".git", ".venv", "build", "dist", "__pycache__"}
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:work|root|home|Users)/\w|(?<!\w)[A-Z]:\\\\?Users")


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def project_files() -> list[Path]:
    """Every file that a commit would hold; outside a git checkout every file that is not made by a tool."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts)]


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of every absolute import, at the head of the file or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def project_table() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sources(), ids=label)
class TestEverySourceFile:
    def test_has_at_most_400_lines(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400

    def test_says_its_idea_first(self, path: Path) -> None:
        assert ast.get_docstring(tree_of(path)), "no module docstring"

    def test_lists_its_public_names(self, path: Path) -> None:
        tree = tree_of(path)
        public = [
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        ]
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        lists = any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)
        assert lists or not public or path.name.startswith("_"), f"__all__ is missing; public: {public}"

    def test_is_named_by_what_it_owns(self, path: Path) -> None:
        assert path.stem not in {"common", "helpers", "misc", "util", "utils"}

    def test_names_an_array_library_only_in_the_backend(self, path: Path) -> None:
        if path.is_relative_to(ROOT / "gpu_engine") and not path.is_relative_to(ROOT / "gpu_engine" / "backend"):
            roots = {name.partition(".")[0] for name in imported_names(tree_of(path))}
            assert not roots & ARRAY_LIBRARIES

    def test_names_a_cuda_library_only_where_its_name_says_so(self, path: Path) -> None:
        if not path.name.startswith("cuda_"):
            roots = {name.partition(".")[0] for name in imported_names(tree_of(path))}
            assert not roots & CUDA_LIBRARIES

    def test_imports_cuda_libraries_when_they_are_used(self, path: Path) -> None:
        at_head = ast.Module([node for node in tree_of(path).body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        assert not {name.partition(".")[0] for name in imported_names(at_head)} & CUDA_LIBRARIES

    def test_imports_submodules_inside_the_engine(self, path: Path) -> None:
        if path.is_relative_to(ROOT / "gpu_engine"):
            assert "gpu_engine" not in set(imported_names(tree_of(path))), "the root package only hands names on"

    def test_never_prints_and_never_drops_an_error_it_does_not_know(self, path: Path) -> None:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
                silent = all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
                assert not (broad and silent), f"line {node.lineno}: an error is swallowed"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and path.name != "cli.py":
                assert node.func.id != "print", f"line {node.lineno}: print; use logging"


def test_examples_use_public_names_only() -> None:
    for path in (ROOT / "examples").rglob("*.py"):
        inner = {name for name in imported_names(tree_of(path)) if name.startswith("gpu_engine.")}
        assert not inner, f"{label(path)} imports {sorted(inner)}; examples use `import gpu_engine as ge`"


def test_files_hold_no_path_of_a_machine() -> None:
    found = []
    for path in project_files():
        if path.suffix in TEXT_SUFFIXES:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if MACHINE_PATH.search(line):
                    found.append(f"{label(path)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_every_public_name_exists_and_is_documented() -> None:
    for name in ge.__all__:
        value = getattr(ge, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, f"ge.{name} has no docstring"


def test_version_is_the_same_everywhere() -> None:
    version = project_table()["project"]["version"]
    assert ge.__version__ == version
    assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "version"),
    [("numpy", "2.0.0"), ("numpy", "2.4.6"), ("pandas", "3.0.3"), ("pyarrow", "19.0.0"), ("pyarrow", "26.0.1")],
)
def test_dependency_ranges_admit_what_cudf_pins(name: str, version: str) -> None:
    ranges = {wanted.name: wanted.specifier for wanted in map(Requirement, project_table()["project"]["dependencies"])}
    assert ranges[name].contains(version)


@pytest.mark.parametrize("name", ["ci/setup", "ci/test", "ci/demo", "ci/faults", "ci/gpu", ".ci/run"])
def test_scripts_can_be_run_and_parse(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / name)], timeout=60, check=True)


def test_decisions_are_numbered_and_complete() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected options", "Consequences"], label(path)


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{label(page)} links to {target}, which does not exist"


def test_architecture_names_only_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:api|benchmarks|ci|docs|examples|gpu_engine|loaders|tests)/[\w./-]*)`", text))
    assert named
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert not missing, f"docs/architecture.md names {missing}"
