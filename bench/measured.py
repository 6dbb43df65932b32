"""Runs a command and writes what it took, as JSON: `python -S measured.py RESULT SECONDS COMMAND…`.

A process of its own, of few megabytes: a child's peak memory counts from the fork, so a large parent would show
as the child's.
"""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Exit code: the command's; 124 when it took longer than SECONDS."""
    result, seconds, *command = sys.argv[1:]
    begun = time.perf_counter()
    with subprocess.Popen(command, start_new_session=True) as process:
        # the bench itself may be stopped: the command must not go on alone
        signal.signal(signal.SIGTERM, lambda *_: process.kill())
        try:
            code = process.wait(float(seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = 124
    wall = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}
    Path(result).write_text(json.dumps(taken), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
