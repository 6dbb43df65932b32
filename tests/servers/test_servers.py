"""Real servers: they work, listen on loopback only, keep their data, and end by their pid alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import duckdb_extensions
import nats
import paramiko
import psutil
import pytest
import s3fs
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from servers import (
    HOST,
    MariaDB,
    Nats,
    PocketBase,
    Postgres,
    SeaweedFS,
    Server,
    free_ports,
    start_all,
    stop_all,
)
from sluice.errors import SluiceError


def connect(*extensions: str) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for extension in extensions:
        duckdb_extensions.import_extension(extension, con=con)
    return con


def listening(pids: set[int]) -> list[str]:
    """Local addresses on which the processes take connections or datagrams."""
    connections = [c for pid in pids for c in psutil.Process(pid).net_connections("inet")]
    return [str(c.laddr.ip) for c in connections if not c.raddr]


def tree(pid: int) -> set[int]:
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def test_duckdb_reads_postgres_over_tcp_and_needs_the_password(postgres_server: Postgres) -> None:
    postgres_server.sql("create table servers_a as select 1.50::numeric(5,2) as price")
    con = connect("postgres_scanner")
    con.execute(f"attach '{postgres_server.loader_url}' as pg (type postgres, read_only)")
    assert str(con.sql("select price from pg.servers_a").fetchall()) == "[(Decimal('1.50'),)]"
    wrong = postgres_server.loader_url.replace(postgres_server.secrets["loader"], "wrong")
    with pytest.raises(duckdb.Error, match="password"):
        con.execute(f"attach '{wrong}' as other (type postgres)")


def test_the_loader_of_postgres_may_not_write(postgres_server: Postgres) -> None:
    postgres_server.sql("create table servers_b (a int)")
    con = connect("postgres_scanner")
    con.execute(f"attach '{postgres_server.loader_url}' as pg (type postgres)")
    with pytest.raises(duckdb.Error, match="permission denied"):
        con.execute("insert into pg.servers_b values (1)")


def test_mariadb_answers_duckdb(mariadb_url: str) -> None:
    con = connect("mysql_scanner")
    con.execute(f"attach '{mariadb_url}' as maria (type mysql)")
    con.execute("create table maria.servers_a as select 1 as a")
    assert con.sql("select a from maria.servers_a").fetchall() == [(1,)]


def filesystem(connection: dict[str, str]) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(
        key=connection["access_key_id"],
        secret=connection["secret_access_key"],
        endpoint_url=connection["endpoint_url"],
        client_kwargs={"region_name": connection["region"]},
        skip_instance_cache=True,
    )


def test_s3_rights_hold(seaweedfs_server: SeaweedFS) -> None:
    company, loader = filesystem(seaweedfs_server.s3), filesystem(seaweedfs_server.loader_s3)
    company.pipe_file("tests/servers/a.txt", b"hello")
    assert loader.cat_file("tests/servers/a.txt") == b"hello"
    with pytest.raises(PermissionError):
        loader.pipe_file("tests/servers/b.txt", b"no")
    with pytest.raises(PermissionError):
        filesystem(seaweedfs_server.s3 | {"secret_access_key": "wrong"}).ls("tests")


def test_sftp_takes_and_gives_a_file(sftp: dict[str, str | int]) -> None:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    login = {"username": str(sftp["username"]), "password": str(sftp["password"])}
    options = {"look_for_keys": False, "allow_agent": False}
    client.connect(str(sftp["host"]), int(sftp["port"]), **login, **options)
    with client, client.open_sftp() as session:
        with session.open("/servers.txt", "w") as file:
            file.write("hello")
        with session.open("/servers.txt") as file:
            assert file.read() == b"hello"


def test_mqtt_lands_in_jetstream(nats_url: str, mqtt: dict[str, str | int]) -> None:
    async def stream() -> int:
        client = await nats.connect(nats_url)
        await client.jetstream().add_stream(name="SERVERS", subjects=["servers.>"])
        device = Client(CallbackAPIVersion.VERSION2)
        device.username_pw_set(str(mqtt["username"]), str(mqtt["password"]))
        device.connect(str(mqtt["host"]), int(mqtt["port"]))
        device.loop_start()
        await asyncio.to_thread(device.publish("servers/one", b"{}", qos=1).wait_for_publish, 5)
        device.disconnect()
        device.loop_stop()
        messages = (await client.jetstream().stream_info("SERVERS")).state.messages
        await client.jetstream().delete_stream("SERVERS")
        await client.close()
        return messages

    assert asyncio.run(stream()) == 1


def test_kafka_serves_another_process(kafka_bootstrap: str) -> None:
    code = (
        "import sys; from confluent_kafka import Producer; p = Producer({'bootstrap.servers': sys.argv[1]});"
        "p.produce('servers', b'hello'); sys.exit(p.flush(10))"
    )
    assert subprocess.run([sys.executable, "-c", code, kafka_bootstrap], check=False).returncode == 0
    assert kafka_bootstrap.startswith(f"{HOST}:")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[list[Server]]:
    servers: list[Server] = [
        Postgres(tmp_path / "postgres"),
        SeaweedFS(tmp_path / "seaweedfs", buckets=("kept",), sftp=True),
        Nats(tmp_path / "nats"),
        PocketBase(tmp_path / "pocketbase"),
        *([MariaDB(tmp_path / "mariadb")] if MariaDB.is_installed() else []),
    ]
    yield servers
    stop_all(servers)


def test_servers_listen_on_loopback_only_and_end_without_a_trace_but_their_data(own: list[Server]) -> None:
    start_all(own)
    trees = {server.name: tree(server.pid or 0) for server in own}
    addresses = {name: listening(pids) for name, pids in trees.items()}
    assert all(addresses.values())
    assert {address for found in addresses.values() for address in found} == {HOST}

    store = own[1]
    assert isinstance(store, SeaweedFS)
    written = {f"kept/{number}.txt": b"%d" % number for number in range(50)}
    filesystem(store.s3).pipe(written)
    secrets, ports = store.secrets, store.ports
    stop_all(own)
    assert not any(psutil.pid_exists(pid) for pids in trees.values() for pid in pids)
    assert [server.pid for server in own] == [None] * len(own)
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{ports['filer_grpc']}.sock"))

    # It was killed, and others have taken its ports: it still has its keys and its files.
    record = json.loads((store.folder / "server.json").read_text())
    (store.folder / "server.json").write_text(json.dumps(record | {"ports": {}}))
    again = SeaweedFS(store.folder, buckets=store.buckets)
    again.start()
    assert again.secrets == secrets
    assert again.ports != ports
    files = filesystem(again.s3)
    assert files.cat("kept/*.txt") == written
    files.pipe_file("kept/new.txt", b"x" * 100_000)


def test_a_server_outlives_its_starter_and_is_stopped_by_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from servers import Nats; s = Nats(pathlib.Path(sys.argv[1]));"
        "s.start(outlive=True); print(s.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    server = Nats(tmp_path)
    assert server.pid == int(done.stdout)
    server.start()  # a no-op
    assert server.pid == int(done.stdout)
    server.stop()
    assert not _runs(int(done.stdout))


def test_another_process_stops_a_server_whose_starter_goes_on(tmp_path: Path) -> None:
    server = Nats(tmp_path)
    server.start()
    code = "import sys, pathlib; from servers import Nats; Nats(pathlib.Path(sys.argv[1])).stop(timeout=5)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert server.pid is None
    server.stop()


def test_servers_end_with_a_starter_that_is_killed(own: list[Server], tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from servers import *\n"
        "kinds = {kind.__name__: kind for kind in (Postgres, Nats, SeaweedFS, PocketBase, MariaDB)}\n"
        "servers = [kinds[kind](Path(folder)) for kind, folder in zip(sys.argv[1::2], sys.argv[2::2], strict=True)]\n"
        "start_all(servers); print(*(s.pid for s in servers), flush=True); time.sleep(600)"
    )
    named = [word for server in own for word in (type(server).__name__, str(server.folder))]
    with subprocess.Popen([sys.executable, "-c", code, *named], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = {int(pid) for pid in starter.stdout.readline().split()}
        assert len(pids) == len(own)
        watchdogs = {child.pid for child in psutil.Process(starter.pid).children()} - pids
        family = {p for pid in pids for p in tree(pid)} | watchdogs
        starter.kill()
    until = time.monotonic() + 20
    while (left := {pid for pid in family if _runs(pid)}) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def _runs(pid: int) -> bool:
    """Not a zombie either: nobody may wait for orphans in a container."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_stale_pid_is_not_killed(tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats")
    server.start()
    server.stop()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = json.loads((server.folder / "server.json").read_text())
        (server.folder / "server.json").write_text(json.dumps(record | {"pid": stranger.pid}))
        assert server.pid is None
        server.stop()
        assert stranger.poll() is None
        server.start()
        assert server.pid != stranger.pid
        assert stranger.poll() is None
    finally:
        server.stop()
        stranger.kill()
        stranger.wait()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = Nats(tmp_path)
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(
        SluiceError, match=r"nats ended while it started(.|\n)*server\.log(.|\n)*not a directory"
    ):
        server.start(timeout=5)
    assert server.pid is None


def test_a_taken_port_is_replaced() -> None:
    import socket

    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert taken not in free_ports([taken])


def test_secrets_are_private_and_not_shared(tmp_path: Path) -> None:
    servers = [Nats(tmp_path / "a"), Nats(tmp_path / "b")]
    start_all(servers)
    stop_all(servers)
    assert servers[0].secrets != servers[1].secrets
    for server in servers:
        for name in ("server.json", "nats.conf"):
            assert (server.folder / name).stat().st_mode & 0o777 == 0o600
