"""MariaDB, from the system's packages."""

import os
import shutil
from pathlib import Path

from servers.base import HOST, Server, _system_path, accepts, run
from sluice.errors import SluiceError
from sluice.system import write_private


class MariaDB(Server):
    """MariaDB from the system's package (no wheel has it); for tests. The folder's path must have no blank."""

    name = "mariadb"
    port_names = ("sql",)
    secret_names = ("loader",)

    def __init__(self, folder: Path, database: str = "shop") -> None:
        super().__init__(folder)
        self.database = database

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("mariadbd", path=_system_path()) is not None

    @property
    def url(self) -> str:
        """URL of a user who may do everything in the database."""
        return f"mysql://loader:{self.secrets['loader']}@{HOST}:{self.ports['sql']}/{self.database}"

    def program(self) -> Path:
        return self._binary("mariadbd")

    def _binary(self, name: str) -> Path:
        path = shutil.which(name, path=_system_path())
        if path is None:
            raise SluiceError(
                f"MariaDB is missing: no {name} on this machine. Install Debian's `mariadb-server`."
            )
        return Path(path)

    def prepare(self) -> None:
        if not (self.folder / "data" / "mysql").exists():
            quick = ["--skip-test-db", "--auth-root-authentication-method=normal", *self._user()]
            command = [str(self._binary("mariadb-install-db")), "--no-defaults", *quick]
            # a starting server removes the temporary tables it finds, also those of another one
            alone = {**os.environ, "TMPDIR": str(self.folder)}
            run([*command, f"--datadir={self.folder / 'data'}"], "mariadb-install-db", env=alone)
        statements = (
            f"create database if not exists {self.database} character set utf8mb4;",
            f"create user if not exists loader@'{HOST}' identified by '{self.secrets['loader']}';",
            f"grant all on {self.database}.* to loader@'{HOST}';",
            "alter user root@localhost account lock;",
        )
        write_private(self.folder / "init.sql", "\n".join(statements))

    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def arguments(self) -> list[str]:
        return [
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            f"--init-file={self.folder / 'init.sql'}",
            f"--bind-address={HOST}",
            f"--port={self.ports['sql']}",
            "--socket=mariadb.sock",  # relative to the data: a unix socket's path ends at 107 characters
            "--pid-file=mariadb.pid",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            *self._user(),
        ]

    def is_ready(self) -> bool:
        return accepts(self.ports["sql"])
