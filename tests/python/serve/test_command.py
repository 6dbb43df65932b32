"""`sluice serve` as a person starts it: a process that prints where it listens, and ends with Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions

from ..publish.conftest import Company


def test_the_command(tmp_path: Path) -> None:
    company = Company(tmp_path / "project")
    (company.settings.root / "dbt_project.yml").write_text("name: t\n")
    company.publish()
    sluice = [str(Path(sys.executable).with_name("sluice")), "serve", "--audience", "analysts"]
    options: dict[str, Any] = {
        "cwd": company.settings.root,
        "env": {**os.environ, "SLUICE_HOME": str(company.settings.home)},
        "text": True,
    }
    token = subprocess.run(
        [*sluice, "--issue-token", "anna"], check=True, capture_output=True, **options
    ).stdout.strip()
    with subprocess.Popen([*sluice, "--port", "0"], stdout=subprocess.PIPE, **options) as server:
        assert server.stdout
        uri = server.stdout.readline().split(" on ")[1].split(";")[0]
        header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
        with flight_sql.connect(uri, header, autocommit=True) as con, con.cursor() as cursor:
            cursor.execute("select count(*) from dim_customers")
            assert cursor.fetchall() == [(1000,)]
        server.send_signal(signal.SIGINT)
        assert server.wait(20) in (0, 130)
