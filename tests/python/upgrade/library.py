"""A library's warehouse: the project that is kept as it was left by each version, and what its systems hold.

`python tests/python/upgrade/library.py FOLDER` makes fixtures/v<version>.tar.gz with the engine that is installed; FOLDER
is for its files while it works, and has to be missing. Do this before a version is released.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
LEFT_OUT = {"target", "logs", "lock", "tmp", "landing", "trace.pickle", "lineage.sqlite", "keys"}
"""What a run makes again, and keys."""


def make_systems(root: Path) -> None:
    """The library's database and its first file of fees, one of which is malformed."""
    with sqlite3.connect(root / "library.sqlite") as con:
        con.execute("create table books (book_id integer primary key, title text not null)")
        con.execute(
            "create table loans (loan_id integer primary key, book_id integer not null, borrower text not null,"
            " changed_at timestamp not null)"
        )
        con.executemany("insert into books values (?, ?)", [[i, f"Volume {i}"] for i in range(1, 6)])
        rows = [[i, i % 5 + 1, f"Reader {i}", f"2026-10-{i:02d} 08:00:00"] for i in range(1, 21)]
        con.executemany("insert into loans values (?, ?, ?, ?)", rows)
    con.close()
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "fees_1.csv").write_text("fee_id,loan_id,amount\n1,1,1.50\n2,2,4.00\n3,x,1.50\n")


def next_day(root: Path) -> None:
    """A day later: two more loans, one with a fee, and a book that is gone."""
    with sqlite3.connect(root / "library.sqlite") as con:
        con.executemany(
            "insert into loans values (?, ?, ?, ?)",
            [[i, 2, f"Reader {i}", f"2026-10-{i:02d} 08:00:00"] for i in (21, 22)],
        )
        con.execute("delete from books where book_id = 5")
    con.close()
    (root / "data" / "fees_2.csv").write_text("fee_id,loan_id,amount\n4,21,1.50\n")


def sluice(root: Path, *arguments: str, code: int | None = 0) -> str:
    """What the command says; None: its exit code does not matter."""
    command = [sys.executable, "-c", "from sluice.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, (
        f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout + done.stderr


def environment() -> dict[str, str]:
    """Where the library's database is, and nothing of this process's project."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return {**inherited, "CONNECTIONS__LIBRARY__URL": "sqlite:///library.sqlite"}


def unpack(name: str, root: Path) -> None:
    """The project as a version left it."""
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
        if guard := getattr(tarfile, "data_filter", None):  # not in Python 3.11.2, which Debian 12 has
            archive.extraction_filter = guard
        archive.extractall(root)


def _pack(root: Path, file: Path) -> None:
    """Without owners and times, so that the same content is the same file."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if LEFT_OUT & set(Path(entry.name).parts):
            return None
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
        return entry

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(root, ".", filter=plain)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(content.getvalue(), 9, mtime=0))


def main() -> None:
    """Load, load again, build, publish; then keep it."""
    root, engine = Path(sys.argv[1]), version("sluice")
    shutil.copytree(HERE / "project", root)
    pin = root / "pyproject.toml"
    pin.write_text(pin.read_text().replace("0.0.0", engine))
    make_systems(root)
    for command in ("load", "load", "build", "publish"):
        print(sluice(root, command))  # noqa: T201 - a script
    _pack(root, FIXTURES / f"v{engine.replace('.', '_')}.tar.gz")


if __name__ == "__main__":
    main()
