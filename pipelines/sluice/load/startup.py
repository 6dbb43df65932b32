"""What makes a load begin sooner, beside reading ahead; without it all would work the same, only later.

dlt is imported in functions only: sources are read meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

from sluice.system import without_collector

if TYPE_CHECKING:
    from dlt.common.configuration.specs import RuntimeConfiguration
    from dlt.common.runtime.run_context import RunContext

_load_id: ContextVar[str | None] = ContextVar("_load_id", default=None)


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Import the module, where it is not yet imported, without looking for garbage among what stays to the end.

    Doing so, now and at the end, takes a fifth of a small load's CPU.
    """
    if module in sys.modules:
        yield
        return
    try:
        with without_collector():
            yield
    except RuntimeError as error:
        if isinstance(
            error.__cause__, KeyboardInterrupt
        ):  # Python 3.11 wraps one that falls into making a class
            raise KeyboardInterrupt from error
        raise


def prepare_dlt() -> None:
    """Let dlt run without what Sluice does not use, and take load ids from `package_id`; for the whole process."""
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
    from dlt.common.storages import create_load_id
    from dlt.extract import storage

    # imported there, so mypy lets nobody set it
    vars(storage)["create_load_id"] = lambda: _load_id.get() or create_load_id()
    container = Container()
    if PluggableRunContext not in container or not isinstance(
        container[PluggableRunContext].context, _run_context()
    ):
        container[PluggableRunContext] = PluggableRunContext(_run_context()(None))


@cache
def _run_context() -> type[RunContext]:
    from dlt.common import logger
    from dlt.common.configuration.resolve import resolve_configuration
    from dlt.common.configuration.specs import RuntimeConfiguration
    from dlt.common.runtime.exec_info import dlt_version_info
    from dlt.common.runtime.run_context import RunContext

    class SmallContext(RunContext):
        """dlt's own context also searches for plugins, starts its statistics and sets up its HTTP client.

        None of them is used here, and together they take as long as a small load.
        """

        def initialize_runtime(self, runtime_config: RuntimeConfiguration | None = None) -> None:
            self._runtime_config = runtime_config or resolve_configuration(RuntimeConfiguration())
            level, layout = self._runtime_config.log_level, self._runtime_config.log_format
            logger.LOGGER = logger._create_logger(self.name, level, layout, "", dlt_version_info(""))

    return SmallContext


@contextmanager
def package_id(load_id: str) -> Iterator[None]:
    """Let the package that dlt makes have this id, with which rows are stamped before dlt is imported."""
    token = _load_id.set(load_id)
    try:
        yield
    finally:
        _load_id.reset(token)
