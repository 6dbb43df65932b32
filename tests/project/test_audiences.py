"""Grants, data classes and audiences fit together; nothing personal reaches an audience without a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.config.audiences import load_policy
from sluice.publish.project import Project

ROOT = Path(__file__).parents[2]
POLICY = load_policy(ROOT / "audiences.yml")


def test_what_publishing_would_refuse(manifest: dict[str, Any]) -> None:
    mistakes = list(Project(manifest, POLICY.publishing.rows).mistakes(POLICY))
    assert not mistakes, "\n".join(mistakes)


def test_every_audience_is_granted_something(manifest: dict[str, Any]) -> None:
    granted = {name for m in Project(manifest, POLICY.publishing.rows).models.values() for name in m.grants}
    idle = sorted({audience.name for audience in POLICY.audiences} - granted)
    assert not idle, f"default is deny, so these get an empty file: {idle}"


def test_only_contracted_models_are_granted(manifest: dict[str, Any]) -> None:
    models = Project(manifest, POLICY.publishing.rows).models.values()
    wrong = sorted(m.name for m in models if not m.is_contracted)
    assert not wrong, f"readers need a promise of names and types; enforce a contract on: {wrong}"
