"""Every code block of README.md and docs/ is executed: YAML and JSON here, what needs a warehouse by the walks.

A walk executes all blocks of a page, in their order, as a reader would: tests/example/test_walk.py with the example
company, others as `ELSEWHERE` says.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.config.audiences import read_policy
from sluice.config.connections import Connections
from sluice.config.glossary import read_glossary
from sluice.config.sources import read_sources
from sluice.config.yaml_file import Problem
from sluice.conventions.check import rule_names
from sluice.conventions.switched_off import switched_off_problems
from sluice.review.findings import accepted_reasons
from tests.blocks import PAGES, ROOT, Block, blocks
from tests.example.test_walk import PAGES as WALKED

ALL = [block for page in PAGES for block in blocks(page)]
COMMAND = re.compile(r"^(\$ |\.venv/|(sluice|make|dbt|python3?|pip|git|keyring|export|curl|bash) )", re.M)
READ_ONLY = {"text", "yaml", "json", "csv"}
"""Blocks that are not run but read: pictures and output, and files."""
ELSEWHERE = {
    "docs/discover.md": "tests/python/discover/test_page.py",
    "docs/adopt.md": "tests/python/adopt/test_adopt.py",
    "docs/install.md": "tests/install/test_wheel.py",
    "docs/start.md": "tests/install/test_start.py",
    "docs/environments.md": "tests/python/workflow/test_environments.py",
    "docs/upgrade.md": "tests/python/upgrade/test_kept_projects.py",
    "docs/sources/python.md": "tests/python/extract/python/test_kind.py",
    "docs/sources/database.md": "tests/project/test_blocks.py",
}


PROPERTIES = {"models", "seeds", "snapshots"}
"""What dbt reads; tests/install/test_wheel.py does so with those of docs/install.md, and with dbt's own two files."""


def _kind(block: Block) -> str:
    return str(next(key for key in yaml.safe_load(block.text) if key != "version"))


PROFILES = {"docs/install.md", "docs/environments.md"}
"""Pages with files that only dbt reads, when their walk runs it."""
YAML = [b for b in ALL if b.language == "yaml" and (b.page not in PROFILES or _kind(b) == "sources")]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in {"sh", "python", "sql", *READ_ONLY}, "an unknown language: nobody executes it"
    if block.language == "text":
        assert not COMMAND.search(block.text), "this is a command: make it `sh`, so that it is executed"


def test_every_block_to_run_is_on_a_page_that_is_walked() -> None:
    to_run = {block.page for block in ALL if block.language not in READ_ONLY}
    assert to_run == {*WALKED, *ELSEWHERE}, "tests/example/test_walk.py does not know the page"
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not read {page}"


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "json"], ids=str)
def test_json(block: Block) -> None:
    assert json.loads(block.text)


@pytest.mark.parametrize("block", [b for b in YAML if _kind(b) not in PROPERTIES], ids=str)
def test_yaml(block: Block, tmp_path: Path) -> None:
    """What its first key says it is, is what reads it."""
    content = yaml.safe_load(block.text)
    {
        "sources": _source,
        "auth": _part_of_a_source,
        "load": _part_of_a_source,
        "switched_off": _conventions,
        "terms": _glossary,
        "publish": _policy,
    }[_kind(block)](block, content, tmp_path)


