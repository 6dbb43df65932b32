"""Compiles dbt projects without a warehouse, in a process of its own: dbt keeps what it opened until that ends.

Importing dbt takes 1.5 s, parsing a project of 50 models 4 s, parsing what differs from an earlier parse 1 s.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

PARSED = "partial_parse.msgpack"
"""What dbt's parser leaves behind: files that are the same are not parsed again."""
PROFILE = (
    "check: {target: check, outputs: {check: {type: duckdb, path: ':memory:', settings: {TimeZone: UTC}}}}\n"
)
"""For a project without a profile. The same everywhere, so that dbt takes over the parse of another folder."""
PROFILES = "profiles.yml"
SILENT = ["--quiet", "--log-level", "none"]
STRICT = "--strict"
NO_DEPRECATIONS = ["--warn-error-options", '{"error": ["Deprecations"]}']
WHOLE = "--full-refresh"
"""Incremental models are compiled as if their table were not there, whatever the warehouse holds."""
INCREMENTAL = ["--select", "config.materialized:incremental"]
WITHOUT_UNIT_TESTS = ["--exclude", "resource_type:unit_test"]
COMPILED = "compiled.json"
"""What a compile leaves beside the manifest, once all is done."""
TRUE_INCREMENTAL = """{% macro is_incremental() %}
    {{ return(model is defined and model.config.materialized == "incremental" and execute) }}
{% endmacro %}
"""


