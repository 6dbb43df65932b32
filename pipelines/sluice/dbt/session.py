"""A process in which dbt parses ahead and then runs one command after the other: `python -m sluice.dbt.session FD`.

Reads commands, one JSON list of dbt arguments per line, and answers each on the file descriptor with dbt's exit code
(0 fine, 1 nodes failed, 2 cannot run). Starting dbt and parsing again for each would take seconds.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.factory import cleanup_connections
from dbt.cli.main import dbtRunner, dbtRunnerResult

from sluice.config.settings import load_settings
from sluice.dbt.kept_schemas import KEPT, kept_schemas

Around = Callable[[list[str]], AbstractContextManager[list[str]]]


def _code(result: dbtRunnerResult) -> int:
    if result.success:
        return 0
    return 2 if result.exception else 1


def _release() -> None:
    """Close the databases: dbt keeps them open, and other processes out, until its process ends."""
    cleanup_connections()
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
        DuckDBConnectionManager.close_all_connections()
    gc.collect()


def serve(answer: int, around: Around = nullcontext) -> NoReturn:
    """Parse, then run commands and answer on the file descriptor until the input ends; then the process ends.

    around: a context around each command, from before dbt opens a database until it has closed all; it gets the
    arguments and gives those for dbt.
    """
    with kept_schemas(load_settings().home / KEPT):
        _serve(answer, around)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # to take down all of dbt's objects one by one takes a second


def _serve(answer: int, around: Around) -> None:
    # without JSON: another command may be reading what its own dbt wrote;
    # a mistake in the project is not reported here: the first command finds it again and reports it
    parsed = dbtRunner().invoke(["--quiet", "--log-level", "none", "--no-write-json", "parse"])
    with os.fdopen(answer, "w") as answers:
        for line in sys.stdin:
            runner = dbtRunner(manifest=parsed.result) if parsed.success else dbtRunner()  # type: ignore[arg-type]
            with around(json.loads(line)) as arguments:
                code = _code(runner.invoke(arguments))
                _release()
            print(code, file=answers, flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
