"""What every server shares: its folder, its record, its process, and how it is waited for and stopped."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import psutil

from sluice.errors import SluiceError
from sluice.system import write_private

HOST = "127.0.0.1"


class Server(ABC):
    """One server in one folder. Subclasses define how it is prepared and started, and when it is ready."""

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
        """The recorded process if it is still this program on this folder: systems reuse pids."""
        process = self._find_recorded()
        try:
            command = process.cmdline() if process else []
        except psutil.Error:
            return None
        if process is None or process.status() == psutil.STATUS_ZOMBIE or not command:
            return None
        is_ours = Path(command[0]).name == self.program().name and str(self.folder) in " ".join(command)
        return process if is_ours else None

    def _find_recorded(self) -> psutil.Process | None:
        pid = self._record["pid"]
        try:
            return psutil.Process(pid) if pid else None
        except psutil.Error:
            return None

    # --- start and stop -----------------------------------------------------------------------------------

    def start(self, timeout: float = 30.0, *, outlive: bool = False) -> None:
        """Start and wait until it is ready, `timeout` seconds at most; no-op when it runs already.

        It ends with this process, also when that is killed; `outlive` lets it run until somebody stops it.
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
            if not outlive:
                self.end_with_this_process()
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

    def end_with_this_process(self) -> None:
        """Stop the server, if it runs, as soon as this process has ended, also if it is killed."""
        process = self._find_recorded()
        if process:
            with suppress(psutil.NoSuchProcess):  # it has ended; whoever waits for it says so
                end_with_this_process(process, self.stop_signal)

    def prefix(self) -> list[str]:
        """What stands before the program, such as a change of user that ends in an exec."""
        return []

    def environment(self) -> dict[str, str]:
        """The server's whole environment; no variable of ours, so that no secret or proxy setting reaches it."""
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
            with suppress(psutil.NoSuchProcess):
                process.send_signal(self.stop_signal)
                if not _ends(process, timeout):
                    process.kill()
                    if not _ends(process, timeout):
                        raise SluiceError(f"{self.name}, process {process.pid}, does not end")
        if self._process is not None:
            self._process.wait(timeout)
            self._process = None
        if self.folder.exists():
            self.clean_up()
            self._write_record(pid=None)


def _ends(process: psutil.Process, timeout: float) -> bool:
    """Whether a process ends in time; one that its starter has not waited for yet has ended."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                with suppress(ChildProcessError):  # another process started it
                    os.waitpid(process.pid, 0)
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.03)
    return False


@cache
def _watchdog() -> subprocess.Popen[str]:
    """One for all servers of this process; its input ends with this process."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("watchdog.py"))],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


_naming = Lock()


def end_with_this_process(process: psutil.Process, stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Let a process be stopped as soon as this one has ended, also if it is killed."""
    line = json.dumps([process.pid, process.create_time(), stop_signal])
    with _naming:
        watchdog = _watchdog()
        assert watchdog.stdin is not None
        watchdog.stdin.write(line + "\n")
        watchdog.stdin.flush()


def start_all(servers: Iterable[Server], timeout: float = 30.0, *, outlive: bool = False) -> None:
    """Start in parallel, as `start` does; when one fails, stop those that this call started and raise its error."""
    wanted = [server for server in servers if server.pid is None]
    with ThreadPoolExecutor(max(len(wanted), 1)) as pool:
        starts = [pool.submit(server.start, timeout, outlive=outlive) for server in wanted]
    errors = [error for start in starts if (error := start.exception())]
    if errors:
        stop_all(wanted)
        raise errors[0]


def stop_all(servers: Iterable[Server]) -> None:
    """Stop in parallel."""
    servers = list(servers)
    with ThreadPoolExecutor(max(len(servers), 1)) as pool:
        list(pool.map(lambda server: server.stop(), servers))


def free_ports(wanted: Sequence[int]) -> list[int]:
    """One free loopback port per wanted one: the same if it is free, else any (0 means any)."""
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
    """Body of a URL's answer; empty when there is no answer or an error."""
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
