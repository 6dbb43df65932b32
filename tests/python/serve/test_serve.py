"""What a remote reader gets: answers, limits, new versions, TLS, and a way out for those who leave."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import adbc_driver_manager
import duckdb
import psutil
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql import DatabaseOptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sluice.errors import PublishError, SluiceError
from sluice.publish import rotate_key
from sluice.serve import flight_sql
from sluice.serve.audit import Audit
from sluice.serve.query_process import Limits
from sluice.serve.server import Server
from sluice.serve.statement_check import ALSO, NOT_FOR_READERS, Refused, StatementCheck
from sluice.serve.statement_shape import StatementShape
from sluice.serve.tokens import Tokens
from sluice.sql import quoted

from ..publish.conftest import AUDIENCES, Company
from .conftest import Served

ALLOWED = [
    "select 1",
    "from dim_products limit 3",
    "table dim_products",
    "select region, count(*), sum(amount) from fct_orders group by all order by all",
    "select c.region, sum(o.amount) from dim_customers c join fct_orders o using (customer_key) group by 1 having sum(o.amount) > 0",
    "with recursive r(i) as (select 1 union all select i + 1 from r where i < 5) select * from r",
    "select *, row_number() over (partition by region order by order_id) from fct_orders qualify row_number() over () < 3",
    "select list_transform([1, 2], lambda x: x + 1), {'a': 1}.a, map {'k': 2}['k'], [i for i in [1, 2] if i > 1]",
    "select cast('2026-01-01' as date) + interval 1 day, date_trunc('month', current_date), now() is not null",
    "select title like 'T%', regexp_matches(title, 'T'), upper(title), title || 'x', coalesce(null, 1) from published.main.dim_products",
    "select count(distinct region), median(amount), quantile_cont(amount, 0.9), arg_max(region, amount) from fct_orders",
    "select * exclude (email), columns('born.*') from dim_customers where region in ('DACH') and born_on between '1970-01-01' and '1971-01-01'",
    "from (values (1, 'a'), (2, 'b')) v(n, t) union all by name select 3 as n",
    "select unnest([1, 2]), * from range(3)",
    "unpivot (select 1 as a, 2 as b) on a, b into name n value v",
    "describe dim_products",
    "summarize dim_products",
    "show tables",
    "select table_name from information_schema.tables",
    "with columns as (select 1 as a) from columns",
    "select * from dim_products where exists (select 1 from fct_orders where amount > 1) -- a comment",
    "select /* one */ 1; -- ; and nothing more",
    "select '{\"a\": [1]}'::json -> 'a' ->> 0, json_extract('{\"a\": 1}', '$.a');",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_readers_may_ask(sql: str, served: Served) -> None:
    with duckdb.connect() as con:
        con.execute(f"attach '{served.company.path('analysts')}' as published (read_only)")
        con.execute("use published")
        expected = con.execute(sql).fetchall()
    got = served.ask(sql)
    assert len(got) == len(expected)
    if "order by all" in sql or len(expected) == 1:
        assert [tuple(map(str, row)) for row in got] == [tuple(map(str, row)) for row in expected]


def test_functions_were_looked_at_by_a_person() -> None:
    """A new engine brings new functions: see that none tells of the server or reads, then write the new number."""
    assert duckdb.__version__ == "1.5.5"
    assert len(StatementCheck().functions) == 694
    known = {r[0] for r in duckdb.sql("select distinct function_name from duckdb_functions()").fetchall()}
    assert ALSO - known == {"unnest"} - known
    assert not NOT_FOR_READERS - known


def test_deep_and_long_statements_are_refused() -> None:
    guard = StatementCheck()
    for sql in ("select " + "abs(" * 5000 + "1" + ")" * 5000, "select 1 --" + "x" * 200_000, "select 1\0"):
        with pytest.raises(Refused):
            guard.check(sql, ["t"])


def test_tools_find_the_tables(served: Served) -> None:
    with served.client() as cursor:
        con = cursor.connection
        objects = con.adbc_get_objects(depth="tables").read_all().to_pylist()
        tables = objects[0]["catalog_db_schemas"][0]["db_schema_tables"]
        assert [t["table_name"] for t in tables] == ["dim_customers", "dim_products", "fct_orders"]
        assert con.adbc_get_table_schema("dim_products").names == ["sku", "title"]
        assert con.adbc_get_info()["vendor_name"] == "Sluice"
        assert con.adbc_get_table_types() == ["BASE TABLE"]


def test_a_query_has_its_time(served: Served) -> None:
    started = time.monotonic()
    with pytest.raises(adbc_driver_manager.Error, match="took longer than 6 s"):
        served.ask("select sum(a.range * b.range) from range(10000000) a, range(1000) b")
    assert time.monotonic() - started < 10
    assert served.ledger[-1] == ("failed", "anna", "the query took longer than 6 s")
    assert served.ask("select 1", token=served.other) == [(1,)], "the server goes on"


def test_memory_is_bounded(served: Served) -> None:
    with pytest.raises(adbc_driver_manager.Error, match=r"(?i)out of memory|took longer"):
        served.ask(
            "select count(distinct x) from (select hash(a.range, b.range) x from range(100000) a, range(10000) b)"
        )
    assert served.ask("select 1", token=served.other) == [(1,)]


BOMBS = {
    # DuckDB works these out while it plans, and neither interrupts nor counts what they take
    "a text": "select length(repeat('a', 1000000000))",
    "a padded text": "select lpad('a', 2000000000, 'b')",
    "a list": "select list_sum(range(1000000000))",
    "doubling": "with a as (select repeat('a', 1000) x), b as (select x||x||x||x||x||x||x||x x from a), "
    + ", ".join(
        f"{n} as (select x||x||x||x||x||x||x||x x from {p})" for p, n in zip("bcdef", "cdefg", strict=True)
    )
    + " select length(x) from g",
    "rows of texts": "select max(repeat('a', 100000000 + range::int)) from range(100)",
    "endless recursion": "with recursive r as (select 1 i union all select i + 1 from r) select max(i) from r",
    "endless rows": "with recursive r as (select 1 i union all select i + 1 from r) from r",
    "aggregated texts": "select string_agg(repeat('x', 1000), ',') from range(10000000)",
}
LIKE_ANOTHER = {"a padded text", "endless rows", "aggregated texts"}


@pytest.mark.parametrize(
    "bomb", [pytest.param(b, marks=[pytest.mark.full] * (b in LIKE_ANOTHER)) for b in BOMBS]
)
@pytest.mark.sample(2)
def test_bombs_end_and_the_server_goes_on(bomb: str, served: Served) -> None:
    server = psutil.Process()
    before = server.memory_info().rss
    started = time.monotonic()
    with pytest.raises(
        adbc_driver_manager.Error, match=r"(?i)out of memory|took longer|ended early|bad alloc"
    ):
        served.ask(BOMBS[bomb])
    assert time.monotonic() - started < 60, "it may take 6 s"
    assert server.memory_info().rss - before < 200_000_000, "memory of the query is not the server's"
    assert served.ledger[-1][0] == "failed"
    assert served.ask("select 1", token=served.other) == [(1,)], "the server goes on"


def test_a_process_that_ran_out_of_memory_is_not_used_again(served: Served) -> None:
    for _ in range(3):
        with pytest.raises(adbc_driver_manager.Error):
            served.ask(BOMBS["a list"])
        counted = served.ask(
            "select count(*) from (select distinct range from range(100000))", token=served.other
        )
        assert counted == [(100_000,)]


def test_a_query_runs_where_there_is_no_environment(served: Served) -> None:
    served.ask("select 1")
    workers = [p for p in psutil.Process().children() if "sluice.serve.worker" in p.cmdline()]
    assert workers
    for worker in workers:
        assert worker.environ().keys() <= {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LC_CTYPE"}


def test_queries_end_with_the_server(fresh: Callable[..., Served]) -> None:
    served = fresh(limits=Limits(seconds=600))

    def ask() -> None:
        client = fl.connect(f"grpc://127.0.0.1:{served.server.port}")
        options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {served.token}".encode())])
        ticket = flight_sql.pack("TicketStatementQuery", statement_handle=BOMBS["endless recursion"].encode())
        with pytest.raises(fl.FlightServerError, match="the server is ending"):
            client.do_get(fl.Ticket(ticket), options).read_all()

    reader = threading.Thread(target=ask)
    reader.start()
    deadline = time.monotonic() + 60
    while "query" not in {event for event, _, _ in served.ledger} and time.monotonic() < deadline:
        time.sleep(0.05)
    home = str(served.company.settings.home)
    workers = [p for p in psutil.Process().children() if p.cwd().startswith(home)]
    assert workers
    served.close()
    reader.join(60)
    assert not reader.is_alive()
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_queries_end_when_the_server_is_killed(company: Company) -> None:
    program = (
        "import sys; from pathlib import Path; from sluice.serve.query_process import Limits, QueryProcess;"
        "worker = QueryProcess(Path(sys.argv[1]), None, Limits()); print(worker.pid, flush=True); worker.check(sys.argv[2]); worker.answer()"
    )
    arguments = [str(company.path("analysts")), BOMBS["endless recursion"]]
    server = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout
        worker = psutil.Process(int(server.stdout.readline()))
        started = worker.cpu_times().user
        while worker.cpu_times().user < started + 0.2:
            time.sleep(0.05)  # it works on the query by then
        server.kill()
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def test_queries_at_the_same_time_are_bounded(fresh: Callable[..., Served]) -> None:
    """None of them ends by itself: one ends because there are too many, the two others with the server."""
    served = fresh(limits=Limits(seconds=600, queries=2))
    outcomes: list[str] = []

    def ask() -> None:
        try:
            served.stream(BOMBS["endless recursion"]).read_all()
        except fl.FlightError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while not outcomes and time.monotonic() < deadline:
        time.sleep(0.05)
    served.close()
    for thread in threads:
        thread.join()
    assert "2 long queries are running already" in outcomes[0]
    assert ["the server is ending" in outcome for outcome in outcomes] == [False, True, True], outcomes


def test_a_client_that_is_gone_before_its_answer_leaves_its_place(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asked for ends well, and nobody takes the answer: more often than queries may run at once."""
    asked = served.server._query

    def answered_late(context: Any, *arguments: Any, **options: Any) -> Any:
        answer = asked(context, *arguments, **options)
        deadline = time.monotonic() + 10
        while not context.is_cancelled() and time.monotonic() < deadline:
            time.sleep(0.01)
        return answer

    client = fl.connect(f"grpc://127.0.0.1:{served.server.port}")
    header = [(b"authorization", f"Bearer {served.token}".encode())]
    ticket = fl.Ticket(flight_sql.pack("TicketStatementQuery", statement_handle=b"from range(100000)"))
    with monkeypatch.context() as patch:
        patch.setattr(served.server, "_query", answered_late)
        for _ in range(served.server.limits.queries):
            with pytest.raises(fl.FlightTimedOutError):
                client.do_get(ticket, fl.FlightCallOptions(timeout=0.1, headers=header)).read_all()
    deadline = time.monotonic() + 30
    while served.server._pool.lanes.places and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not served.server._pool.lanes.places
    while time.monotonic() < deadline:
        with contextlib.suppress(
            adbc_driver_manager.OperationalError
        ):  # a new worker may start more slowly than a query may take
            assert served.ask("select 1") == [(1,)]
            return
    pytest.fail("nobody is answered any more")


