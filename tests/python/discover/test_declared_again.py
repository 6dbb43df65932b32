"""Files, APIs and streams that are declared are looked at again: what is new, and nothing that a table reads already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from sluice.config.declaration import Source
from sluice.config.sources import load_sources
from sluice.discover.contract import Limits
from sluice.discover.live import live_differences
from sluice.discover.project_files import save_source
from sluice.discover.run import discover, find_target, scratch_database
from tests.python.discover.test_rest import shop as documented
from tests.python.discover.test_streams import publish, state_of
from tests.python.extract.rest.api import SECRET, Answer, Api, Request
from tests.python.project import Project


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.server.shutdown()
    server.server.server_close()


def again(project: Project, name: str, *tables: str) -> tuple[list[tuple[str, str]], str]:
    """What differs, and the patch of `sluice discover NAME`."""
    limits = Limits(tables=tables)
    with scratch_database() as con:
        found = discover(find_target(name, project.settings), project.settings, con, limits)
        written = save_source(project.settings, found, con, limits)
    return [(one.what, one.place) for one in written.differences], written.patch


def live(project: Project) -> list[tuple[str, str, bool]]:
    source: Source[Any, Any]
    (source,) = load_sources(project.settings.sources)
    with scratch_database() as con:
        return [(d.what, d.place, d.breaks) for d in live_differences(source, project.settings, con)]


def test_files(tmp_path: Path) -> None:
    project = Project(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    for day in (1, 2):
        (folder / f"sales_2026-01-0{day}.csv").write_text("id;on;price\n1;05.01.2026;1,5\n")
        (folder / f"sales_2026-01-0{day}_late.csv").write_text("id;on;price\n2;06.01.2026;2,5\n")
    load = {"path": "sales_*.csv", "format": "csv", "delimiter": ";", "decimal": ","}
    columns: dict[str, str | None] = {"id": "bigint", "on": "text", "price": "double"}
    project.declare("shop", {"kind": "files", "url": "in"}, {"every_sale": load}, {"every_sale": columns})
    assert again(project, "shop") == ([], "")  # two groups by their names, which one table reads
    assert live(project) == []

    (folder / "stock.csv").write_text("sku,pieces\na,1\n")
    (folder / "sales_2026-01-03.csv").write_text("id;on;price;note\n3;07.01.2026;3,5;x\n")
    differences, patch = again(project, "shop")
    assert differences == [("new column", "shop.every_sale.note"), ("new table", "shop.stock")]
    assert "note" not in patch  # the other files do not have it
    assert "path: stock.csv" in patch
    for file in folder.glob("sales*"):
        file.write_text("id;on;price;until;sent\n3;07.01.2026;3,5;31.01.2026;2026-01-08\n")
    differences, patch = again(project, "shop")
    assert [place for _, place in differences[:2]] == ["shop.every_sale.until", "shop.every_sale.sent"]
    assert "{name: sent, data_type: date" in patch
    assert "{name: until, data_type: text" in patch  # the table declares no form of a date
    assert [one[0] for one in live(project)] == ["new column", "new column", "new table"]

    (folder / "stock.csv").unlink()
    for file in folder.glob("sales*"):
        file.write_text("id;on;price\nA3;07.01.2026;3,5\n")
    differences, patch = again(project, "shop")
    assert differences == [("new type", "shop.every_sale.id")]
    assert live(project) == [("new type", "shop.every_sale.id", True)]


def test_new_members_of_an_archive(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "in").mkdir()

    def pack(**members: str) -> None:
        with ZipFile(tmp_path / "in" / "export_2026.zip", "w") as archive:
            for name, text in members.items():
                archive.writestr(f"{name}.csv", text)

    pack(one="k,v\n1,2\n", two="q,w,e\n1,2,3\n")
    limits = Limits()
    with scratch_database() as con:
        found = discover(find_target("in", project.settings, name="drop"), project.settings, con, limits)
        save_source(project.settings, found, con, limits)
    assert again(project, "drop") == ([], "")
    pack(one="k,v\n1,2\n", two="q,w,e\n1,2,3\n", three="z\n1\n")
    differences, patch = again(project, "drop")
    assert [what for what, _ in differences] == ["new table"]
    assert "members: three.csv" in patch


def logged_in(request: Request) -> Answer:
    """An API without a document, which answers nothing to strangers; users log in."""
    if request.path == "/api/login" and request.method == "POST":
        body = json.loads(request.body)
        good = body == {"email": "ann@mail.example", "password": SECRET}
        return Answer(
            {"data": {"access_token": "t0ken-of-ann", "refresh_token": "r" * 20}} if good else {},
            200 if good else 400,
        )
    is_user = request.headers.get("authorization") == "Bearer t0ken-of-ann"
    page = int(request.query.get("page", 1))
    orders: list[Any] = [
        {"id": n, "at": f"2026-01-{n:02}T00:00:00Z", "paid_on": "" if n > 2 else "2026-01-03"}
        for n in range(1, 26)
    ]
    records: dict[str, list[Any]] = {
        "/api/orders/records": orders,
        "/api/visits": [{"id": 1, "minutes": 3}],
    }
    listed = records.get(request.path)
    if listed is None:
        return Answer({}, 404)
    return Answer(
        {
            "items": listed[page * 10 - 10 : page * 10] if is_user else [],
            "total": len(listed) if is_user else 0,
        }
    )


def test_an_api_with_a_login_and_without_a_document(tmp_path: Path, api: Api) -> None:
    api.answer = logged_in
    project = Project(tmp_path)
    project.connect("crm", base_url=api.url, username="ann@mail.example", password=SECRET)
    differences, _ = again(project, "crm", "/api/orders/records")
    assert differences == []
    (source,) = load_sources(project.settings.sources)
    assert source.load.client == {
        "base_url": "${crm.base_url}",
        "auth": {
            "type": "login",
            "path": "api/login",
            "body": {"email": "${crm.username}", "password": "${crm.password}"},
            "token_path": "data.access_token",
        },
        "paginator": {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": None},
    }
    (orders,) = source.declared
    assert (orders.name, orders.load.primary_key) == ("orders", ["id"])
    assert orders.load.endpoint == {"path": "api/orders/records", "data_selector": "items"}
    assert orders.data_types == {"id": "bigint", "at": "timestamptz", "paid_on": "text"}  # which may be empty
    text = source.file.read_text()
    assert "# question: paid_on: has empty texts beside values of the type date" in text
    assert SECRET not in text
    assert project.load().rows == 25

    assert again(project, "crm") == ([], "")
    assert live(project) == []
    differences, patch = again(project, "crm", "api/visits")
    assert differences == [("new table", "crm.visits")]
    assert "path: api/visits" in patch
    assert "paginator" not in patch.replace("paginator: page", "")  # the source has it for all


def test_an_api_with_a_document(tmp_path: Path, api: Api) -> None:
    api.answer = documented
    project = Project(tmp_path)
    project.connect("desk", token=SECRET)
    client = {"base_url": f"{api.url}/v1/", "auth": {"type": "bearer", "token": "${desk.token}"}}
    orders = {
        "primary_key": "id",
        "endpoint": {
            "path": "/orders",
            "params": {"shop": "eu"},
            "data_selector": "data",
            "paginator": {"type": "page_number", "base_page": 1, "total_path": None},
        },
    }
    columns: dict[str, str | None] = {"id": "bigint", "customer": "json", "updated_at": "timestamptz"}
    project.declare("desk", {"kind": "rest", "client": client}, {"sold": orders}, {"sold": columns})
    differences, patch = again(project, "desk")
    assert differences == [("new column", "desk.sold.total"), ("new table", "desk.orders_lines")]
    assert "resource: sold" in patch  # the declared table is the parent of its lines
    assert live(project) == [("new column", "desk.sold.total", False)]
    assert SECRET not in patch


def test_a_wrong_password_is_said(tmp_path: Path, api: Api) -> None:
    api.answer = logged_in
    project = Project(tmp_path)
    project.connect("crm", base_url=api.url, username="ann@mail.example", password="wr0ng-one")
    with pytest.raises(Exception, match="api/login answered 400") as error:
        again(project, "crm", "/api/orders/records")
    assert "wr0ng-one" not in str(error.value)


def test_streams(tmp_path: Path, nats_url: str) -> None:
    project = Project(tmp_path)
    project.connect("plant", url=nats_url)
    messages = [(f"again.{m}.boiler", {"at": "2026-01-01T00:00:00Z", "celsius": 90.5}) for m in ("a", "b")]
    stream = StreamConfig(name="AGAIN", subjects=["again.>"])
    publish(nats_url, stream, [(subject, json.dumps(value).encode()) for subject, value in messages])
    others = StreamConfig(name="AGAIN_JOBS", subjects=["again_jobs"], retention=RetentionPolicy.WORK_QUEUE)
    publish(nats_url, others, [("again_jobs", b'{"id": 1}')])
    for name in ("HEAT", "Heat"):  # names as of a declared table
        publish(
            nats_url, StreamConfig(name=name, subjects=[f"again_{name}"]), [(f"again_{name}", b'{"id": 1}')]
        )
    load = {"stream": "AGAIN", "subject": "again.*.boiler", "consumer": "ours"}
    tables = {"heat": load, "jobs": {"stream": "AGAIN_JOBS"}, "lost": {"stream": "AGAIN_NOT"}}
    columns: dict[str, dict[str, str | None]] = {
        "heat": {"at": "timestamptz", "celsius": "double"},
        "jobs": {"id": "bigint"},
        "lost": {},
    }
    project.declare("plant", {"kind": "stream", "protocol": "nats", "connection": "plant"}, tables, columns)
    assert live(project)[0] == (
        "gone table",
        "plant.lost",
        True,
    )

    publish(nats_url, stream, [("again.a.boiler", b'{"at": "2026-01-02T00:00:00Z", "celsius": 91.5, "bar": 2}'),
                               ("again.a.door", b'{"opened": true}')])  # fmt: skip
    differences, patch = again(project, "plant")
    ours = [one for one in differences if one[1].startswith(("plant.heat.", "plant.jobs.", "plant.a_"))]
    assert ours == [("new column", "plant.heat.bar"), ("new table", "plant.a_door")]
    assert "{name: bar, data_type: bigint" in patch
    assert "subject: again.a.door" in patch
    assert {"plant.heat_2", "plant.heat_3"} <= {place for what, place in differences if what == "new table"}
    assert state_of(nats_url, "AGAIN") == (4, 0)  # as many as before, and no consumer
    assert state_of(nats_url, "AGAIN_JOBS") == (1, 0)


def test_topics(tmp_path: Path, kafka_bootstrap: str) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 1})
    for topic, record in (
        ("again.paid", {"id": 1, "by": "card"}),
        ("again.sent", {"id": 1}),
        ("paid", {"id": 2}),
    ):
        producer.list_topics(topic, timeout=10)
        producer.produce(topic, json.dumps(record).encode())
    assert producer.flush(10) == 0
    project = Project(tmp_path)
    project.connect("bus", bootstrap_servers=kafka_bootstrap)
    project.declare(
        "bus",
        {"kind": "stream", "protocol": "kafka", "connection": "bus"},
        {"paid": {"topic": "again.paid"}},
        {"paid": {"id": "bigint"}},
    )
    differences, _ = again(project, "bus")
    assert differences[0] == ("new column", "bus.paid.by")
    assert ("new table", "bus.again_sent") in differences
    assert ("new table", "bus.paid_2") in differences
    assert "bus.again_paid" not in {place for _, place in differences}
