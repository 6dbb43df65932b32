"""AnyCompany as a whole: its servers and its world, started, stopped and moved forward in time.

Everything is below <home>/sandbox: one folder per server, `stores.sqlite`, `world.duckdb` (what really happened; only
tests read it) and `state.json`: seed, scale, date, and the date each system has been written to. While the company
runs, <home>/connections.toml (mode 0600) tells the pipelines where its systems are.

A crash leaves every system at a date of its own; the next `up` or `advance` brings them together again.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from sandbox import marketplace, shop, stores, web, wholesale, world
from servers import Nats, PocketBase, Postgres, SeaweedFS, Server, start_all, stop_all
from sluice.engine.locks import locked
from sluice.errors import SluiceError
from sluice.system import write_private

SEED, SCALE, DATE = 42, 1.0, dt.date(2026, 9, 30)
FIRST_DATE = dt.date(2024, 10, 1)
LAST_DATE = dt.date(2026, 10, 30)  # the package with the ECB's rates ends there
BUCKET = "marketplace"
CONNECTIONS_HEADER = "# Written by `sluice sandbox up`, removed by `sluice sandbox down`.\n"

Progress = Callable[[str], None]
Writer = Callable[[duckdb.DuckDBPyConnection, dt.date, dt.date | None], dict[str, int] | None]


@dataclass(frozen=True)
class Status:
    """State of the company; before the first `up`, `date` is None and `systems` (date by name) is empty."""

    running: bool
    seed: int | None
    scale: float | None
    date: dt.date | None
    systems: dict[str, dt.date]
    servers: dict[str, int | None]  # pid by name
    ports: dict[str, dict[str, int]]


class _Company:
    """The company of one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.folder = self.home / "sandbox"
        self.connections = self.home / "connections.toml"
        self.postgres = Postgres(self.folder / "postgres", database="shop")
        self.seaweedfs = SeaweedFS(self.folder / "seaweedfs", buckets=(BUCKET,))
        self.pocketbase = PocketBase(self.folder / "pocketbase")
        self.nats = Nats(self.folder / "nats")
        self.servers: list[Server] = [self.postgres, self.seaweedfs, self.pocketbase, self.nats]
        self.tills = self.folder / "stores.sqlite"
        self.world = self.folder / "world.duckdb"

    # --- state --------------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        write_private(self.folder / "state.json", json.dumps(state, indent=1))

    def status(self) -> Status:
        state = self.state or {"seed": None, "scale": None, "date": None, "systems": {}}
        return Status(
            running=all(server.pid for server in self.servers),
            seed=state["seed"],
            scale=state["scale"],
            date=dt.date.fromisoformat(state["date"]) if state["date"] else None,
            systems={name: dt.date.fromisoformat(date) for name, date in state["systems"].items()},
            servers={server.name: server.pid for server in self.servers},
            ports={server.name: server.ports for server in self.servers},
        )

    def locked(self) -> AbstractContextManager[None]:
        """One process at a time changes a sandbox; others are refused at once."""
        return locked(self.folder, "sluice sandbox", 0, "the sandbox")

    # --- the systems --------------------------------------------------------------------------------------

    def writers(self) -> dict[str, Writer]:
        """How each system, and the truth, is brought from one date to another."""

        def to(write: Callable[..., dict[str, int]], target: Callable[[], Any]) -> Writer:
            return lambda con, date, previous: write(con, target(), date=date, previous=previous)

        return {
            "shop": to(shop.write, lambda: self.postgres.url),
            "wholesale": to(wholesale.write, lambda: self.pocketbase.admin),
            "web": to(web.write, lambda: self.nats.url),
            "stores": to(stores.write, lambda: self.tills),
            "marketplace": to(marketplace.write, lambda: self.seaweedfs.s3 | {"bucket": BUCKET}),
            "truth": lambda con, date, previous: world.truth(con, date=date),
        }

    def generate(self, state: dict[str, Any]) -> None:
        """The world until the last possible day; systems are given only what is known at their date."""
        if self.world.exists():
            return
        beside = self.world.with_suffix(".next")
        beside.unlink(missing_ok=True)
        with duckdb.connect(str(beside)) as con:
            world.generate(con, seed=state["seed"], scale=state["scale"], until=LAST_DATE)
        beside.replace(self.world)

    def write_systems(self, date: dt.date, progress: Progress) -> None:
        """Bring every system that is not at `date` yet to it, in parallel; then raise the first error.

        A system whose writing was begun and not seen to end may be at either date: it is written anew.
        """
        state = self.state
        assert state is not None
        saving = Lock()
        done = {name: dt.date.fromisoformat(at) for name, at in state["systems"].items()}
        unsure = set(state["unsure"])
        due = {
            name: write for name, write in self.writers().items() if done.get(name) != date or name in unsure
        }
        state["unsure"] = sorted(due)
        self.save(state)

        def bring(name: str, con: duckdb.DuckDBPyConnection) -> dict[str, int]:
            counts = due[name](con, date, None if name in unsure else done.get(name))
            with saving:  # in this thread: an interrupt ends the waiting, not the writing
                state["systems"][name] = date.isoformat()
                state["unsure"].remove(name)
                self.save(state)
            return counts or {}

        errors: list[BaseException] = []
        if due:
            with duckdb.connect(str(self.world)) as con, ThreadPoolExecutor(len(due)) as pool:
                writes = {pool.submit(bring, name, con.cursor()): name for name in due}
                for write in as_completed(writes):
                    if error := write.exception():
                        error.add_note(f"while writing the sandbox's {writes[write]} as of {date}")
                        errors.append(error)
                    else:
                        written = ", ".join(f"{count:,} {what}" for what, count in write.result().items())
                        progress(f"{writes[write]}: {written or 'ready'}")
        if errors:
            raise errors[0]
        state["date"] = date.isoformat()
        self.save(state)

    def write_connections(self) -> None:
        """Write the connections for the loader; the logins may only read, where the system has such logins."""
        if self.connections.exists() and not self.connections.read_text().startswith(CONNECTIONS_HEADER):
            raise SluiceError(
                f"{self.connections} was not written by the sandbox and would be lost. Move its connections to"
                " .dlt/secrets.toml or the environment and remove it."
            )
        date = (self.state or {})["date"]
        tables: dict[str, dict[str, str]] = {
            "shop": {"url": self.postgres.loader_url},
            "stores": {"url": f"sqlite:///{self.tills}"},
            "marketplace": self.seaweedfs.loader_s3,
            "wholesale": self.pocketbase.loader,
            "web": {"url": self.nats.url},
            "reference": {"until": date},
        }
        lines = [CONNECTIONS_HEADER]
        for name, keys in tables.items():
            lines += [f"[connections.{name}]", *(f"{key} = {json.dumps(keys[key])}" for key in keys), ""]
        write_private(self.connections, "\n".join(lines))