def _problems(content: Any, folder: Path) -> list[Problem]:
    (folder / "shown.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    # the Python of an example is the reader's, not this repository's
    return [p for p in read_sources(folder)[1] if not p.where.endswith(".resource")]


def _source(block: Block, content: Any, folder: Path) -> None:
    assert not _problems(content, folder), "`sluice check` refuses it"


def _part_of_a_source(block: Block, content: Any, folder: Path) -> None:
    """One of the page's sources takes it: keys of authentication as its client's, others as a table's."""
    whole = next(b for b in ALL if b.page == block.page and b.text.startswith("version: 2"))
    found = []
    for source in yaml.safe_load(whole.text)["sources"]:
        if "auth" in content:
            source["config"]["meta"]["load"]["client"] |= content
        else:
            source["tables"] = source["tables"][:1]
            source["tables"][0]["config"]["meta"] |= content
        found.append(_problems({"version": 2, "sources": [source]}, folder))
    assert [] in found, f"`sluice check` refuses it: {found}"


def _conventions(block: Block, content: Any, folder: Path) -> None:
    (folder / "conventions.yml").write_text(block.text)
    reasons, problems = switched_off_problems(folder, rule_names(ROOT))
    assert reasons
    assert not problems


def _glossary(block: Block, content: Any, folder: Path) -> None:
    (folder / "glossary.yml").write_text(block.text)
    assert read_glossary(folder / "glossary.yml")


def _policy(block: Block, content: Any, folder: Path) -> None:
    (folder / "audiences.yml").write_text(block.text)
    policy, problems = read_policy(folder / "audiences.yml")
    assert policy
    assert not problems


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.page == "docs/sources/database.md" and b.language == "sh"], ids=str
)
def test_a_connection_comes_from_the_environment(block: Block, tmp_path: Path) -> None:
    told = subprocess.run(
        ["bash", "-euc", f"{block.text}\nenv -0"], capture_output=True, text=True, check=True
    )
    given = dict(
        line.split("=", 1) for line in told.stdout.split("\0") if line.startswith("CONNECTIONS__BILLING")
    )
    assert list(given) == ["CONNECTIONS__BILLING__URL"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(given.items())))
        assert (
            Connections(tmp_path, tmp_path / "none").all("billing")["url"].startswith("postgresql://loader:")
        )


@pytest.mark.full
def test_properties_are_what_dbt_reads(tmp_path: Path) -> None:
    """In a project with what they describe, and with this one's generic tests."""
    shutil.copytree(ROOT / "macros", tmp_path / "macros")
    shutil.copytree(ROOT / "tests" / "generic", tmp_path / "tests" / "generic")
    names = {}
    for number, block in enumerate(b for b in YAML if _kind(b) in PROPERTIES):
        folder = tmp_path / _kind(block)
        folder.mkdir(exist_ok=True)
        (folder / f"_shown_{number}.yml").write_text(block.text)
        for entry in yaml.safe_load(block.text)[_kind(block)]:
            names[entry["name"]] = _kind(block)
    for name in [*(n for n, kind in names.items() if kind == "models"), "stg_crm__contacts"]:
        (tmp_path / "models" / f"{name}.sql").write_text("select 1 as contact_id")
    for name in (n for n, kind in names.items() if kind == "seeds"):
        (tmp_path / "seeds" / f"{name}.csv").write_text("a\n1\n")
    project = "name: p\nprofile: p\nmacro-paths: [macros]\nflags: {send_anonymous_usage_stats: false}\n"
    (tmp_path / "dbt_project.yml").write_text(project)
    (tmp_path / "profiles.yml").write_text("p: {target: t, outputs: {t: {type: duckdb, path: ':memory:'}}}\n")
    dbt = str(Path(sys.executable).with_name("dbt"))
    parsed = subprocess.run(
        [dbt, "parse", "--profiles-dir", "."], cwd=tmp_path, capture_output=True, text=True
    )
    assert parsed.returncode == 0, parsed.stdout
    nodes = json.loads((tmp_path / "target" / "manifest.json").read_text())["nodes"].values()
    assert set(names) <= {node["name"] for node in nodes}
    (published,) = [node for node in nodes if node["name"] == "dim_customers"]
    assert published["config"]["grants"] == {"select": ["analysts"]}
    assert published["columns"]["email"]["config"]["meta"] == {"data_class": "email"}


def test_the_line_that_accepts_a_finding() -> None:
    (line,) = [b for b in ALL if b.page == "docs/review.md" and b.text.startswith("review:")]
    assert accepted_reasons(line.text)


def test_the_example_of_an_incremental_walk_ends_with_published_files() -> None:
    """Whoever follows README.md reads the week that was added, without a step that the text leaves out."""
    (advance,) = [b for b in blocks(ROOT / "README.md") if "sandbox advance" in b.text]
    assert re.search(r"advance .*\n(.*\n)*sluice (run|publish)$", advance.text, re.M)
