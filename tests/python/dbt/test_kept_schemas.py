"""dbt's schemas of its classes are made once, and are those that it makes itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbt.contracts.project import Project
from dbt_common.dataclass_schema import ValidationError, dbtClassMixin

from sluice.dbt.kept_schemas import kept_schemas

PROJECT = {"name": "shop", "profile": "shop", "model-paths": ["models"]}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = dbtClassMixin.__dict__["json_schema"]
    yield
    dbtClassMixin.json_schema = before  # type: ignore[method-assign]


def test_schemas_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dbtClassMixin.__dict__["json_schema"]
    own = Project.json_schema()
    with kept_schemas(tmp_path / "kept.json"):
        Project.validate(PROJECT)
    kept = json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))
    assert kept["schemas"]["dbt.contracts.project.Project"] == own

    def made(cls: type) -> None:
        raise AssertionError(f"{cls} is made again")

    dbtClassMixin.json_schema = classmethod(made)  # type: ignore[method-assign,assignment]
    with kept_schemas(tmp_path / "kept.json"):
        Project.validate(PROJECT)
        with pytest.raises(ValidationError):
            Project.validate({**PROJECT, "model-paths": "models"})
    dbtClassMixin.json_schema = before  # type: ignore[method-assign]
    for broken in ("{", json.dumps({**kept, "versions": []}), json.dumps([])):
        (tmp_path / "kept.json").write_text(broken, encoding="utf-8")
        with kept_schemas(tmp_path / "kept.json"):
            Project.validate(PROJECT)
        dbtClassMixin.json_schema = before  # type: ignore[method-assign]
        assert (
            json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))["versions"] == kept["versions"]
        )
