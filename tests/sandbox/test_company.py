"""The company as a whole: made once, stopped and started again, moved forward, whatever crashes in between."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import duckdb_extensions
import psutil
import pytest
from typer.testing import CliRunner

from sandbox import company, web, world
from sandbox.commands import app
from servers import Postgres
from sluice.errors import LockedError, SluiceError

DATE = dt.date(2025, 3, 31)
SYSTEMS = {"shop", "stores", "marketplace", "wholesale", "web", "truth"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running company that the tests of this module move forward one after the other."""
    home = tmp_path_factory.mktemp("company")
    try:
        company.up(home, scale=0.01, date=DATE)
        yield home
    finally:
        company.down(home)


def test_up_makes_every_system_of_the_date(home: Path) -> None:
    status = company.status(home)
    assert status.running
    assert status.date == DATE
    assert status.systems == dict.fromkeys(SYSTEMS, DATE)


def test_connections_are_private_and_complete(home: Path) -> None:
    path = home / "connections.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    connections = tomllib.loads(path.read_text())["connections"]
    assert set(connections) == {"shop", "stores", "marketplace", "wholesale", "web", "reference"}
    assert connections["shop"]["url"].startswith("postgresql://loader:")
    assert connections["stores"]["url"] == f"sqlite:///{home.resolve()}/sandbox/stores.sqlite"
    assert set(connections["marketplace"]) == {"endpoint_url", "access_key_id", "secret_access_key", "region"}
    assert set(connections["wholesale"]) == {"base_url", "username", "password"}
    assert connections["web"]["url"].startswith("nats://")
    assert connections["reference"] == {"until": "2025-03-31"}


def test_the_loader_reads_the_shop_and_writes_nothing(home: Path) -> None:
    con = duckdb.connect()
    duckdb_extensions.import_extension("postgres_scanner", con=con)
    url = Postgres(home / "sandbox" / "postgres").loader_url
    con.execute(f"attach '{url}' as shop (type postgres)")
    orders = con.execute("select count(*) from shop.orders").fetchone()
    assert orders is not None
    assert orders[0] > 0
    with pytest.raises(duckdb.Error, match="permission denied"):
        con.execute("delete from shop.orders")


def test_a_crash_after_a_system_was_written_and_before_it_was_noted(home: Path) -> None:
    """What was begun and not seen to end is written anew, and ends equal."""
    url, state_file = Postgres(home / "sandbox" / "postgres").loader_url, home / "sandbox" / "state.json"
    con = duckdb.connect()
    duckdb_extensions.import_extension("postgres_scanner", con=con)
    con.execute(f"attach '{url}' as shop (type postgres)")
    before = company.status(home).date
    assert before is not None
    after = company.advance(home, 2)
    orders = con.execute("from shop.orders order by all").fetchall()
    state = json.loads(state_file.read_text())
    state |= {"date": before.isoformat(), "unsure": ["shop", "stores"]}
    state["systems"] |= {"shop": before.isoformat(), "stores": before.isoformat()}
    state_file.write_text(json.dumps(state))
    assert company.advance(home, 2) == after
    assert con.execute("from shop.orders order by all").fetchall() == orders


def test_up_on_a_running_company_changes_nothing(home: Path) -> None:
    before, told = company.status(home), list[str]()
    assert company.up(home, progress=told.append) == before
    assert len(told) == 1


def test_everything_listens_on_loopback_only(home: Path) -> None:
    pids = [psutil.Process(pid) for pid in company.status(home).servers.values() if pid]
    tree = [child for process in pids for child in [process, *process.children(recursive=True)]]
    addresses = {c.laddr for process in tree for c in process.net_connections("inet") if not c.raddr}
    assert len(addresses) > 4
    assert {address.ip for address in addresses} == {"127.0.0.1"}


def test_advance_after_a_crash_writes_only_what_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> dict[str, int]:
        raise OSError("the stream is gone")

    start = company.status(home).date
    assert start is not None
    target = start + dt.timedelta(7)
    with monkeypatch.context() as patch:
        patch.setattr(web, "write", crash)
        with pytest.raises(OSError, match="the stream is gone"):
            company.advance(home, 7)
    assert company.status(home).date == start
    assert company.status(home).systems == dict.fromkeys(SYSTEMS, target) | {"web": start}
    told: list[str] = []
    assert company.advance(home, 7, progress=told.append).systems == dict.fromkeys(SYSTEMS, target)
    assert [line.split(":")[0] for line in told] == ["web", f"AnyCompany's date is {target}"]
    assert tomllib.loads((home / "connections.toml").read_text())["connections"]["reference"] == {
        "until": target.isoformat()
    }


def test_down_leaves_no_process_and_up_goes_on_with_the_kept_data(home: Path) -> None:
    before = company.status(home)
    world = (home / "sandbox" / "world.duckdb").stat()
    down = company.down(home)
    assert not down.running
    assert not any(psutil.pid_exists(pid) for pid in before.servers.values() if pid)
    assert not (home / "connections.toml").exists()
    assert down.systems == before.systems
    with pytest.raises(SluiceError, match="sandbox up"):
        company.advance(home, 1)
    told: list[str] = []
    again = company.up(home, progress=told.append)
    assert again.running
    assert again.systems == before.systems
    assert (home / "sandbox" / "world.duckdb").stat().st_ino == world.st_ino
    assert not any(line.startswith(("web", "shop", "generating")) for line in told)
    assert company.advance(home, 1).date == (before.date or DATE) + dt.timedelta(1)


def test_mistakes_are_told(home: Path) -> None:
    for other in ({"seed": 7}, {"scale": 0.02}, {"date": dt.date(2026, 10, 30)}):
        with pytest.raises(SluiceError, match=r"seed 42, scale 0\.01 and date"):
            company.up(home, **other)
    for scale in ("0", "-1", "nan"):
        assert CliRunner().invoke(app, ["up", "--scale", scale]).exit_code == 2
    with pytest.raises(SluiceError, match="last day with known exchange rates"):
        company.advance(home, 5000)
    with pytest.raises(SluiceError, match="one day or more"):
        company.advance(home, 0)


def test_a_second_process_is_told_to_wait(home: Path) -> None:
    code = (
        "import fcntl, sys; lock = open(sys.argv[1]); fcntl.flock(lock, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(home / "sandbox" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(LockedError, match=r"the sandbox .* is in use"):
            company.advance(home, 1)
        holder.communicate()


def test_down_without_a_company_is_fine(tmp_path: Path) -> None:
    assert not company.down(tmp_path).running
    assert list(tmp_path.iterdir()) == []


def test_connections_of_others_are_not_overwritten(home: Path) -> None:
    path = home / "connections.toml"
    ours = path.read_text()
    path.write_text("[connections.mine]\n")
    try:
        with pytest.raises(SluiceError, match="not written by the sandbox"):
            company.advance(home, 1)
        assert path.read_text() == "[connections.mine]\n"
    finally:
        path.write_text(ours)


@pytest.mark.full
def test_a_first_start_that_fails_stops_its_servers_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(world, "generate", crash)
        with pytest.raises(OSError, match="the disk is full"):
            company.up(tmp_path, scale=0.01, date=DATE)
    assert not any(company.status(tmp_path).servers.values())
    try:
        assert company.up(tmp_path).date == DATE
    finally:
        company.down(tmp_path)
