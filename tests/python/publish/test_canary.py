"""Marked values in every personal column: in no byte that an audience, a log or a temporary folder may hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sluice.errors import PublishError
from sluice.publish import publish, rollback, rotate_key

from .conftest import AUDIENCES, Company

CANARY = b"CANARY"


def _holding(folder: Path, needle: bytes) -> list[str]:
    return sorted(
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and needle in file.read_bytes()
    )


def test_masked_and_ungranted_values_are_in_no_byte(company: Company) -> None:
    """Only support is cleared for anything; every name, e-mail address and phone number begins with CANARY."""
    company.policy(AUDIENCES.replace("email: partial, name: hash", "email: hash, name: hash"))
    company.publish()
    company.sql("update marts.dim_customers set phone = phone || 'x'")
    company.publish()
    rollback(company.settings)
    holding = _holding(company.settings.home, CANARY)
    versions = [f for f in holding if f.startswith("published")]
    assert versions
    assert {Path(f).name for f in versions} == {"support.duckdb"}
    assert [f for f in holding if not f.startswith("published")] == ["warehouse.duckdb"]
    key = rotate_key(company.settings, "support")
    assert key
    assert _holding(company.published, CANARY) == [], "encrypted"
    assert _holding(company.settings.target, CANARY) == []


def test_values_of_other_regions_are_not_in_a_filtered_file(company: Company) -> None:
    company.policy(AUDIENCES.replace("masks: {email: partial, name: hash}", "clear: [name, email, phone]"))
    company.sql("update marts.dim_customers set name = 'FARAWAY' || name where region <> 'DACH'")
    company.publish()
    content = company.path("dach").read_bytes()
    assert CANARY in content
    assert b"FARAWAY" not in content


@pytest.mark.parametrize("key", ["", "a key"])
def test_not_even_for_a_moment(
    company: Company, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While a publication runs, everything below SLUICE_HOME and the temporary folder is looked at again and again."""
    company.fill(60_000)
    company.policy(
        AUDIENCES.replace("clear: [email, phone, name]", "").replace(
            "email: partial, name: hash", "name: hash"
        )
    )
    company.built()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "CONNECTIONS__PUBLISH_SUPPORT__KEY": key}
    program = (
        "import sys; from pathlib import Path; from sluice.config.settings import Settings; from sluice.publish import publish;"
        "publish(Settings(Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    places = [str(company.settings.root), str(company.settings.home)]
    found: set[str] = set()
    looks = 0
    with subprocess.Popen(
        [sys.executable, "-c", program, *places], env=environment, cwd=temporary
    ) as process:
        while process.poll() is None:
            for folder in (company.settings.home, temporary):
                for place, _, names in os.walk(folder):  # what goes away meanwhile is passed over
                    for file in [Path(place, name) for name in names if name != "warehouse.duckdb"]:
                        try:
                            if CANARY in file.read_bytes():
                                found.add(file.name)
                        except FileNotFoundError:
                            continue
            looks += 1
            time.sleep(0.005)
    assert process.returncode == 0
    assert looks > 20
    assert found == set()


def test_messages_hold_no_values(company: Company) -> None:
    """DuckDB quotes the value it cannot convert; neither the message nor the ledger repeats it."""
    company.policy(AUDIENCES.replace("condition: \"region = 'DACH'\"", 'condition: "cast(name as int) = 1"'))
    company.built()
    with pytest.raises(PublishError) as failed:
        publish(company.settings)
    assert CANARY.decode() not in str(failed.value)
    assert _holding(company.settings.home, CANARY) == ["warehouse.duckdb"]