def up(
    home: Path,
    *,
    seed: int | None = None,
    scale: float | None = None,
    date: dt.date | None = None,
    outlive: bool = False,
    progress: Progress = lambda _: None,
) -> Status:
    """Start the company in `home`, created first if there is none; no-op if it runs.

    Its servers end with this process, also when that is killed; `outlive` lets them run until `down`.

    `seed`, `scale` (1.0: about 100,000 orders) and `date` (the company's today) default to 42, 1.0 and 2026-09-30 for
    a new company. Another one than its own is an error for a company that exists.
    """
    company = _Company(home)
    with company.locked():
        state = company.state
        if state is None:
            date = date or DATE
            _check_date(date)
            state = {"seed": SEED if seed is None else seed, "scale": SCALE if scale is None else scale}
            state |= {"date": None, "target": date.isoformat(), "systems": {}, "unsure": []}
            company.save(state)
        elif any(
            given not in (None, there)
            for given, there in (
                (seed, state["seed"]),
                (scale, state["scale"]),
                (date, dt.date.fromisoformat(state["target"])),
            )
        ):
            raise SluiceError(
                f"There is a sandbox with seed {state['seed']}, scale {state['scale']} and date {state['target']} in "
                f"{company.folder}. `sluice sandbox advance` moves it forward. To make another one, run "
                "`sluice sandbox down` and remove that folder."
            )
        try:
            if not company.status().running:
                progress("starting servers")
            with ThreadPoolExecutor(1) as pool:
                starting = pool.submit(start_all, company.servers, outlive=outlive)
                if not company.world.exists():
                    progress("generating the world")
                company.generate(state)
                starting.result()
            company.write_systems(_furthest(state), progress)
            company.write_connections()
        except BaseException:
            _stop(company)
            raise
        progress(f"AnyCompany is up, its date is {(company.state or {})['date']}")
        return company.status()


def down(home: Path, *, progress: Progress = lambda _: None) -> Status:
    """Stop the company's servers and forget their connections; its data stays for the next `up`."""
    company = _Company(home)
    if company.folder.exists():
        with company.locked():
            _stop(company)
    progress("AnyCompany is down")
    return company.status()


def advance(home: Path, days: int, *, progress: Progress = lambda _: None) -> Status:
    """Move a running company `days` forward: every system then holds what a new one of that date would hold."""
    company = _Company(home)
    if not company.status().running or company.state is None:
        raise SluiceError("The sandbox does not run. Start it with `sluice sandbox up`.")
    if days < 1:
        raise SluiceError(f"A company moves forward by one day or more, not by {days}.")
    with company.locked():
        state = company.state
        date = max(
            dt.date.fromisoformat(state["date"] or state["target"]) + dt.timedelta(days), _furthest(state)
        )
        _check_date(date)
        company.save(
            state | {"target": date.isoformat()}
        )  # after a crash the same call ends at the same date
        company.write_systems(date, progress)
        company.write_connections()
    progress(f"AnyCompany's date is {date}")
    return company.status()


def status(home: Path) -> Status:
    """State of the company and of its servers."""
    return _Company(home).status()


def _stop(company: _Company) -> None:
    stop_all(company.servers)
    if company.connections.exists() and company.connections.read_text().startswith(CONNECTIONS_HEADER):
        company.connections.unlink()


def _furthest(state: dict[str, Any]) -> dt.date:
    """The date all systems can be brought to: the latest that any of them has reached."""
    return max(dt.date.fromisoformat(date) for date in [state["target"], *state["systems"].values()])


def _check_date(date: dt.date) -> None:
    if not FIRST_DATE <= date <= LAST_DATE:
        raise SluiceError(
            f"The company lives from {FIRST_DATE} to {LAST_DATE}, the last day with known exchange rates; not {date}."
        )