def test_a_client_stays_while_versions_go_by(fresh: Callable[..., Served]) -> None:
    served = fresh()
    with served.client() as cursor:
        for step in range(3):
            served.company.sql(f"update marts.dim_products set title = 'step {step}'")
            served.company.publish()
            cursor.execute("select distinct title from dim_products")
            assert cursor.fetchall() == [(f"step {step}",)]


def test_a_query_ends_on_the_version_it_began_with(fresh: Callable[..., Served]) -> None:
    served = fresh()
    with served.client() as cursor:
        cursor.execute("select c.customer_key, o.order_id from dim_customers c, fct_orders o limit 500000")
        reader = cursor.fetch_record_batch()
        rows = len(reader.read_next_batch())
        for step in range(4):  # more versions than are kept
            served.company.sql(f"update marts.dim_products set title = 'step {step}'")
            served.company.publish()
        rows += sum(len(batch) for batch in reader)
    assert rows == 500_000


def test_revoked_tokens_end_at_once(fresh: Callable[..., Served]) -> None:
    served = fresh()
    with served.client() as cursor:
        cursor.execute("select 1")
        cursor.fetchall()
        cursor.close()  # while the server still listens: closing tells it to forget the statement
        served.tokens.revoke("analysts", "anna")
        with (
            pytest.raises(adbc_driver_manager.Error, match="UNAUTHENTICATED"),
            cursor.connection.cursor() as late,
        ):
            late.execute("select 1")
    with pytest.raises(SluiceError, match="no token 'anna'"):
        served.tokens.revoke("analysts", "anna")


