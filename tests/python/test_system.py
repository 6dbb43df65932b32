"""Calls to the operating system, and what is done where it does not have them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import duckdb
import psutil
import pytest

from sluice import system
from sluice.system import NICENESS
from tests.python.small_project import SmallProject

SHOWN = """
import os, threading
from pathlib import Path
from sluice.system import lower_priority

ready, end = threading.Event(), threading.Event()
threading.Thread(target=lambda: (ready.set(), end.wait())).start()
ready.wait()
lower_priority()
os.system("nice")
print(*(os.getpriority(os.PRIO_PROCESS, int(t.name)) for t in Path("/proc/self/task").iterdir()), flush=True)
end.set()
"""


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority per thread")


def nicenesses(before: int) -> list[int]:
    """Of a program that a process starts after it lowered its priority, and of its threads; it began with `before`."""
    done = subprocess.run(
        ["nice", "-n", str(before), sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True
    )
    return [int(number) for number in done.stdout.split()]


@linux
def test_all_threads_and_programs_have_a_lower_priority() -> None:
    assert nicenesses(0) == [NICENESS] * 3


@linux
def test_a_priority_that_is_lower_already_is_kept() -> None:
    assert nicenesses(NICENESS + 5) == [NICENESS + 5] * 3


@pytest.mark.full
def test_commands_that_write_have_a_lower_priority(tmp_path: Path) -> None:
    """And dbt, when it is called by itself."""
    project = SmallProject(tmp_path)
    for command in (["sluice", "load"], ["dbt", "build"], ["sluice", "publish"]):
        seen = set()
        with project.running(*command) as process:
            while process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    seen.add(psutil.Process(process.pid).nice())
                time.sleep(0.02)
        assert process.returncode == 0, command
        assert NICENESS in seen, command


def test_without_the_calls_of_linux_nothing_is_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No priority per thread, no list of sockets, no time of the last data: other systems do without."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert {s.getpeername() for s in system.sockets() if s.fileno() >= 0 and _connected(s)} >= {
            client.getpeername()
        }
        monkeypatch.setattr(sys, "platform", "darwin")
        assert system.seconds_since_received(client) is None
        monkeypatch.setattr(system, "OPEN_FILES", tmp_path / "none")
        assert list(system.sockets()) == []


@pytest.mark.parametrize("program", ["limit_memory(0)", "lower_priority()"])
def test_without_proc_the_process_is_limited_as_a_whole(program: str) -> None:
    """Where /proc is missing, addresses are not limited, and the process as a whole gets a lower priority."""
    code = (
        "import os; from pathlib import Path; from sluice import system;"
        "system.Path = lambda *parts: Path('/nowhere', *(p.lstrip('/') for p in parts));"
        f"system.{program}; block = bytearray(1_000_000_000); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == (NICENESS if "priority" in program else 0)


def test_without_proc_duckdb_limits_the_memory_of_a_query(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "published.duckdb")).close()
    code = (
        "from pathlib import Path; from sluice import system; from sluice.serve import worker;"
        "system.Path = lambda *parts: Path('/nowhere', *(p.lstrip('/') for p in parts)); worker.main()"
    )
    requests: list[dict[str, object]] = [
        {"file": str(tmp_path / "published.duckdb"), "key": None, "memory_mb": 64, "tables": []},
        {"sql": "select sum(range) from range(1000)", "rows": True},
        {
            "sql": "select count(*) from (select range, hash(range) from range(50_000_000) order by 2)",
            "rows": True,
        },
    ]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("".join(json.dumps(request) + "\n" for request in requests).encode())
        process.stdin.flush()
        answers = b""
        while b"out of memory" not in answers and (more := os.read(process.stdout.fileno(), 65536)):
            answers += more
        process.kill()
    assert b"out of memory" in answers


def _connected(opened: socket.socket) -> bool:
    try:
        opened.getpeername()
    except OSError:
        return False
    return True


@pytest.mark.skipif(os.name == "nt", reason="no limits of Unix")
def test_a_file_that_does_not_fit_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "tokens.json"
    system.write_private(file, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match=r"tokens\.json"):
            system.write_private(file, "new" * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("tokens.json", "old")]
