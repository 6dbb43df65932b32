"""Whatever a dlt resource, or a function of the project, yields: dicts, Arrow tables, data frames.

Items keep their types: a Parquet file is written for each combination of column types that comes along, and the
relation over all of them casts only where that alters nothing. A value that would be altered fails the table.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any

import dlt
from dlt.common.configuration import inject_section
from dlt.common.configuration.container import Container
from dlt.common.exceptions import DltException
from dlt.common.pipeline import StateInjectableContext, pipeline_state
from dlt.common.schema import Schema
from dlt.extract import DltResource, DltSource
from dlt.extract.incremental import Incremental
from dlt.extract.items import TableNameMeta
from dlt.extract.pipe_iterator import PipeIterator
from dlt.extract.source import SourceInjectableContext, SourceSchemaInjectableContext

from sluice.config.declaration import PythonSource, PythonTable, Source, Table
from sluice.config.project_code import make_importable
from sluice.errors import LoadError, SluiceError
from sluice.extract.contract import (
    AFTER_COMMIT,
    READ_WITH,
    ExtractContext,
    Extraction,
    TypedRows,
    each_table,
)
from sluice.extract.python.typed_rows import TypedRowWriter

PROGRESS_ROWS = 1_000
NEEDS_WHOLE = "deletes: compare_keys needs a table that is read whole; drop one of the two"


def extract(
    source: Source[PythonSource, PythonTable], tables: Sequence[Table[PythonTable]], context: ExtractContext
) -> Generator[Extraction, None, None]:
    """Rows of every table; errors are LoadError with the place in the project's code that raised."""
    make_importable(context.root)
    yield from each_table(tables, lambda table: _extract_table(source, table, context))


def _only_news(dotted: str) -> str:
    return f"{dotted} reads only what is new (dlt.sources.incremental), and {NEEDS_WHOLE}"


def _extract_table(
    source: Source[PythonSource, PythonTable], table: Table[PythonTable], context: ExtractContext
) -> TypedRows | None:
    rows = TypedRowWriter(context.folder, table.name)
    try:
        resource = _resource(table, context)
        # dlt's state is taken as a copy: what the resource writes is kept only together with its rows
        container = Container()
        state = copy.deepcopy(pipeline_state(container, {})[0])
        resources: dict[str, Any] = (
            state.setdefault("sources", {}).setdefault(source.name, {}).setdefault("resources", {})
        )
        own = {k: v for k, v in context.kept(table.name).items() if k not in (READ_WITH, AFTER_COMMIT)}
        resources.pop(table.name, None)
        if own:
            resources[table.name] = copy.deepcopy(own)
        whole = DltSource(Schema(source.name), source.name, [resource])
        # set up once for all items; iterating a dlt source does so for each, which takes longer than the item
        with (
            inject_section(whole._get_config_section_context()),
            container.injectable_context(StateInjectableContext(state=state)),
            container.injectable_context(SourceInjectableContext(whole)),
            container.injectable_context(SourceSchemaInjectableContext(whole.schema)),
            PipeIterator.from_pipes(whole.resources.selected_pipes) as items,
        ):
            reported = 0
            for item in items:
                if isinstance(item.meta, TableNameMeta):
                    raise LoadError(
                        f"yields rows for the table {item.meta.table_name}; declare a table for each"
                    )
                rows.add(item.item)
                if rows.taken - reported >= PROGRESS_ROWS:
                    context.progress(table.name, rows.taken - reported)
                    reported = rows.taken
            context.progress(table.name, rows.taken - reported)
        has_state = resource.incremental is not None or bool(resources.get(table.name))
        is_partial = has_state or table.load.has_range() or table.load.disposition() == "append"
        relation = rows.relation(context.raw.columns(table), table)
    except (Exception, SystemExit) as error:  # a function that calls exit() ends its table, not the load
        raise _failure(error, table, context) from error
    kept = resources.get(table.name, {})
    if table.load.deletes and kept:
        raise LoadError(
            f"{table.qualified}: {table.load.resource} keeps a state, so it may yield only what is new, and "
            f"{NEEDS_WHOLE}"
        )
    if relation is None:
        return None
    return TypedRows(
        table=table,
        relation=relation,
        state=kept,
        is_whole=not is_partial,
        may_lack_columns=is_partial,
    )