def test_a_revoked_token_does_not_come_back_with_one_that_is_issued_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, other = (Tokens(tmp_path / "tokens.json") for _ in range(2))
    tokens.issue("analysts", "anna")
    revoking = threading.Thread(target=other.revoke, args=("analysts", "anna"))
    read = tokens._read

    def read_slowly() -> Any:
        known = read()
        revoking.start()
        revoking.join(0.2)  # waits for the lock, or has done its work by now
        return known

    monkeypatch.setattr(tokens, "_read", read_slowly)
    tokens.issue("analysts", "otto")
    revoking.join()
    assert other.names("analysts") == ["otto"]


def test_tokens_are_kept_as_hashes(served: Served) -> None:
    file = served.company.settings.home / "keys" / "tokens.json"
    assert served.token not in file.read_text()
    assert file.stat().st_mode & 0o77 == 0


def test_who_only_looks_is_in_the_ledger_too(served: Served) -> None:
    """A session that asks for the catalogue, or for the columns of a query, and for no rows."""
    who = served.tokens.issue("analysts", "otto")
    before = len(served.ledger)
    with served.client(token=who) as cursor:
        tables = cursor.connection.adbc_get_objects(depth="tables").read_all()
    assert tables.num_rows
    assert ("connect", "otto", "") in served.ledger[before:]