def compile_projects(
    folders: Sequence[tuple[Path, Path]], *, profile: str = "", strict: bool = False
) -> None:
    """Compile projects (root, target); each target then holds `manifest.json`, or dbt's message in `error.txt`.

    A project starts from the parse that lies in its target (`partial_parse.msgpack`), else from that of the project
    before it. profile: the text of a `profiles.yml` with one target, such as `compile_profile` makes; else dbt opens
    no file. `compiled.json` holds `incremental`, the compiled code, by unique id, of incremental models in a run that
    adds to a table that exists, and `failed_tests`, dbt's message for each data test that does not compile. strict: let
    that and deprecated syntax be an error; no `compiled.json`.
    """
    for _, target in folders:
        target.mkdir(parents=True, exist_ok=True)
        for name in ("error.txt", COMPILED):
            (target / name).unlink(missing_ok=True)
        (target / PROFILES).write_text(profile or PROFILE, encoding="utf-8")
    options = [STRICT] if strict else []
    done = subprocess.run(
        [sys.executable, "-P", __file__, *options, *(str(f.resolve()) for pair in folders for f in pair)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    for _, target in folders:
        if done.returncode and (strict or not (target / COMPILED).is_file()):
            (target / "error.txt").write_text(done.stdout + done.stderr, encoding="utf-8")


def is_compiled(target: Path, profile: str = "") -> bool:
    """Whether a compile with this profile has left all it makes in `target`."""
    if not (target / COMPILED).is_file() or not (target / PROFILES).is_file():
        return False
    return (target / PROFILES).read_text(encoding="utf-8") == (profile or PROFILE)


def compile_error(target: Path) -> str:
    """dbt's message about what was compiled into `target`, without colours and times; "" if all went well."""
    file = target / "error.txt"
    if not file.is_file():
        return ""
    text = re.sub(r"\x1b\[[0-9;]*m", "", file.read_text(encoding="utf-8"))
    lines = [re.sub(r"^\d\d:\d\d:\d\d\s+", "", line).rstrip() for line in text.splitlines()]
    wanted = [line for line in lines if line and "Traceback" not in line]
    return "\n".join(wanted[-12:]) or "dbt said nothing"


def compile_project(root: Path, target: Path, *, strict: bool = False) -> str:
    """Compile the project in the working directory `root`, as `compile_projects` does; returns dbt's error or ""."""
    from dbt.cli.main import dbtRunner  # takes 1.5 s

    if not (target / PROFILES).is_file():
        (target / PROFILES).write_text(PROFILE, encoding="utf-8")
    name, profile = next(iter(yaml.safe_load((target / PROFILES).read_text(encoding="utf-8")).items()))
    options = ["--profile", name, "--target", profile["target"]]
    options += ["--target-path", str(target), "--log-path", str(target)]
    options += ["--project-dir", str(root), "--profiles-dir", str(target)]
    compiling = ["compile", WHOLE, "--no-populate-cache", "--threads", "1", *options]
    parsed = dbtRunner().invoke([*SILENT, *NO_DEPRECATIONS * strict, "--no-write-json", "parse", *options])
    if not parsed.success:
        (target / PARSED).unlink(missing_ok=True)  # what was parsed is not looked at again
        return _message(parsed)
    manifest: Any = parsed.result
    done = dbtRunner(manifest=manifest).invoke([*SILENT, *compiling, *([] if strict else WITHOUT_UNIT_TESTS)])
    failed_tests = {} if strict else _failed_tests(done)
    if not done.success and (done.exception or len(_failed(done)) > len(failed_tests)):
        return _message(done)
    if strict:
        return ""
    incremental = [k for k, n in manifest.nodes.items() if n.config.materialized == "incremental"]
    added: dict[str, str] = {}
    if incremental:
        # the same parsed project with one macro exchanged: no second parse
        for key in [k for k in manifest.macros if k.endswith(".is_incremental")]:
            manifest.macros[key].macro_sql = TRUE_INCREMENTAL
        done = dbtRunner(manifest=manifest).invoke([*SILENT, "--no-write-json", *compiling, *INCREMENTAL])
        if not done.success:
            return _message(done)
        added = {k: manifest.nodes[k].compiled_code for k in incremental}
    left = {"incremental": added, "failed_tests": failed_tests}
    (target / COMPILED).write_text(json.dumps(left), encoding="utf-8")
    return ""


def parse_whole_where_macros_differ() -> None:
    """Let dbt start from an earlier parse only if every macro is the same as then.

    Else dbt 1.12 loses properties and tests of models that changed as well: which ones depends on the order of a set.
    """
    from dbt.contracts.files import ParseFileType
    from dbt.parser.manifest import ManifestLoader

    loaders: Any = ManifestLoader  # dbt's method has no types
    of_dbt = loaders.skip_partial_parsing_because_of_macros

    def differ(loader: ManifestLoader) -> bool:
        if (parser := loader.partial_parser) is None:
            return False
        files = {**parser.saved_files, **parser.new_files}
        different = {name for kind in ("changed", "added", "deleted") for name in parser.file_diff[kind]}
        macros = (ParseFileType.Macro, ParseFileType.GenericTest)
        return of_dbt(loader) or any(files[name].parse_file_type in macros for name in different)

    loaders.skip_partial_parsing_because_of_macros = differ


def _failed(done: Any) -> list[Any]:
    return [r for r in getattr(done.result, "results", []) if r.status == "error"]


def _failed_tests(done: Any) -> dict[str, str]:
    """dbt's message, by unique id, for data tests that do not compile: often they ask the warehouse for something."""
    return {r.node.unique_id: str(r.message) for r in _failed(done) if r.node.resource_type == "test"}


def _message(done: Any) -> str:
    failed = [r.message for r in _failed(done)]
    return str(done.exception or "\n".join(failed) or "a node does not compile")


def main(arguments: list[str]) -> None:
    """Compile pairs of root and target: `python -P compiling.py [--strict] ROOT TARGET [ROOT TARGET]`."""
    folders = [Path(name) for name in arguments if name != STRICT]
    before: Path | None = None
    parse_whole_where_macros_differ()
    for root, target in zip(folders[::2], folders[1::2], strict=True):
        if before is not None and (before / PARSED).is_file() and not (target / PARSED).is_file():
            shutil.copy(before / PARSED, target)
        with chdir(root):
            error = compile_project(root, target, strict=STRICT in arguments)
        if error:
            (target / "error.txt").write_text(error, encoding="utf-8")
        before = target


if __name__ == "__main__":
    main(sys.argv[1:])