def _resource(table: Table[PythonTable], context: ExtractContext) -> DltResource:
    """The declared function as a dlt resource with the table's name, so that its state is the table's."""
    dotted = table.load.resource
    module, _, name = dotted.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise LoadError(
            f"{dotted} is a value of the type {type(found).__name__}, not a function or a dlt resource"
        )
    arguments = context.connections.fill(table.load.arguments)
    if isinstance(found, DltResource):
        # an undecorated call binds the arguments; without any, the resource may be bound already
        resource = found(**arguments) if arguments or not found.args_bound else found
    elif _takes_incremental(found):
        resource = dlt.resource(found, name=table.name)(**arguments)
    else:
        made = found(**arguments)
        if isinstance(made, DltSource):
            made = _of_source(made, table)
        resource = (
            made if isinstance(made, DltResource) else dlt.resource(_iterable(made, dotted), name=table.name)
        )
    resource = resource.with_name(table.name)
    if resource.incremental is not None and table.load.disposition() == "replace":
        raise LoadError(
            f"{dotted} reads only what is new (dlt.sources.incremental), and without a primary_key that would replace "
            "all rows before it; declare a primary_key, or write_disposition: append"
        )
    if resource.incremental is not None and table.load.deletes:
        raise LoadError(_only_news(dotted))
    if table.load.primary_key and isinstance(resource.incremental, Incremental):
        # dlt would drop a row that changed at the cursor's last value, because its key is known there
        resource.incremental.primary_key = ()
    elif table.load.primary_key and resource.incremental is not None:
        resource.incremental.primary_key = ()
    return resource


def _takes_incremental(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(isinstance(p.default, Incremental) for p in parameters)


def _of_source(made: DltSource, table: Table[PythonTable]) -> DltResource:
    names = list(made.resources)
    if table.name in names:
        return made.resources[table.name]
    if len(names) == 1:
        return made.resources[names[0]]
    raise LoadError(
        f"{table.load.resource} is a dlt source of {', '.join(names)}; none of them is called {table.name}"
    )


def _iterable(made: Any, dotted: str) -> Any:
    if isinstance(made, dict):
        return [made]
    if hasattr(made, "schema") or hasattr(made, "columns"):  # one Arrow table or data frame
        return [made]
    is_text = isinstance(made, str | bytes)
    if is_text or not (hasattr(made, "__iter__") or hasattr(made, "__aiter__")):
        raise LoadError(
            f"{dotted} returned {type(made).__name__}; it has to yield dicts, Arrow tables or frames"
        )
    return made


def _failure(error: BaseException, table: Table[PythonTable], context: ExtractContext) -> SluiceError:
    """The error that was raised first, and where in the project."""
    first: BaseException = error
    while isinstance(first, DltException) and (cause := first.__cause__ or first.__context__):
        first = cause
    text = context.connections.redact(str(first))
    if isinstance(first, SluiceError):
        return type(first)(text if text.startswith(table.qualified) else f"{table.qualified}: {text}")
    own = [f for f in traceback.extract_tb(first.__traceback__) if f.filename.startswith(str(context.root))]
    inside = [f for f in own if "site-packages" not in f.filename and "/sluice/" not in f.filename]
    where = (
        f" ({inside[-1].filename.removeprefix(str(context.root)).lstrip('/')}:{inside[-1].lineno})"
        if inside
        else ""
    )
    return LoadError(f"{table.qualified}: {table.load.resource} raised {type(first).__name__}: {text}{where}")