def test_sessions_are_in_the_ledger(fresh: Callable[..., Served]) -> None:
    served = fresh()
    served.ask("select 42")
    assert [row[:2] for row in served.ledger] == [("start", "server"), ("connect", "anna"), ("query", "anna")]
    assert served.ledger[-1][2] == "select ?"


SHAPES = {
    "select sku, title from dim_products where title = 'Anna'": "select sku, title from dim_products where title = ?",
    "from dim_customers where EMAIL in ('a@x', $$b@x$$, e'c\\'@x') -- d@x": "from dim_customers where EMAIL in (?, ?, ?)",
    "select count(*) as anna /* Anna's */ from fct_orders where amount>12.5e3": "select count(*) as _ from fct_orders where amount>?",
    'from dim_customers where name = "Anna"': "from dim_customers where name = _",
    "copy dim_products to '/srv/anna/x.csv'": "copy dim_products to ?",
    "select anna(1), read_text('X')": "select _(?), read_text(?)",
    "select 1\0 'anna'": "select ?",
    "/* nested /* */ drop table anna": "",
    "select 'anna": "select",
    'select "anna': "select",
    "select \u00e4nna, 'b', anna": "select _, ?, _",
    "attach 'postgres://anna@x' as anna; select 1": "attach ? as _; select ?",
    "anna@example.com +49 30 1234": "_@_._ +? ? ?",
}


@pytest.mark.parametrize("sql", SHAPES)
def test_the_ledger_keeps_statements_without_values(sql: str) -> None:
    found = StatementShape().of(
        sql, {"dim_products", "dim_customers", "fct_orders", "sku", "title", "email", "name", "amount"}
    )
    assert found == SHAPES[sql]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from dim_customers where email = 'CANARY-7@example.com'",
        'select * from dim_customers where email = "CANARY-7@example.com"',
        "select cast('CANARY-7@example.com' as int)",
        "from canary_7",
        "select canary_7('CANARY-7')",
        "select 'CANARY-7",
        "attach 'CANARY-7' as canary_7",
        'with "CANARY-7" as (select 1) select 1',
    ],
)
def test_no_value_of_a_statement_reaches_the_ledger(sql: str, served: Served) -> None:
    """Neither when it is run, nor when it is refused, nor when it fails."""
    before = len(served.ledger)
    with contextlib.suppress(adbc_driver_manager.Error):
        served.ask(sql)
    added = served.ledger[before:]
    assert added
    assert "canary" not in str(added).lower()


