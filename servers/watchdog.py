"""Stops servers when the process that started them has ended, however that ended; `servers.base` runs this file.

Reads one JSON list per line, [pid, time it was created, signal], until the starter's end of the pipe closes.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import psutil

STOPPING_SECONDS = 10.0


def main() -> None:
    """Wait for the end of the input, then stop what was named and still runs; what does not stop is killed."""
    stopping = []
    for pid, created, number in [json.loads(line) for line in sys.stdin]:
        with suppress(psutil.Error):  # it was stopped
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 1:  # systems reuse pids
                process.send_signal(number)
                stopping.append(process)
    _, left = psutil.wait_procs(stopping, STOPPING_SECONDS)
    for process in left:
        with suppress(psutil.Error):
            for one in [*process.children(recursive=True), process]:
                one.kill()


if __name__ == "__main__":
    main()
