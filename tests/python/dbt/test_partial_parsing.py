"""dbt and sluice commands in turns: each takes over what the other has parsed, and neither reports a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sluice.config.settings import Settings
from sluice.dbt.runner import dbt

ROOT = Path(__file__).parents[3]
PROFILE = """
small:
  target: dev
  outputs: {dev: {type: duckdb, path: "{{ env_var('SLUICE_HOME', 'warehouse') }}/warehouse.duckdb"}}
"""


@pytest.mark.full
def test_dbt_and_sluice_share_what_is_parsed(small: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    (small.root / "profiles.yml").write_text(PROFILE)
    for macro in ("duckdb__apply_grants.sql", "_macros.yml"):
        (small.root / "macros").mkdir(exist_ok=True)
        (small.root / "macros" / macro).write_text((ROOT / "macros" / macro).read_text())
    log = small.root / "logs" / "dbt.log"
    subprocess.run(
        [Path(sys.executable).with_name("dbt"), "parse"], cwd=small.root, check=True, capture_output=True
    )
    assert "saved manifest not found" in log.read_text()
    assert "duckdb__apply_grants has an invalid type" not in log.read_text()
    log.unlink()
    assert dbt(small, ["parse"]) == 0
    assert "Unable to do partial parsing" not in log.read_text()
    assert "no changes found, skipping parsing" in log.read_text()