def test_encrypted_files_are_served(fresh: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTIONS__PUBLISH_SUPPORT__KEY", "it's a key")
    company = fresh().company
    company.publish()
    server = Server(company.settings, "support")
    server.shutdown()


def test_a_rotated_key_does_not_end_a_server(fresh: Callable[..., Served]) -> None:
    """It has the key it began with, and finds the one that is kept on this machine now."""
    served = fresh()
    served.company.policy(AUDIENCES.replace("key: ${publish_support.key}", ""))
    rotate_key(served.company.settings, "analysts")
    assert served.ask("select count(*) from dim_products") == [(40,)]
    served.company.sql("update marts.dim_products set title = 'new'")
    served.company.publish()
    assert served.ask("select distinct title from dim_products") == [("new",)]


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return files


def test_tls(fresh: Callable[..., Served], tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    served = fresh(certificate=certificate, private_key=key)
    uri = f"grpc+tls://localhost:{served.server.port}"
    trusted = {DatabaseOptions.TLS_ROOT_CERTS.value: certificate.read_text()}
    assert served.ask("select 1", uri=uri, **trusted) == [(1,)]
    with pytest.raises(adbc_driver_manager.Error):
        served.ask("select 1", uri=uri)
    with pytest.raises(adbc_driver_manager.Error):
        served.ask("select 1")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com"])
def test_other_machines_need_tls(host: str, company: Company) -> None:
    with pytest.raises(SluiceError, match="tokens unencrypted"):
        Server(company.settings, "analysts", host=host)


def test_where_nothing_can_listen_is_said(copied: Callable[[Path], Company], tmp_path: Path) -> None:
    company = copied(tmp_path / "project")
    pem = tmp_path / "no.pem"
    pem.write_text("nothing")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            SluiceError, match=f"cannot listen on 127.0.0.1:{port}: another process has the port"
        ):
            Server(company.settings, "analysts", port=port)
    with pytest.raises(
        SluiceError, match=r"or .*no\.pem and .*no\.pem are not a certificate and its key in PEM"
    ):
        Server(company.settings, "analysts", certificate=pem, private_key=pem)
    assert "start" not in [row["event"] for row in Audit(company.settings.serve_audit).rows("analysts")]


def test_what_is_not_published_is_not_served(tmp_path: Path) -> None:
    empty = Company(tmp_path / "project")
    with pytest.raises(PublishError, match="nothing is published yet"):
        Server(empty.settings, "analysts")
    with pytest.raises(SluiceError, match="there is no audience 'nobody'"):
        Server(empty.settings, "nobody")


def test_every_type_arrives(fresh: Callable[..., Served]) -> None:
    """As DuckDB itself has them, also those that Flight or Arrow would pass on otherwise, or not at all."""
    values = {
        "enum('a', 'b')": ("'b'", "b"),
        "struct(one enum('a', 'b'), more enum('a', 'b')[])": (
            "{'one': 'a', 'more': ['b']}",
            {"one": "a", "more": ["b"]},
        ),
        "map(enum('a', 'b'), enum('a', 'b'))": ("map {'a': 'b'}", [("a", "b")]),
        "enum('a', 'b')[2]": ("['b', null]", ["b", None]),
        "hugeint": ("170141183460469231731687303715884105727", Decimal(2**127 - 1)),
        "decimal(38, 10)": ("1.0000000001", Decimal("1.0000000001")),
        "uuid": ("'5b7e1b1c-0000-4000-8000-00000000abcd'", "5b7e1b1c-0000-4000-8000-00000000abcd"),
        "blob": ("'\\xAA'", b"\xaa"),
        "timestamptz": ("'2026-01-01 00:00:00+01'", dt.datetime(2025, 12, 31, 23, tzinfo=dt.UTC)),
        "json": ("'{}'", "{}"),
        "integer": ("null", None),
    }
    served = fresh()
    columns = {f'c "{number}"': kind for number, kind in enumerate(values)}
    served.company.model("dim_odd", {name: (kind, None) for name, kind in columns.items()}, ["analysts"])
    cells = ", ".join(
        f"cast({values[kind][0]} as {kind}) as {quoted(name)}" for name, kind in columns.items()
    )
    served.company.sql(f"create table marts.dim_odd as select {cells}")
    served.company.publish()
    assert list(served.ask("from dim_odd")[0]) == [value for _, value in values.values()]
    assert served.ask('select "c ""5""" from dim_odd') == [(Decimal("1.0000000001"),)]
