"""Sources of every kind that can be put into a first and a changed state, and what raw must hold for each.

A case makes any number of projects of the same source: `make(folder)`. Of streams each project has a stream of its
own, because what the server remembers of a consumer is part of what a kill may spoil.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import fsspec
import nats
from nats.js.api import RetentionPolicy, StreamConfig

from servers import MariaDB, Postgres
from tests.python.extract.database.test_database import maria
from tests.python.project import Project

Rows = list[tuple[Any, ...]]
TABLES: dict[str, dict[str, Any]] = {
    "merged": {"primary_key": "id", "cursor": "seq"},
    "replaced": {"shrink_limit": 0},
    "appended": {"cursor": "seq", "write_disposition": "append"},
    "compared": {"primary_key": "id", "cursor": "seq", "deletes": "compare_keys", "shrink_limit": 0},
}
"""One table for each disposition; all have the columns id, seq and v."""
ROWS = 40


def rows_of(table: str, changed: bool) -> Rows:
    """What the source holds: `changed` has new rows, updated ones, and in some tables fewer."""
    rows = {i: (i, i, f"{table} {i}") for i in range(1, ROWS + 1)}
    if changed:
        rows |= {i: (i, i, f"{table} {i}") for i in range(ROWS + 1, ROWS + 11)}
        if table != "appended":
            rows |= {i: (i, 100 + i, f"{table} {i} changed") for i in range(1, 6)}
        if table in ("replaced", "compared"):
            for i in range(10, 15):
                del rows[i]
    return sorted(rows.values())


class Case(ABC):
    """One source. `project` is where it is loaded to, `raw` what must be there."""

    name: str
    has_own_server_state = False
    """Whether each project needs to go through its first load itself."""

    @abstractmethod
    def make(self, folder: Path) -> Project:
        """A new project with the source in its first state."""

    @abstractmethod
    def change(self, project: Project) -> None:
        """Put the project's source into its changed state."""

    def unchange(self) -> None:
        """Put a source that projects share back into its first state."""

    @abstractmethod
    def expected(self, changed: bool) -> dict[str, Rows]:
        """Rows of each raw table, in the order of `select`."""

    def refreshed(self) -> dict[str, Rows]:
        """The same after a full refresh of the changed state."""
        return self.expected(True)

    def select(self, table: str) -> str:
        return f"select id, seq, v from {self.name}.{table}"

    def copy(self, of: Project, folder: Path) -> Project:
        """The same project again, with what it had loaded."""
        shutil.copytree(of.root, folder)
        project = Project.__new__(Project)
        project.__dict__.update(of.__dict__)
        project.root = folder
        project.settings = type(of.settings)(root=folder, home=folder / "warehouse")
        return project

    def wrong(self, project: Project, *states: dict[str, Rows]) -> str:
        """What raw holds that it should not, or lacks; empty when it is exactly one of the states."""
        wrong = [self.differs(project, state) for state in states]
        return "" if "" in wrong else " OR ".join(wrong)

    def differs(self, project: Project, state: dict[str, Rows]) -> str:
        found = []
        for table, expected in state.items():
            try:
                raw = Counter(project.raw(self.select(table)))
            except duckdb.Error as error:
                found.append(f"{table}: {error}")
                continue
            lost, extra = Counter(expected) - raw, raw - Counter(expected)
            if lost or extra:
                found.append(
                    f"{table}: lost {sum(lost.values())} {list(lost)[:3]}, too many {sum(extra.values())} {list(extra)[:3]}"
                )
        return "; ".join(found)


class Database(Case):
    """PostgreSQL or SQLite with a table of each disposition."""

    def expected(self, changed: bool) -> dict[str, Rows]:
        found = {table: rows_of(table, changed) for table in TABLES}
        present = [(*row, False) for row in found["compared"]]
        gone = set(rows_of("compared", False)) - set(found["compared"]) if changed else set()
        gone = {row for row in gone if row[0] not in {r[0] for r in found["compared"]}}
        return found | {"compared": sorted([*present, *((*row, True) for row in gone)])}

    def refreshed(self) -> dict[str, Rows]:
        return self.expected(True) | {"compared": [(*row, False) for row in rows_of("compared", True)]}

    def select(self, table: str) -> str:
        deleted = ", _deleted_at is not null" if table == "compared" else ""
        return f"select id, seq, v{deleted} from {self.name}.{table}"

    @staticmethod
    def statements(changed: bool, schema: str = "") -> str:
        made = []
        for table in TABLES:
            made.append(f"drop table if exists {schema}{table}")
            made.append(f"create table {schema}{table} (id integer, seq integer, v text)")
            values = ", ".join(f"({i}, {seq}, '{v}')" for i, seq, v in rows_of(table, changed))
            made.append(f"insert into {schema}{table} values {values}")
        return "; ".join(["begin", *made, "commit;"])


