"""Real servers as pytest fixtures: each is started when the first test asks for it, and stopped with the session.

postgres_url      str, the owner's URL of an empty database
mariadb_url       str, URL of an empty MariaDB database (skips where MariaDB is not installed)
s3                dict: endpoint_url, access_key_id, secret_access_key, region, bucket (empty at first)
sftp              dict: host, port, username, password (a root folder of its own, empty at first)
nats_url          str, a NATS server with JetStream and without a stream
mqtt              dict: host, port, username, password (the same server)
pocketbase        servers.PocketBase: base_url, admin and loader logins
kafka_bootstrap   str, librdkafka's mock cluster of one broker

The servers are shared by all tests of a session: name what you make after your test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from servers import MariaDB, Nats, PocketBase, Postgres, SeaweedFS, Server

AnyServer = TypeVar("AnyServer", bound=Server)


def _running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    yield from _running(Postgres(tmp_path_factory.mktemp("postgres")))


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Postgres) -> str:
    return postgres_server.url


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    if not MariaDB.is_installed():
        pytest.skip("needs MariaDB: no mariadbd on this machine; install Debian's `mariadb-server`")
    yield from _running(MariaDB(tmp_path_factory.mktemp("mariadb")))


@pytest.fixture(scope="session")
def mariadb_url(mariadb_server: MariaDB) -> str:
    return mariadb_server.url


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    yield from _running(SeaweedFS(tmp_path_factory.mktemp("seaweedfs"), buckets=("tests",), sftp=True))


@pytest.fixture(scope="session")
def s3(seaweedfs_server: SeaweedFS) -> dict[str, str]:
    return seaweedfs_server.s3 | {"bucket": "tests"}


@pytest.fixture(scope="session")
def sftp(seaweedfs_server: SeaweedFS) -> dict[str, str | int]:
    return seaweedfs_server.sftp


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    yield from _running(Nats(tmp_path_factory.mktemp("nats")))


@pytest.fixture(scope="session")
def nats_url(nats_server: Nats) -> str:
    return nats_server.url


@pytest.fixture(scope="session")
def mqtt(nats_server: Nats) -> dict[str, str | int]:
    return nats_server.mqtt


@pytest.fixture(scope="session")
def pocketbase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketBase]:
    yield from _running(PocketBase(tmp_path_factory.mktemp("pocketbase")))


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The cluster lives as long as the client that made it."""
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    broker = next(iter(client.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    del client
