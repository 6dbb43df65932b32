"""Ctrl-C in the middle of a long extraction ends a load within two seconds, and the next load is right."""

from __future__ import annotations

import gzip
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import MariaDB, Postgres
from sluice.errors import Exit
from tests.python.extract.database.test_database import maria
from tests.python.project import Project

SECONDS = 2.0


@contextmanager
def never_answers() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def python(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    module = project.root / "slow_rows.py"
    module.write_text("import time\ndef rows():\n    yield {'id': 1}\n    time.sleep(100)\n")
    project.declare("slow", {"kind": "python"}, {"rows": {"resource": "slow_rows.rows"}})
    yield lambda: module.write_text("def rows():\n    yield {'id': 1}\n")


@contextmanager
def sqlite(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    count = "with recursive c(id) as (select 1 union all select id + 1 from c where id < {}) select id from c"

    def make(rows: int) -> None:
        with sqlite3.connect(project.root / "s.db") as con:
            con.executescript(f"drop view if exists rows; create view rows as {count.format(rows)}")

    make(1_000_000_000)
    project.connect("s", url="sqlite:///s.db")
    project.declare("slow", {"kind": "database", "connection": "s"}, {"rows": {}})
    yield lambda: make(1)


@contextmanager
def postgres(project: Project, request: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    server: Postgres = request.getfixturevalue("postgres_server")
    server.sql("drop schema if exists slow cascade; create schema slow")
    server.sql("create view slow.rows as select id::int from generate_series(1, 1000) id, pg_sleep(15)")
    project.connect("s", url=server.url)
    project.declare("slow", {"kind": "database", "connection": "s"}, {"rows": {"table": "slow.rows"}})
    yield lambda: server.sql("create or replace view slow.rows as select 1 as id")


@contextmanager
def mariadb(project: Project, request: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    server: MariaDB = request.getfixturevalue("mariadb_server")
    maria(server, "create or replace view slow_rows as select seq as id, sleep(1) as waited from seq_1_to_15")
    project.connect("s", url=server.url)
    project.declare("slow", {"kind": "database", "connection": "s"}, {"rows": {"table": "slow_rows"}})
    yield lambda: maria(server, "create or replace view slow_rows as select 1 as id")


@contextmanager
def files(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    file = project.root / "rows.csv.gz"
    block = b"1234567,some text that takes its place\n" * 100_000
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(b"id,text\n")
        out.writelines(block for _ in range(150))
    project.declare("slow", {"kind": "files", "url": "."}, {"rows": {"path": "rows.csv.gz", "format": "csv"}})
    yield lambda: file.write_bytes(gzip.compress(b"id\n1\n"))


@contextmanager
def bucket(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    with never_answers() as port:
        project.connect(
            "s", endpoint_url=f"http://127.0.0.1:{port}", access_key_id="a", secret_access_key="b"
        )
        load = {"kind": "files", "url": "s3://rows", "connection": "s"}
        project.declare("slow", load, {"rows": {"path": "*.csv", "format": "csv"}})
        yield lambda: good(project)


@contextmanager
def rest(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    with never_answers() as port:
        client = {"base_url": f"http://127.0.0.1:{port}"}
        project.declare("slow", {"kind": "rest", "client": client}, {"rows": {"endpoint": {"path": "rows"}}})
        yield lambda: good(project)


@contextmanager
def nats(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    with never_answers() as port:
        project.connect("s", url=f"nats://127.0.0.1:{port}")
        load = {"kind": "stream", "connection": "s", "protocol": "nats"}
        project.declare("slow", load, {"rows": {"stream": "ROWS"}})
        yield lambda: good(project)


@contextmanager
def kafka(project: Project, _: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    with never_answers() as port:
        project.connect("s", bootstrap_servers=f"127.0.0.1:{port}")
        load = {"kind": "stream", "connection": "s", "protocol": "kafka"}
        project.declare("slow", load, {"rows": {"topic": "rows"}})
        yield lambda: good(project)


def good(project: Project) -> None:
    """The same source, as something that answers."""
    (project.root / "rows.csv").write_text("id\n1\n")
    project.declare("slow", {"kind": "files", "url": "."}, {"rows": {"path": "rows.csv", "format": "csv"}})


@pytest.mark.parametrize(
    "kind",
    [
        python,
        *(
            pytest.param(k, marks=pytest.mark.full)
            for k in (sqlite, postgres, mariadb, files, bucket, rest, nats, kafka)
        ),
    ],
)
@pytest.mark.sample(2)
def test_ctrl_c_ends_within_two_seconds(
    kind: Callable[..., object], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project")
    with kind(project, request) as fix:  # type: ignore[attr-defined]
        with project.loading("slow") as process:
            time.sleep(0.7)
            assert process.poll() is None, process.communicate()[0]
            process.send_signal(signal.SIGINT)
            sent = time.monotonic()
            try:
                output = process.communicate(timeout=20)[0]
            finally:
                process.kill()
            took = time.monotonic() - sent
        assert process.returncode == Exit.INTERRUPTED, output
        assert "interrupted" in output
        assert "Traceback" not in output
        assert took < SECONDS
        fix()
        healed = project.sluice("load")
    assert healed.returncode == 0, healed.stderr
    assert [str(one) for (one,) in project.raw("select id from slow.rows")] == ["1"]