class Sqlite(Database):
    name = "sqlite"

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        self.fill(project, False)
        project.connect("file", url="sqlite:///source.db")
        project.declare(self.name, {"kind": "database", "connection": "file"}, TABLES)
        return project

    def fill(self, project: Project, changed: bool) -> None:
        con = sqlite3.connect(project.root / "source.db")
        con.executescript(self.statements(changed))
        con.close()

    def change(self, project: Project) -> None:
        self.fill(project, True)


class PostgresCase(Database):
    name = "postgres"

    def __init__(self, server: Postgres) -> None:
        self.server = server
        server.sql("create schema if not exists crash")

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        project.connect("server", url=self.server.url)
        tables = {name: {**keys, "table": f"crash.{name}"} for name, keys in TABLES.items()}
        project.declare(self.name, {"kind": "database", "connection": "server"}, tables)
        self.unchange()
        return project

    def change(self, project: Project) -> None:
        self.server.sql(self.statements(True, "crash."))

    def unchange(self) -> None:
        self.server.sql(self.statements(False, "crash."))


class MariadbCase(Database):
    name = "mariadb"

    def __init__(self, server: MariaDB) -> None:
        self.server = server

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        project.connect("server", url=self.server.url)
        tables = {name: {**keys, "table": f"crash_{name}"} for name, keys in TABLES.items()}
        project.declare(self.name, {"kind": "database", "connection": "server"}, tables)
        maria(self.server, self.statements(False, "crash_"))
        return project

    def change(self, project: Project) -> None:
        maria(self.server, self.statements(True, "crash_"))


class Files(Case):
    """CSV files, of which one grows, one changes, one becomes empty and one is new; JSON lines merged by key; bad rows."""

    name = "files"
    source: dict[str, Any] = {"kind": "files", "url": "in"}  # noqa: RUF012

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        project.declare(
            self.name,
            self.source,
            {
                "lines": {"path": "*.csv", "format": "csv"},
                "keyed": {"path": "*.jsonl", "format": "jsonl", "primary_key": "id"},
                "spoiled": {"path": "spoiled/*.csv", "format": "csv", "tolerance": 9},
                "whole": {"path": "*.json", "format": "json"},
            },
            columns={t: {"id": "bigint", "seq": "bigint", "v": "text"} for t in ("lines", "spoiled")},
        )
        self.write(project, False)
        return project

    def put(self, project: Project, name: str, text: str) -> None:
        file = project.root / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def files(self, changed: bool) -> dict[str, Rows]:
        made = {
            "a": [(1, 1, "a"), (2, 2, "b")],
            "b": [(3, 3, "c")],
            "c": [(i, i, "c") for i in range(10, 30)],
        }
        if changed:
            made["a"].append((5, 5, "appended"))
            made |= {"b": [], "c": [(i, i, "changed") for i in range(12, 32)], "d": [(4, 4, "new")]}
        return made

    def write(self, project: Project, changed: bool) -> None:
        for name, rows in self.files(changed).items():
            text = "id,seq,v\n" + "".join(f"{i},{s},{v}\n" for i, s, v in rows)
            self.put(project, f"{name}.csv", text)
        # read at once, as by a full refresh, the last name counts
        for name, rows in {"1": rows_of("keyed", False), "2": rows_of("keyed", True)}.items():
            if name == "1" or changed:
                fresh = [r for r in rows if name == "1" or r not in rows_of("keyed", False)]
                records = [json.dumps({"id": i, "seq": s, "v": v}) for i, s, v in fresh]
                self.put(project, f"{name}.jsonl", "\n".join(records))
        spoiled = [
            "id,seq,v",
            "1,1,a",
            "2",
            "3,3,c" if changed else "3,three,c",
            "x,4,d" if changed else "4,4,d",
        ]
        self.put(project, "spoiled/s.csv", "\n".join(spoiled))
        whole = [{"id": i, "seq": s, "v": v} for i, s, v in rows_of("whole", changed)]
        self.put(project, "whole.json", json.dumps(whole))

    def change(self, project: Project) -> None:
        self.write(project, True)

    def expected(self, changed: bool) -> dict[str, Rows]:
        return {
            "lines": [row for rows in self.files(changed).values() for row in rows],
            "keyed": rows_of("keyed", changed),
            "whole": rows_of("whole", changed),
            "spoiled": [(1, 1, "a"), (3, 3, "c")] if changed else [(1, 1, "a"), (4, 4, "d")],
            "spoiled__quarantine": [
                (3, "2 is malformed", "2"),
                *(
                    [(5, "", '{"id":"x","seq":"4","v":"d"}')]
                    if changed
                    else [(4, "", '{"id":"3","seq":"three","v":"c"}')]
                ),
            ],
        }

    def select(self, table: str) -> str:
        if table.endswith("__quarantine"):
            return f"select _line, if(_reason like '%fields%', '2 is malformed', ''), _record from {self.name}.{table}"
        return super().select(table)


