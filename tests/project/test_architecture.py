"""The engine's shape (docs/architecture.md): the order of its rooms, no circles, nothing of AnyCompany, small pieces.

Imports inside of functions and below TYPE_CHECKING count as well: what a module names it has to know.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "pipelines" / "sluice"
MODULES = sorted(ENGINE.rglob("*.py"))
ROOMS = (
    *("errors", "sql", "system", "config", "engine", "runs", "dbt", "lineage", "privacy", "extract", "load"),
    *("publish", "catalog", "serve", "conventions", "review", "build", "workflow", "discover", "scaffold"),
    *("upgrade", "cli"),
)
"""A room may import itself and those before it."""
CODE = sorted(
    f for folder in ("pipelines", "servers", "sandbox", "bench") for f in (ROOT / folder).rglob("*.py")
)

MODULE_LINES, FUNCTION_LINES = 500, 60
LONG = re.compile(r"# long: \w+")


def _path(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _module(file: Path) -> str:
    """`sluice.load.run`; a package goes by its folder's name."""
    parts = file.relative_to(ROOT / "pipelines").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = frozenset(map(_module, MODULES))


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _imports(file: Path) -> list[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in it."""
    package = _module(file).split(".") if ENGINE in file.parents else []
    if file.name != "__init__.py":
        package = package[:-1]
    found: list[tuple[int, str]] = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found += ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
    return found


def _own_imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and module of the engine's modules a file imports."""
    for line, name in _imports(file):
        while name.partition(".")[0] == "sluice" and name not in NAMES:
            name = name.rpartition(".")[0]
        if name in NAMES:
            yield line, name


def _rank(module: str) -> int:
    """The place of a module's room in the order; the package itself is before all."""
    return ROOMS.index(module.split(".")[1]) if "." in module else -1


def test_every_room_is_in_the_order() -> None:
    rooms = {module.split(".")[1] for module in NAMES if "." in module}
    assert rooms <= set(ROOMS), f"give them a place in ROOMS: {sorted(rooms - set(ROOMS))}"


def test_the_page_shows_the_rooms_as_they_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    order = page.partition("The complete order is ")[2].partition(".")[0]
    assert tuple(re.findall(r"\w+", order)) == ROOMS
    wrong = []
    for room in ROOMS[3:]:
        row = re.search(rf"^\| `{room}/` \|[^|]+\|(.+)\|$", page, re.M)
        shown = set(re.findall(r"`(\w+)`", row[1])) if row else set()
        there = {f.stem for f in (ENGINE / room).rglob("*.py") if f.stem != "__init__"}
        if shown != there:
            wrong.append(f"{room}/: gone {sorted(shown - there)}, missing {sorted(there - shown)}")
    assert not wrong, "docs/architecture.md lists other modules:\n" + "\n".join(wrong)


def test_imports_go_one_way() -> None:
    wrong = [
        f"{_path(file)}:{line} imports {name}"
        for file in MODULES
        for line, name in _own_imports(file)
        if _rank(name) > _rank(_module(file))
    ]
    assert not wrong, "a room imports only rooms before it in ROOMS; move what both need down:\n" + "\n".join(
        wrong
    )


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {_module(file): {name for _, name in _own_imports(file)} - {_module(file)} for file in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports, each imported by the next: " + ", ".join(error.args[1]))


def test_the_engine_knows_no_project() -> None:
    """`pipelines` has the engine and the project's own dlt resources, which are imported by their names."""
    project = {f.stem for f in (ROOT / "pipelines").glob("*.py")}
    foreign = {"sandbox", "servers", "bench", "tests", "pipelines", *project}
    wrong = [
        f"{_path(file)}:{line} imports {name}"
        for file in MODULES
        for line, name in _imports(file)
        if name.partition(".")[0] in foreign
    ]
    assert not wrong, "\n".join(wrong)


def _company_words() -> set[str]:
    """Names by which this repository's company, tables, models and resources go."""
    words = {"anycompany", "marketplace", "wholesale"}
    for file in (ROOT / "sources").glob("*.yml"):
        for source in yaml.safe_load(file.read_text(encoding="utf-8"))["sources"]:
            tables = source["tables"] if source["name"] != "sluice" else []  # the engine's own, of runs
            words |= {f"{source['name']}.{table['name']}" for table in tables}
    for folder in ("models", "seeds", "macros"):
        words |= {f.stem for f in (ROOT / folder).rglob("*.*") if f.suffix in (".sql", ".csv")}
    for audience in yaml.safe_load((ROOT / "audiences.yml").read_text(encoding="utf-8"))["audiences"]:
        words |= {audience["name"]} if "_" in audience["name"] else set()
    return words - {"generate_schema_name", "duckdb__apply_grants", "format_row"}  # dbt's names


def test_no_word_of_the_company_is_in_the_engine() -> None:
    words = sorted(_company_words(), key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)|anycompany", re.IGNORECASE)
    wrong = [
        f"{_path(file)}:{number} has {match[0]}"
        for file in sorted(ENGINE.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for match in pattern.finditer(line)
    ]
    assert not wrong, "use neutral examples, the engine is everybody's:\n" + "\n".join(wrong)


def test_modules_and_functions_are_small() -> None:
    """One that has to be long says why, in its first line (a module) or above its first statement (a function)."""
    long = []
    for file in CODE:
        lines = file.read_text(encoding="utf-8").splitlines()
        if len(lines) > MODULE_LINES and not LONG.match(lines[0]):
            long.append(f"{_path(file)} has {len(lines)} lines, more than {MODULE_LINES}")
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                head = lines[node.lineno - 2 : node.body[0].end_lineno]
                if length > FUNCTION_LINES and not any(LONG.search(line) for line in head):
                    long.append(
                        f"{_path(file)}:{node.lineno} {node.name}() has {length} lines, more than {FUNCTION_LINES}"
                    )
    assert not long, "split it, or write `# long: <reason>` at its head:\n" + "\n".join(long)
