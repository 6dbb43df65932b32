"""A small project that is loaded, built and published by the commands people use.

shop = SmallProject(tmp_path)
shop.turn(7)      # the shop's tables say 7; sluice load, build, publish
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

FILES = Path(__file__).with_suffix("")
"""The project as it is copied: two tables, a model of each, one audience."""
ORDERS = 20_000
PRODUCTS = 50


class SmallProject:
    """A project folder, its SLUICE_HOME, and a SQLite shop that changes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "warehouse"
        self._shop = root / "shop.sqlite"
        shutil.copytree(FILES, root, dirs_exist_ok=True)
        with sqlite3.connect(self._shop) as con:
            con.execute("create table products (sku integer primary key, step integer not null)")
            con.execute(
                "create table orders (order_id integer primary key, sku integer not null, step integer not null,"
                " amount real not null)"
            )
            con.executemany("insert into products values (?, 0)", [[i] for i in range(PRODUCTS)])
            con.executemany(
                "insert into orders values (?, ?, 0, ?)", [[i, i % PRODUCTS, i % 997] for i in range(ORDERS)]
            )
        con.close()

    @property
    def path(self) -> Path:
        """What the readers open."""
        return self.home / "published" / "current" / "analysts.duckdb"

    def turn(self, step: int) -> None:
        """Every row of the shop gets `step`; load, build, publish."""
        with sqlite3.connect(self._shop) as con:
            con.execute("update products set step = ?", [step])
            con.execute("update orders set step = ?", [step])
        con.close()
        for command in ("load", "build", "publish"):
            self.sluice(command)

    def sluice(self, *arguments: str) -> str:
        """What the command says; it must succeed."""
        with self.running("sluice", *arguments) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, f"sluice {' '.join(arguments)}:\n{said}"
        return said

    def running(self, tool: str, *arguments: str) -> subprocess.Popen[str]:
        """A tool of the environment, just started in the project."""
        environment = {
            **os.environ,
            "SLUICE_HOME": str(self.home),
            "CONNECTIONS__SHOP__URL": f"sqlite:///{self._shop}",
        }
        command = [str(Path(sys.executable).with_name(tool)), *arguments]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
