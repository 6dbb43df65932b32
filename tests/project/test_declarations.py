"""What the project declares in YAML is sound, and editors accept what `sluice check` accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sluice.config.json_schema import json_schema
from sluice.config.sources import read_sources

ROOT = Path(__file__).parents[2]


def test_the_projects_own_sources_are_sound() -> None:
    sources, problems = read_sources(ROOT / "sources")
    assert problems == []
    assert {s.kind for s in sources} == {"database", "files", "rest", "stream", "python"}


def test_editors_accept_the_projects_sources() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    for file in sorted((ROOT / "sources").glob("*.yml")):
        document = json.loads(json.dumps(yaml.safe_load(file.read_text()), default=str))
        assert not list(validator.iter_errors(document)), file


def test_dbt_sends_no_statistics() -> None:
    project = yaml.safe_load((ROOT / "dbt_project.yml").read_text())
    assert project["flags"]["send_anonymous_usage_stats"] is False
