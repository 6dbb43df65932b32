"""What dlt runs in: its logger, and settings of the project and the environment; no plugins, no statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from dlt.common import logger
from dlt.common.configuration.container import Container
from dlt.common.configuration.resolve import resolve_configuration
from dlt.common.configuration.specs import RuntimeConfiguration
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.exec_info import dlt_version_info
from dlt.common.runtime.run_context import RunContext
from dlt.common.storages import create_load_id
from dlt.extract import storage

_called: ContextVar[str | None] = ContextVar("_called", default=None)


class _Context(RunContext):
    """dlt's own context also searches for plugins, starts its statistics and sets up its HTTP client.

    None of them is used here, and together they take as long as a small load.
    """

    def initialize_runtime(self, runtime_config: RuntimeConfiguration | None = None) -> None:
        self._runtime_config = runtime_config or resolve_configuration(RuntimeConfiguration())
        logger.LOGGER = logger._create_logger(
            self.name,
            self._runtime_config.log_level,
            self._runtime_config.log_format,
            "",
            dlt_version_info(""),
        )


def enter_dlt() -> None:
    """Let dlt run in this context; for the whole process, as dlt has one."""
    vars(storage)["create_load_id"] = _load_id  # imported there, so mypy lets nobody set it
    container = Container()
    if PluggableRunContext not in container or not isinstance(
        container[PluggableRunContext].context, _Context
    ):
        container[PluggableRunContext] = PluggableRunContext(_Context(None))


@contextmanager
def package_called(load_id: str) -> Iterator[None]:
    """Let the package that dlt makes be called so: its rows are stamped with that before dlt is there."""
    token = _called.set(load_id)
    try:
        yield
    finally:
        _called.reset(token)


def _load_id() -> str:
    return _called.get() or create_load_id()
