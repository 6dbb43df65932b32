"""What writes lets readers go first."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

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
    """Of a program that a process starts after it stepped aside, and of its threads; it began with `before`."""
    done = subprocess.run(
        ["nice", "-n", str(before), sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True
    )
    return [int(number) for number in done.stdout.split()]


@linux
def test_all_threads_and_programs_step_aside() -> None:
    assert nicenesses(0) == [NICENESS] * 3


@linux
def test_nobody_comes_forward() -> None:
    assert nicenesses(NICENESS + 5) == [NICENESS + 5] * 3


def test_commands_that_write_step_aside(tmp_path: Path) -> None:
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