class Bucket(Files):
    """The same files in a bucket."""

    name = "bucket"

    def __init__(self, s3: dict[str, str]) -> None:
        self.keys = {key: value for key, value in s3.items() if key != "bucket"}
        self.folder = f"{s3['bucket']}/crash_{time.monotonic_ns()}"
        self.source = {"kind": "files", "url": f"s3://{self.folder}", "connection": "bucket"}
        self.store = fsspec.filesystem(
            "s3", key=s3["access_key_id"], secret=s3["secret_access_key"],
            client_kwargs={"endpoint_url": s3["endpoint_url"]}, skip_instance_cache=True,
        )  # fmt: skip

    def make(self, folder: Path) -> Project:
        if self.store.exists(self.folder):
            self.store.rm(self.folder, recursive=True)
        project = super().make(folder)
        project.connect("bucket", **self.keys)
        return project

    def put(self, project: Project, name: str, text: str) -> None:
        self.store.pipe(f"{self.folder}/{name}", text.encode())


class Rest(Case):
    """An API of two endpoints: one read by a cursor, one read whole."""

    name = "rest"

    def __init__(self) -> None:
        self.changed = False
        case = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                rows = rows_of(parts.path.strip("/"), case.changed)
                rows = [r for r in rows if r[1] >= int(query.get("since", ["0"])[0])]
                page = int(query.get("page", ["1"])[0])
                shown = rows[(page - 1) * 15 : page * 15]
                body = json.dumps([{"id": i, "seq": s, "v": v} for i, s, v in shown]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def make(self, folder: Path) -> Project:
        self.unchange()
        project = Project(folder)
        paged = {"type": "page_number", "base_page": 1, "total_path": None}
        since = {"cursor_path": "seq", "initial_value": 0, "start_param": "since"}
        project.declare(
            self.name,
            {
                "kind": "rest",
                "client": {"base_url": f"http://127.0.0.1:{self.server.server_port}", "paginator": paged},
            },
            {
                "merged": {"primary_key": "id", "endpoint": {"path": "merged", "incremental": since}},
                "replaced": {"endpoint": {"path": "replaced"}, "shrink_limit": 0},
            },
        )
        return project

    def change(self, project: Project) -> None:
        self.changed = True

    def unchange(self) -> None:
        self.changed = False

    def expected(self, changed: bool) -> dict[str, Rows]:
        return {table: rows_of(table, changed) for table in ("merged", "replaced")}


class Stream(Case):
    """Messages that carry the rows; the changed state has ten more and one that is a copy."""

    has_own_server_state = True
    numbers = count()

    def messages(self, changed: bool) -> list[bytes]:
        rows = rows_of("appended", changed)
        rows = rows[ROWS:] if changed else rows
        bodies = [json.dumps({"id": i, "seq": s, "v": v}).encode() for i, s, v in rows]
        return [*bodies, bodies[-1]]

    def expected(self, changed: bool) -> dict[str, Rows]:
        bodies = self.messages(False) + (self.messages(True) if changed else [])
        rows = [tuple(json.loads(body).values()) for body in bodies]
        return dict.fromkeys(self.tables, rows)

    tables: tuple[str, ...] = ("messages",)


class Nats(Stream):
    """A stream that keeps messages, and a work queue that drops what is acknowledged."""

    name = "nats"
    tables: tuple[str, ...] = ("kept", "queued")

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        mark = f"crash_{next(self.numbers)}_{time.monotonic_ns()}"
        (folder / "mark").write_text(mark)
        project.connect("server", url=self.url)
        tables = {t: {"stream": f"{mark}_{t}", "consumer": f"{mark}_{t}"} for t in self.tables}
        project.declare(self.name, {"kind": "stream", "connection": "server", "protocol": "nats"}, tables)
        asyncio.run(self.publish(mark, False))
        return project

    def change(self, project: Project) -> None:
        asyncio.run(self.publish((project.root / "mark").read_text(), True))

    async def publish(self, mark: str, changed: bool) -> None:
        client = await nats.connect(self.url)
        js = client.jetstream()
        for table, retention in {
            "kept": RetentionPolicy.LIMITS,
            "queued": RetentionPolicy.WORK_QUEUE,
        }.items():
            subject = f"{mark}.{table}"
            if not changed:
                await js.add_stream(
                    StreamConfig(name=f"{mark}_{table}", subjects=[subject], retention=retention)
                )
            for body in self.messages(changed):
                await js.publish(subject, body)
        await client.close()


class Kafka(Stream):
    """A topic of the mock cluster, of four partitions as it makes them."""

    name = "kafka"

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        mark = f"crash_{next(self.numbers)}"
        (folder / "mark").write_text(mark)
        project.connect("brokers", bootstrap_servers=self.bootstrap)
        load = {"kind": "stream", "connection": "brokers", "protocol": "kafka"}
        project.declare(self.name, load, {"messages": {"topic": mark}})
        self.publish(mark, False)
        return project

    def change(self, project: Project) -> None:
        self.publish((project.root / "mark").read_text(), True)

    def publish(self, mark: str, changed: bool) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number, body in enumerate(self.messages(changed)):
            producer.produce(mark, body, key=str(number % 7))
        assert producer.flush(20) == 0


RESOURCES = '''
import json
from pathlib import Path

import dlt

HERE = Path(__file__).parent


def rows(table):
    return json.loads((HERE / "rows.json").read_text())[table]


def merged(seq=dlt.sources.incremental("seq", initial_value=0)):
    yield from rows("merged")


def replaced():
    yield rows("replaced")


def counted():
    """Only what is new by its own state: a row that is skipped once is lost."""
    state = dlt.current.resource_state()
    for row in rows("appended"):
        if row["id"] > state.get("seen", 0):
            state["seen"] = row["id"]
            yield row
'''


class Python(Case):
    """Resources with dlt's cursor, without any, and with a state of their own."""

    name = "python"

    def make(self, folder: Path) -> Project:
        project = Project(folder)
        (folder / "crash_rows.py").write_text(RESOURCES)
        self.write(project, False)
        project.declare(
            self.name,
            {"kind": "python"},
            {
                "merged": {"resource": "crash_rows.merged", "primary_key": "id"},
                "replaced": {"resource": "crash_rows.replaced", "shrink_limit": 0},
                "appended": {"resource": "crash_rows.counted", "write_disposition": "append"},
            },
        )
        return project

    def write(self, project: Project, changed: bool) -> None:
        names = ("id", "seq", "v")
        tables = ("merged", "replaced", "appended")
        rows = {t: [dict(zip(names, r, strict=True)) for r in rows_of(t, changed)] for t in tables}
        (project.root / "rows.json").write_text(json.dumps(rows))

    def change(self, project: Project) -> None:
        self.write(project, True)

    def expected(self, changed: bool) -> dict[str, Rows]:
        return {table: rows_of(table, changed) for table in ("merged", "replaced", "appended")}
