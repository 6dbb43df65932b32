"""Changed files that dbt's manifest does not show: settings, versions, code, environment."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from sluice.config.connections import SECRET_KEYS, URL_PASSWORD
from sluice.config.settings import AUDIENCES
from sluice.review.findings import Finding, look
from sluice.review.macro_changes import code, macros_of
from sluice.review.revision import Revision
from sluice.review.wording import clip, old_and_new

PROSE = "*.md *.rst *.png *.jpg *.svg *.gif docs/* LICENSE* .editorconfig .gitattributes .gitignore .vscode/*".split()
"""Files that cannot change a result. They are named, and not judged."""
SETTINGS = {
    "profiles.yml": "a setting of the engine can change every value",
    "selectors.yml": "it decides what a build builds",
    ".env*": "the environment decides what is read and how",
    "*requirements*.txt *.lock pyproject.toml .python-version Pipfile setup.*": (
        "another version of the engine or of a library can change results"
    ),
    "packages.yml dependencies.yml package-lock.yml": "another version of a package can change every model",
    ".sqlfluff* .pre-commit-config.yaml dbt-bouncer.yml conventions.yml": "it decides what lint and conventions report",
    ".github/* .gitlab-ci.yml .ci/* Makefile Dockerfile* *.toml *.cfg *.ini": (
        "it decides what runs, when and with which rights"
    ),
}
"""Patterns of files, and what a change of them can do."""
IN_MANIFEST = (
    "name version config-version profile models seeds snapshots data_tests tests sources unit_tests exposures "
    "on-run-start on-run-end macro-paths model-paths seed-paths test-paths snapshot-paths docs-paths "
    "analysis-paths clean-targets"
).split()
"""Keys of dbt_project.yml whose effect the manifest holds."""
SECTIONS = ("metrics", "semantic_models", "saved_queries", "functions")
"""Parts of the manifest that are compared as they are written."""
LINES = 3
"""Changed lines of a file that are shown."""


def file_findings(old: Revision, new: Revision, files: Collection[str]) -> tuple[list[Finding], list[str]]:
    """Findings about changed files that nothing else judges, and those files that cannot change a result."""
    known = _in_manifest(old) | _in_manifest(new) | {AUDIENCES, "dbt_project.yml"}
    found = [*_project(old, new), *_written(old, new)]
    unjudged: list[str] = []
    others: dict[str, list[str]] = {}
    for file in files:
        what = next((w for names, w in SETTINGS.items() if any(_fits(file, n) for n in names.split())), "")
        if file in known:
            continue
        if what:
            text = f"{what}; not measured here{_changed_lines(old.root / file, new.root / file)}"
            found.append(look("setting", file, text, file))
        elif any(_fits(file, name) for name in PROSE):
            unjudged.append(file)
        else:
            others.setdefault(file.split("/")[0], []).append(file)
    for folder, names in others.items():
        listed = ", ".join(f"`{n}`" for n in names[:LINES])
        more = f" and {len(names) - LINES} more" if len(names) > LINES else ""
        users = sorted({name for file in names for name in _sources_of(new, file)})
        loads = f"; {', '.join(f'`{u}`' for u in users)} is loaded by it" if users else ""
        text = f"not judged, as the review does not run them: {listed}{more}{loads}"
        found.append(look("not-judged", folder, text, names[0] if len(names) == 1 else folder))
    return found, unjudged


def _fits(file: str, pattern: str) -> bool:
    return fnmatch(file, pattern) or fnmatch(Path(file).name, pattern)


def _in_manifest(revision: Revision) -> set[str]:
    """Files whose content is compared through the manifest."""
    manifest = revision.manifest
    kinds = ("nodes", "macros", "sources", "exposures", "unit_tests", "docs", "groups", *SECTIONS)
    entries = [e for kind in kinds for e in manifest.get(kind, {}).values()]
    paths = {str(e.get("original_file_path") or "") for e in entries}
    return paths | {str(e["patch_path"]).split("://")[-1] for e in entries if e.get("patch_path")}


def _written(old: Revision, new: Revision) -> Iterator[Finding]:
    """Hooks of a run, functions and metrics: compared as text."""
    sides = []
    for revision in (old, new):
        entries = {k: e for section in SECTIONS for k, e in revision.manifest.get(section, {}).items()}
        sides.append({**revision.nodes("operation", "analysis"), **entries})
    for key in sorted({*sides[0], *sides[1]}):
        texts = [code(str((s.get(key) or {}).get("raw_code") or _plain(s.get(key)))) for s in sides]
        if texts[0] != texts[1]:
            entry = sides[1].get(key) or sides[0][key]
            how = (
                "changed"
                if all(key in side for side in sides)
                else "is new"
                if key in sides[1]
                else "is gone"
            )
            text = f"`{entry['name']}` {how}, and is compared as text only"
            place = entry["original_file_path"].removeprefix("./")
            yield look(f"{key.split('.')[0]}-changed", entry["name"], text, place)


def _plain(entry: Mapping[str, Any] | None) -> str:
    volatile = ("created_at", "checksum", "patch_path", "description")
    return "" if entry is None else repr(sorted((k, v) for k, v in entry.items() if k not in volatile))


def _project(old: Revision, new: Revision) -> Iterator[Finding]:
    """Keys of dbt_project.yml: variables with the models that read them, and what the manifest does not hold."""
    before, after = (_leaves(_yaml(r.root / "dbt_project.yml")) for r in (old, new))
    for path in sorted({*before, *after}):
        o, n = before.get(path), after.get(path)
        if o == n or path.split(".")[0] in IN_MANIFEST:
            continue
        text = f"`{path}`: {_shown(path, o, n)}"
        if path.startswith("vars."):
            readers = _readers(new, path.split(".")[-1])
            text += f", read by {readers}" if readers else ", read by no model, test or macro that is known"
        yield look("setting", f"dbt_project.yml.{path}", text, "dbt_project.yml")


def _readers(new: Revision, variable: str) -> str:
    """Names of the nodes whose Jinja names a variable, itself or in a macro."""
    named = re.compile(rf"""['"]{re.escape(variable)}['"]""")
    macros = new.manifest.get("macros", {})
    keys = {key for key, macro in macros.items() if named.search(macro["macro_sql"])}
    found = sorted(
        node["name"]
        for node in new.nodes("model", "test", "snapshot").values()
        if named.search(node["raw_code"]) or keys & macros_of(macros, node)
    )
    more = f" and {len(found) - LINES} more" if len(found) > LINES else ""
    return ", ".join(f"`{name}`" for name in found[:LINES]) + more


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Values by dotted path."""
    if not isinstance(value, dict) or not value:
        return {path: value} if path else {}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _leaves(inner, f"{path}.{key}" if path else str(key))
    return found


def _shown(path: str, before: Any, after: Any) -> str:
    if SECRET_KEYS.search(path):
        return "another value"
    return URL_PASSWORD.sub("***", old_and_new(before, after))


def _changed_lines(before: Path, after: Path) -> str:
    """The first lines that differ; of an environment file only names, of secrets nothing."""
    texts = []
    for file in (before, after):
        try:
            texts.append(file.read_text(encoding="utf-8").splitlines() if file.is_file() else [])
        except (OSError, UnicodeDecodeError):
            return ""
    is_environment = after.name.startswith(".env")
    found: list[str] = []
    for line in difflib.unified_diff(texts[0], texts[1], n=0, lineterm=""):
        text = line[1:].strip()
        if line.startswith(("---", "+++", "@@")) or not text or text.startswith(("#", "--hash")):
            continue
        name = re.split(r"[:=]", text)[0].strip()
        is_secret = is_environment or SECRET_KEYS.search(name) or "key" in name.lower()
        text = f"{name} (value not shown)" if is_secret else URL_PASSWORD.sub("***", clip(text, 100))
        found.append(f"{line[0]} {text.removesuffix(chr(92)).strip()}")
    more = f" and {len(found) - 2 * LINES} more lines" if len(found) > 2 * LINES else ""
    return ": " + ", ".join(f"`{line}`" for line in found[: 2 * LINES]) + more if found else ""


def _sources_of(new: Revision, file: str) -> set[str]:
    """Sources of the kind `python` whose declaration names a module."""
    module = Path(file).stem
    return {
        str(table["source_name"])
        for table in new.sources.values()
        if re.search(rf"\b{re.escape(module)}[.:]", str([table.get("source_meta"), table.get("meta")]))
    }
