"""The command as a person meets it: exit codes, messages, and a source added by writing one file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import sluice
from tests.python.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_check_says_what_is_wrong_and_where(project: Project) -> None:
    file = project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}})
    fine = project.sluice("check")
    assert (fine.returncode, fine.stdout) == (0, "1 sources, 1 tables: all declarations are sound\n")
    file.write_text(file.read_text().replace("kind: database", "kind: databse"))
    for command in ("check", "load", "status"):
        wrong = project.sluice(command)
        assert wrong.returncode == 3
        assert "sources/till.yml:" in wrong.stderr
        assert "kind: is 'databse'; allowed are database, files, rest, stream, python" in wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_check_of_files_says_what_is_wrong_in_them_only(project: Project) -> None:
    till = project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}})
    desk = project.declare("desk", {"kind": "database", "connection": "desk"}, {"sales": {}})
    desk.write_text(desk.read_text().replace("kind: database", "kind: databse"))
    fine = project.sluice("check", "sources/till.yml")
    assert (fine.returncode, fine.stdout) == (0, "1 files: all declarations are sound\n")
    wrong = project.sluice("check", "sources/till.yml", "sources/desk.yml")
    assert wrong.returncode == 3
    assert wrong.stderr.count("sources/desk.yml:") == 1
    till.write_text(till.read_text() + "x: [")
    assert project.sluice("check", "sources/till.yml").returncode == 3
    other = project.sluice("check", "dbt_project.yml")
    assert other.returncode == 2
    assert "dbt_project.yml is not a file of sources/, audiences.yml or docs/glossary.yml" in other.stderr


def test_load_exits_by_what_became_of_it(project: Project) -> None:
    with sqlite3.connect(project.root / "till.db") as con:
        con.executescript("create table sales (id int); insert into sales values (1)")
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}, "missing": {}})
    unset = project.sluice("load")
    assert unset.returncode == 4
    assert "the connection 'till' has no 'url': set CONNECTIONS__TILL__URL in the environment" in unset.stderr
    variables = {"CONNECTIONS__TILL__URL": "sqlite:///till.db"}
    some = project.sluice("load", **variables)
    assert some.returncode == 1
    assert "1 of 2 tables failed" in some.stdout
    assert "till.missing: the source has no table 'missing'" in some.stderr
    assert project.raw("from till.sales select id") == [(1,)]
    one = project.sluice("load", "till.sales", **variables)
    assert (one.returncode, one.stderr) == (0, "")
    unknown = project.sluice("load", "tell", **variables)
    assert unknown.returncode == 3
    assert "no source or table is called tell; declared are: till" in unknown.stderr
    assert project.sluice("load", "--nonsense").returncode == 2
    partly = project.sluice("load", "--full-refresh", "--from", "1", **variables)
    assert (partly.returncode, "do not go together" in partly.stderr) == (2, True)
    assert project.raw("from till.sales select id") == [(1,)]
    state = project.sluice("status")
    assert state.returncode == 0
    assert "till" in state.stdout


def test_the_version_is_printed(project: Project) -> None:
    done = project.sluice("--version")
    assert (done.returncode, done.stdout) == (0, f"sluice {sluice.__version__}\n")


def test_help_imports_neither_dlt_nor_dbt_nor_duckdb() -> None:
    code = "import sys, sluice.cli; print(sorted({'dlt', 'dbt', 'duckdb', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_crash_inside_a_library_says_where() -> None:
    code = "import ctypes, sluice.cli; sluice.cli.app = lambda: ctypes.string_at(0); sluice.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode < 0
    assert "Segmentation fault" in done.stderr
    assert "ctypes" in done.stderr


def test_no_secret_is_shown(project: Project) -> None:
    project.declare("pg", {"kind": "database", "connection": "pg"}, {"x": {}})
    secret = "canary-9f3a"
    done = project.sluice("load", CONNECTIONS__PG__URL=f"postgresql://u:{secret}@127.0.0.1:9/d")
    assert done.returncode == 4
    assert secret not in done.stdout + done.stderr
    assert secret.encode() not in project.settings.ledger.read_bytes()
    assert secret not in project.sluice("status").stderr
    leaked = [
        f for f in project.settings.home.rglob("*") if f.is_file() and secret.encode() in f.read_bytes()
    ]
    assert leaked == []


# -- a source of each kind, by one file ------------------------------------------------------------------


def one_file(project: Project, text: str, **connections: str) -> None:
    """Write the file, and load it in a process of its own."""
    (project.settings.sources / "added.yml").write_text(text)
    done = project.sluice("load", **connections)
    assert done.returncode == 0, done.stderr


def test_a_database_is_added_by_one_file(project: Project) -> None:
    with sqlite3.connect(project.root / "shop.db") as con:
        con.executescript(
            "create table orders (id integer primary key, at text); insert into orders values (1, 'x')"
        )
    one_file(
        project,
        """
