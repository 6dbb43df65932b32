"""Nothing phones home: the tools underneath have their statistics off, also when they are called without us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.config.settings import load_settings, quiet_tools
from sluice.errors import DeclarationError


def test_dlt_sends_no_statistics() -> None:
    asked = (
        "from sluice.config.settings import quiet_tools; quiet_tools();"
        "from dlt.common.configuration.resolve import resolve_configuration as resolve;"
        "from dlt.common.configuration.specs import RuntimeConfiguration as C;"
        "import sys; sys.stdout.write(str(resolve(C()).dlthub_telemetry))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "False"


def test_children_inherit_the_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME__DLTHUB_TELEMETRY", "DBT_SEND_ANONYMOUS_USAGE_STATS", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "unset")
    quiet_tools()
    assert os.environ["RUNTIME__DLTHUB_TELEMETRY"] == "false"
    assert os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] == "false"


def test_home_is_below_the_project_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: x\n")
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    assert load_settings(tmp_path).home == tmp_path / "warehouse"
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "elsewhere"))
    assert load_settings(tmp_path).home == tmp_path / "elsewhere"


def test_settings_that_are_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: x\n")
    monkeypatch.setenv("SLUICE_HOEM", "/elsewhere")
    with pytest.raises(
        DeclarationError, match=r"SLUICE_HOEM .* is not a setting of Sluice\. Did you mean SLUICE_HOME\?"
    ):
        load_settings(tmp_path)
    monkeypatch.delenv("SLUICE_HOEM")
    monkeypatch.setenv("SLUICE_CRASH_POINTS", "1")
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "dbt_project.yml"))
    with pytest.raises(DeclarationError, match="write the path of a folder, this is a file"):
        load_settings(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", "")
    settings = load_settings(tmp_path)
    assert settings.home == tmp_path / "warehouse"
    for seconds, expected in (("", 60), ("0", 0), ("2.5", 2.5)):
        monkeypatch.setenv("SLUICE_LOCK_SECONDS", seconds)
        assert settings.lock_seconds == expected
    for seconds in ("soon", "-1", "nan"):
        monkeypatch.setenv("SLUICE_LOCK_SECONDS", seconds)
        with pytest.raises(
            DeclarationError, match=f"SLUICE_LOCK_SECONDS is '{seconds}': write a number of seconds"
        ):
            _ = settings.lock_seconds
