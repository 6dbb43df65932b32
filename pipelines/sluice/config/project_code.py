"""The project's own Python, looked at without running it: whether a function exists and takes its arguments."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from sluice.errors import with_hint

CODE = "pipelines"
"""Folder of a project whose modules may also be named without the folder."""


def make_importable(root: Path) -> None:
    """Let the project's own Python be imported: `pipelines.weather` for `pipelines/weather.py`, or just `weather`.

    Installed packages come before modules that are named without their folder.
    """
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if str(root / CODE) not in sys.path:
        sys.path.append(str(root / CODE))
    importlib.invalidate_caches()  # a file written a moment ago is found, too


def function_problem(root: Path, resource: str, arguments: Collection[str]) -> tuple[str, str] | None:
    """Which of the keys `resource` and `arguments` is wrong, and why; None if nothing wrong is found.

    Files are parsed, nothing is imported: a name that is assigned, imported or made while the module runs is believed.
    """
    found = _function(root, resource)
    if isinstance(found, str):
        return "resource", f"is {resource!r}: {found}"
    problem = found and _call_problem(*found, arguments)
    return ("arguments", problem) if problem else None


def _function(root: Path, dotted: str) -> str | tuple[ast.FunctionDef | ast.AsyncFunctionDef, str] | None:
    """The function and what to call it in a message; why there is none, or None where the text does not tell."""
    module, _, name = dotted.rpartition(".")
    if not all(part.isidentifier() for part in dotted.split(".")) or not module:
        return "write module.function: pipelines.weather.days is the function days in pipelines/weather.py"
    spec = _spec(root, module)
    if spec is None:
        file = f"{module.replace('.', '/')}.py"
        message = f"there is no {file} in the project, and no installed package has the module {module!r}"
        return with_hint(message, module, _modules(root))
    if not spec.origin or not spec.origin.endswith(".py"):
        missing = spec.origin is None  # a folder without code of its own
        return f"{module} is a folder, not a file with functions" if missing else None
    file = _shown(root, spec.origin)
    try:
        names = _Names.of(ast.parse(Path(spec.origin).read_bytes()))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{file}{f':{line}' if line else ''} is not valid Python: {getattr(error, 'msg', error)}"
    if name in names.functions:
        return names.functions[name], f"{name} in {file}"
    if name in names.constants:
        return f"{name} in {file} is a value, not a function{_functions(name, names)}"
    if name in names.others or names.is_open:
        return None
    return f"{file} has no function {name!r}{_functions(name, names)}"


def reads_only_news(root: Path, dotted: str) -> bool:
    """Whether a parameter of a function without a `function_problem` is by default a dlt cursor, as its text shows."""
    module, _, name = dotted.rpartition(".")
    spec = _spec(root, module)
    file = Path(spec.origin) if spec and spec.origin else None
    function = (
        _Names.of(ast.parse(file.read_bytes())).functions.get(name) if file and file.suffix == ".py" else None
    )
    if function is None:
        return False
    defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
    return any("incremental" in ast.unparse(default) for default in defaults)


@dataclass
class _Names:
    """What a module defines at its top level."""

    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    """Assigned, imported, classes: what they are is known once the module runs."""
    is_open: bool = False
    """Whether there may be names that the text does not show."""

    @classmethod
    def of(cls, tree: ast.Module) -> _Names:
        names = cls()
        names.is_open = any(
            isinstance(node, ast.Name) and node.id in ("globals", "setattr", "exec")
            for node in ast.walk(tree)
        )
        for statement in _top_level(tree.body):
            names._take(statement)
        return names

    def _take(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._forget(name)
                self.functions[name] = statement
                self.is_open = self.is_open or name == "__getattr__"
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    self.is_open = self.is_open or alias.name == "*"
                    self._other(alias.asname or alias.name.partition(".")[0])
            case ast.ClassDef(name=name):
                self._other(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()):
                if name not in self.functions and name not in self.others:  # else it depends on what happens
                    self.constants.add(name)
            case _:
                own = [statement.target] if isinstance(statement, ast.For) else [statement]
                if isinstance(statement, ast.With):
                    own = [item.optional_vars for item in statement.items if item.optional_vars]
                if isinstance(statement, ast.Assign | ast.AnnAssign | ast.With | ast.For | ast.Expr):
                    for node in (n for part in own for n in ast.walk(part)):
                        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                            self._other(node.id)

    def _other(self, name: str) -> None:
        self._forget(name)
        self.others.add(name)

    def _forget(self, name: str) -> None:
        self.functions.pop(name, None)
        self.constants.discard(name)


def _top_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run while the module is imported, also those inside of `if`, `try`, `with` and loops."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, part, []))
            for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
                yield from _top_level(part.body)


def _call_problem(
    function: ast.FunctionDef | ast.AsyncFunctionDef, where: str, arguments: Collection[str]
) -> str | None:
    """Whether the arguments fit; those of a function with a decorator that is not dlt's are not known."""
    if not all(_is_dlts(decorator) for decorator in function.decorator_list):
        return None
    own = function.args
    positional = [*own.posonlyargs, *own.args]
    required = positional[: len(positional) - len(own.defaults)]
    required += [p for p, default in zip(own.kwonlyargs, own.kw_defaults, strict=True) if default is None]
    names = [p.arg for p in (*positional, *own.kwonlyargs)]
    for argument in arguments:
        if argument not in names and not own.kwarg:
            message = f"{where} has no parameter {argument!r}; it takes {', '.join(names) or 'none'}"
            return with_hint(message, argument, names)
    if missing := [p.arg for p in required if p.arg not in arguments]:
        return f"lack {', '.join(missing)}, which {where} needs"
    return None


def _is_dlts(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).removeprefix("dlt.") in ("resource", "source")


def _functions(name: str, names: _Names) -> str:
    known = [function for function in names.functions if not function.startswith("_")]
    return (
        with_hint(f"; its functions are {', '.join(known)}", name, known)
        if known
        else "; it has no functions"
    )


def _spec(root: Path, module: str) -> ModuleSpec | None:
    """Where Python would find a module after `make_importable`, without importing a package on the way to it."""
    importlib.invalidate_caches()
    path: Sequence[str] | None = [str(root), *sys.path, str(root / CODE)]
    spec: ModuleSpec | None = None
    for part in module.split("."):
        if path is None:
            return None
        found = PathFinder.find_spec(part, path)
        if found is None and spec is None and part not in sys.modules:
            found = find_spec(part)  # built in, or installed for editing
        if found is None:
            return None
        spec, path = found, found.submodule_search_locations
    return spec


def _modules(root: Path) -> list[str]:
    """Modules of the project that a resource may be in, by their dotted path."""
    files = [file.relative_to(root) for pattern in ("*.py", "*/*.py") for file in root.glob(pattern)]
    return [".".join(file.with_suffix("").parts) for file in files if not file.name.startswith("_")]


def _shown(root: Path, file: str) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