version: 2
sources:
  - name: added
    database: raw
    config: {meta: {load: {kind: database, connection: added}}}
    tables:
      - name: orders
        config: {meta: {load: {primary_key: id, cursor: at}}}
""",
        CONNECTIONS__ADDED__URL="sqlite:///shop.db",
    )
    assert project.raw('select id, "at" from added.orders') == [(1, "x")]


def test_files_are_added_by_one_file(project: Project) -> None:
    (project.root / "in").mkdir()
    (project.root / "in" / "a.csv").write_text("id;v\n1;1,5\n")
    one_file(
        project,
        """
version: 2
sources:
  - name: added
    database: raw
    config: {meta: {load: {kind: files, url: in}}}
    tables:
      - name: items
        config: {meta: {load: {path: "*.csv", format: csv, delimiter: ";", decimal: ","}}}
        columns: [{name: v, data_type: double}]
""",
    )
    assert project.raw("select _file, _line, id, v from added.items") == [("a.csv", 2, "1", 1.5)]


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer token-1"
        body = json.dumps([{"id": 1, "tags": ["a"]}, {"id": 2, "tags": []}]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_api_is_added_by_one_file(project: Project, api: str) -> None:
    one_file(
        project,
        f"""
version: 2
sources:
  - name: added
    database: raw
    config:
      meta:
        load:
          kind: rest
          client: {{base_url: "{api}", auth: {{type: bearer, token: "${{added.token}}"}}, paginator: single_page}}
    tables:
      - name: items
        config: {{meta: {{load: {{primary_key: id, endpoint: {{path: items}}}}}}}}
""",
        CONNECTIONS__ADDED__TOKEN="token-1",
    )
    assert project.raw("select id, tags from added.items order by id") == [(1, '["a"]'), (2, "[]")]


def test_a_stream_is_added_by_one_file(project: Project, nats_url: str) -> None:
    import nats

    async def publish() -> None:
        client = await nats.connect(nats_url)
        stream = client.jetstream()
        await stream.add_stream(name="ADDED", subjects=["added.>"])
        for number in range(3):
            await stream.publish("added.views", json.dumps({"n": number}).encode())
        await client.close()

    asyncio.run(publish())
    one_file(
        project,
        """
version: 2
sources:
  - name: added
    database: raw
    config: {meta: {load: {kind: stream, connection: added, protocol: nats}}}
    tables:
      - name: views
        config: {meta: {load: {stream: ADDED, subject: added.views}}}
""",
        CONNECTIONS__ADDED__URL=nats_url,
    )
    assert project.raw("select n, _subject from added.views order by n") == [
        (n, "added.views") for n in range(3)
    ]


def test_a_python_resource_is_added_by_one_file(project: Project) -> None:
    (project.root / "own.py").write_text(
        "def numbers(upto):\n    yield from ({'n': n, 'label': str(n)} for n in range(upto))\n"
    )
    one_file(
        project,
        """
version: 2
sources:
  - name: added
    database: raw
    config: {meta: {load: {kind: python}}}
    tables:
      - name: numbers
        config: {meta: {load: {resource: own.numbers, arguments: {upto: 3}, primary_key: n}}}
""",
    )
    assert project.raw("select n, label from added.numbers order by n") == [(n, str(n)) for n in range(3)]
