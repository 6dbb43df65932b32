"""The `sluice` command; the only module that prints."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid
from typer.core import TyperGroup
from typer.main import get_command

from sluice.config.declaration import Source
from sluice.config.settings import Settings, load_settings, quiet_tools
from sluice.config.sources import load_sources, read_sources
from sluice.errors import Exit, SluiceError
from sluice.system import lower_priority

if TYPE_CHECKING:  # dlt takes a second to import; what does not load does without
    from sluice.dbt.runner import BuildResult
    from sluice.load.results import SourceResult
    from sluice.publish import Published


class PluggedIn(TyperGroup):
    """The engine's commands, and those of installed extras: entry points of the group `sluice.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(point.name for point in entry_points(group="sluice.commands"))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        for point in entry_points(group="sluice.commands", name=cmd_name):
            return get_command(point.load())
        return None


app = typer.Typer(
    cls=PluggedIn,
    help="A data warehouse that lives in a repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
NUMBERS = ("rows", "loaded", "deleted", "quarantined", "seconds", "lag", "limit", "tables", "failed")
"""Headings of columns that are aligned to the right."""
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""A full disk, a quota, a read-only disk, missing rights: no fault of the program's, so no traceback."""
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command; a SluiceError becomes its message and exit code, never a traceback."""
    quiet_tools()
    try:
        app()
    except SluiceError as error:
        err.print(str(error), markup=False)
        sys.exit(error.exit)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        err.print(f"{error}: nothing can be written there", markup=False)
        sys.exit(Exit.FAILED)
    except SystemExit as ended:
        if ended.code != Exit.INTERRUPTED:  # what typer makes of Ctrl-C
            raise
        err.print("interrupted; the next run goes on from here")
        sys.stdout.flush()
        os._exit(Exit.INTERRUPTED)  # threads of a broken-off load are not waited for


@app.command()
def check() -> None:
    """Check every declaration in sources/, and audiences.yml, with no network."""
    from sluice.config.audiences import read_policy
    from sluice.extract import declaration_problems

    settings = load_settings()
    sources, problems = read_sources(settings.sources)
    problems += [problem for source in sources for problem in declaration_problems(source)]
    problems += read_policy(settings.root / "audiences.yml")[1]
    for problem in problems:
        err.print(
            f"{_shown(settings, problem.file)}:{problem.line}: {problem.where}: {problem.message}",
            markup=False,
        )
    if problems:
        raise typer.Exit(Exit.DECLARATION)
    tables = sum(len(s.tables) for s in sources)
    out.print(f"{len(sources)} sources, {tables} tables: all declarations are sound")


@app.command()
def load(
    selection: Annotated[
        list[str] | None, typer.Argument(help="shop, or shop.orders; default: all", metavar="[SOURCE]…")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Drop the raw tables and load anew.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--from", help="Load rows again from this cursor value on, e.g. 2026-01-01.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Up to this cursor value, which is not included.")
    ] = None,
    retry_quarantine: Annotated[
        bool, typer.Option("--retry-quarantine", help="Only load quarantined rows again, after a fix.")
    ] = False,
) -> None:
    """Load what is new from the sources into raw."""
    lower_priority()
    window = None if since is None and until is None else (since, until)
    asked = {"--full-refresh": full_refresh, "--retry-quarantine": retry_quarantine, "--from, --to": window}
    if len(several := [name for name, given in asked.items() if given]) > 1:
        raise typer.BadParameter(f"{' and '.join(several)} do not go together; load with one after the other")
    settings = load_settings()
    sources = load_sources(settings.sources, selection or [])
    results = _load(
        settings, sources, full_refresh=full_refresh, window=window, retry_quarantine=retry_quarantine
    )
    _print_loads(results)
    raise typer.Exit(_load_exit(results))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def build(context: typer.Context) -> None:
    """Run `dbt build` with the arguments given."""
    from sluice.dbt.runner import dbt

    lower_priority()
    raise typer.Exit(Exit.FAILED if dbt(load_settings(), ["build", *context.args]) else Exit.OK)


@app.command()
def run(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Start the sandbox company first, stop it at the end.")
    ] = False,
) -> None:
    """Load every source, build and test the models, write the docs, and sum up."""
    from sluice.dbt.runner import build_result, dbt_session, excluding

    lower_priority()
    started = time.monotonic()
    settings = load_settings()
    sources = load_sources(settings.sources)
    with dbt_session(settings) as dbt:
        with _sandbox_running(settings) if sandbox else nullcontext():
            results = _load(settings, sources)
        failed = [name for result in results for name in result.failed]
        out.print("build: dbt build")
        built = dbt(["build", *excluding(failed)])
        built_result = build_result(settings)
        out.print("docs: dbt docs generate")
        documented = dbt(["docs", "generate", "--static"])
    refused = _publish_last(settings)
    refused |= _catalog_last(settings)
    _print_summary(settings, results, built_result, time.monotonic() - started)
    if failed or built or documented or refused:
        raise typer.Exit(Exit.FAILED)


@app.command()
def status() -> None:
    """Each source's last load, its rows, and its lag behind the freshness limit."""
    from sluice.runs.status import status as source_status
    from sluice.runs.store import RunStore

    settings = load_settings()
    sources = load_sources(settings.sources)
    grid = _grid("source", "state", "last load (UTC)", "rows", "lag", "limit")
    errors: list[str] = []
    drift: list[str] = []
    for source in source_status(sources, RunStore(settings.ledger)):
        last = f"{source.last_load:%Y-%m-%d %H:%M}" if source.last_load else "-"
        grid.add_row(
            source.source,
            source.state,
            last,
            f"{source.rows_loaded:,}",
            _span(source.lag),
            _span(source.limit),
        )
        errors += source.errors
        drift += source.drift
    out.print(grid)
    for line in drift:
        out.print(f"drift: {line}", markup=False)
    for error in errors:
        err.print(error, markup=False)


@app.command()
def runs(limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20) -> None:
    """The last runs: when, how long, what they loaded, and whether they failed."""
    from sluice.runs.store import RunStore

    counted = ("tables", "rows_loaded", "rows_deleted", "rows_quarantined", "failed")
    grid = _grid("started (UTC)", "command", "status", "seconds", *(n.removeprefix("rows_") for n in counted))
    for row in RunStore(load_settings().ledger).runs(limit):
        started = datetime.fromisoformat(row["started_at"])
        ended = datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else None
        seconds = f"{(ended - started).total_seconds():.1f}" if ended else "-"
        counts = [f"{row[name]:,}" for name in counted]
        grid.add_row(f"{started:%Y-%m-%d %H:%M:%S}", row["command"], row["status"], seconds, *counts)
    out.print(grid)


@app.command()
def publish(
    version: Annotated[str | None, typer.Argument(help="With --rollback: the version to go back to.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Give readers the version before, or VERSION.")
    ] = False,
    rotate_key: Annotated[
        str | None,
        typer.Option("--rotate-key", metavar="AUDIENCE", help="Encrypt its versions with a new key."),
    ] = None,
    accept_rows: Annotated[
        bool, typer.Option("--accept-rows", help="Let row counts move beyond their limits, this time.")
    ] = False,
    versions: Annotated[bool, typer.Option("--versions", help="List the versions that are kept.")] = False,
) -> None:
    """Give each audience a new, audited copy of the marts it is granted."""
    import sluice.publish as publishing

    settings = load_settings()
    if version and not rollback:
        raise typer.BadParameter("a version is for --rollback")
    if versions:
        _print_versions(settings)
    elif rollback:
        out.print(f"readers have version {publishing.rollback(settings, version)} now")
    elif rotate_key:
        lower_priority()
        rotated = publishing.rotate_key(settings, rotate_key)
        number = len(rotated.versions)
        which = "1 version" if number == 1 else f"all {number} versions"
        out.print(
            f"{which} of {rotate_key} can be read with the new key only. {rotated.left_to_do}", markup=False
        )
    else:
        lower_priority()
        _print_published(settings, publishing.publish(settings, accept_rows=accept_rows))


@app.command()
def catalog(
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write it; default: target/catalog.html.")
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail on undocumented, unowned or untested marts.")
    ] = False,
    profiles: Annotated[
        bool,
        typer.Option("--profiles/--no-profiles", help="Look into the tables, or only at what is declared."),
    ] = True,
) -> None:
    """Write the catalog: one page with every table, column, test, load and where it all comes from."""
    from sluice.catalog import gather, write

    settings = load_settings()
    gathered = gather(settings, with_profiles=profiles)
    problems = gathered.problems
    if check_only:
        for problem in problems:
            if problem.gate:
                err.print(f"{problem.rule}: {problem.text}", markup=False)
        failing = sum(problem.gate for problem in problems)
        if failing:
            raise typer.Exit(Exit.FAILED)
        out.print("every mart is documented, owned and tested")
        return
    file = write(settings, gathered, output)
    size = file.stat().st_size / 1e6
    out.print(f"{_shown(settings, file)}: {len(gathered.ids)} tables, {size:.1f} MB; open it in a browser")


@app.command()
def serve(
    audience: Annotated[str, typer.Option(help="Whose published version to serve.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 31337,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain, PEM.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    memory_mb: Annotated[int, typer.Option(min=64, help="Memory of all queries together.")] = 2048,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time of one query.")] = 60,
    queries: Annotated[int, typer.Option(min=1, help="Queries at the same time.")] = 8,
    issue: Annotated[
        str | None, typer.Option("--issue-token", metavar="NAME", help="Print a new token for somebody.")
    ] = None,
    revoke: Annotated[
        str | None, typer.Option("--revoke-token", metavar="NAME", help="Let their token in no more.")
    ] = None,
) -> None:
    """Serve an audience's published version to remote readers (Arrow Flight SQL)."""
    from sluice.config.audiences import load_policy
    from sluice.serve.query_process import Limits
    from sluice.serve.server import Server
    from sluice.serve.tokens import Tokens

    settings = load_settings()
    tokens = Tokens(settings.home / "keys" / "tokens.json")
    if issue:
        load_policy(settings.root / "audiences.yml").audience(audience)
        out.print(tokens.issue(audience, issue))
        return
    if revoke:
        tokens.revoke(audience, revoke)
        out.print(f"{revoke} gets in no more")
        return
    limits = Limits(memory_mb, seconds, queries)
    server = Server(
        settings,
        audience,
        host=host,
        port=port,
        certificate=certificate,
        private_key=private_key,
        limits=limits,
    )
    scheme = "grpc+tls" if certificate else "grpc"
    out.print(f"serving {audience} on {scheme}://{host}:{server.port}; Ctrl-C ends it")
    if not tokens.names(audience):
        err.print(f"nobody has a token yet: sluice serve --audience {audience} --issue-token NAME")
    has_ended = server.run()
    out.print("the server has ended")
    if not has_ended:
        sys.stdout.flush()
        os._exit(Exit.OK)  # clients that do not read are not waited for


@app.command()
def review(
    base: Annotated[str, typer.Option(help="Branch, tag or commit to compare with.")] = "main",
    output: Annotated[Path | None, typer.Option("--output", help="Write the Markdown here too.")] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write one HTML page here.")] = None,
    data: Annotated[
        bool,
        typer.Option("--data/--no-data", help="Build what changed, or look at meaning and lineage only."),
    ] = True,
    accept_file: Annotated[
        Path | None,
        typer.Option("--accept-file", help="Text with accepting lines: the pull request's description."),
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", help="Exit with 1 at this verdict or a worse one: look, stop.")
    ] = None,
) -> None:
    """What a branch changes in meaning, data and promises: a verdict, its reasons, and whom to ask."""
    import sluice.review as reviewing
    from sluice.review.run import read_accepted

    if fail_on not in (None, "look", "stop"):
        raise typer.BadParameter("--fail-on takes look or stop")
    found = reviewing.review(load_settings(), base, with_data=data, accepted=read_accepted(accept_file))
    text = reviewing.markdown(found)
    if output:
        output.write_text(text, encoding="utf-8")
    if page:
        page.write_text(reviewing.html(found), encoding="utf-8")
    out.print(text, markup=False, end="")
    if fail_on and found.verdict >= reviewing.Level[fail_on.upper()]:
        raise typer.Exit(Exit.FAILED)


@app.command()
def lineage(
    column: Annotated[
        str | None, typer.Argument(help="model.column, or source.table.column with a field inside it.")
    ] = None,
    up: Annotated[bool, typer.Option("--up/--down", help="Where it comes from, or where it goes.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs; docs/lineage.md has the shape.")
    ] = False,
    openlineage: Annotated[
        Path | None,
        typer.Option(help="Write the whole project's lineage as OpenLineage events into this folder."),
    ] = None,
) -> None:
    """Where a column's values come from, and what else decides about its rows."""
    from sluice.lineage import describe, export_openlineage, read_project

    settings = load_settings()
    cache = settings.home / "lineage" / "cache.sqlite"
    if openlineage:
        files = export_openlineage(read_project(settings.target, cache), openlineage)
        out.print(f"{len(files)} events in {openlineage}")
    if column:
        out.print(describe(settings.target, column, up=up, as_json=as_json, cache_file=cache), markup=False)
    if not column and not openlineage:
        raise typer.BadParameter(
            "name a column, such as fct_order_lines.amount_eur, or give --openlineage FOLDER"
        )


def _load(
    settings: Settings,
    sources: Sequence[Source[Any, Any]],
    *,
    full_refresh: bool = False,
    window: tuple[str | None, str | None] | None = None,
    retry_quarantine: bool = False,
) -> list[SourceResult]:
    from sluice.cli.progress import LoadProgress
    from sluice.load.run import load as load_all
    from sluice.runs.store import RunStore

    ledger = RunStore(settings.ledger)
    run_id = ledger.begin("load")
    outcome = "failed"
    try:
        with LoadProgress(out, [s.name for s in sources]) as watcher:
            results = load_all(
                settings,
                sources,
                run_id,
                full_refresh=full_refresh,
                window=window,
                retry_quarantine=retry_quarantine,
                listener=watcher,
            )
        outcome = "failed" if any(r.errors for r in results) else "ok"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        ledger.end(run_id, outcome)
    return results


def _sandbox_running(settings: Settings) -> AbstractContextManager[None]:
    """The example company's servers, while they are needed: the entry point of the group `sluice.sandbox`."""
    for point in entry_points(group="sluice.sandbox"):
        running: AbstractContextManager[None] = point.load()(
            settings, lambda text: out.print(f"sandbox: {text}", markup=False)
        )
        return running
    raise SluiceError(
        "--sandbox starts the example company, which is not installed here: it comes with Sluice's repository"
    )


def _publish_last(settings: Settings) -> bool:
    """The last step of a run; whether it was refused. A project without audiences publishes nothing."""
    from sluice.publish import publish as publish_now

    if not (settings.root / "audiences.yml").is_file():
        return False
    out.print("publish")
    try:
        _print_published(settings, publish_now(settings))
    except SluiceError as error:
        err.print(str(error), markup=False)
        return True
    return False


def _catalog_last(settings: Settings) -> bool:
    """Write the catalog after a run; whether that failed."""
    from sluice.catalog import gather, write

    out.print("catalog")
    try:
        write(settings, gather(settings))
    except SluiceError as error:
        err.print(str(error), markup=False)
        return True
    return False


def _print_published(settings: Settings, published: Published) -> None:
    grid = _grid("audience", "tables", "rows", "written", "encrypted", "read it at")
    for name, audience in published.audiences.items():
        file = (
            settings.home
            / "published"
            / "current"
            / (f"{name}.duckdb" if audience.format == "duckdb" else name)
        )
        grid.add_row(
            name,
            str(len(audience.tables)),
            f"{sum(t.rows for t in audience.tables.values()):,}",
            str(len(published.written[name])),
            "yes" if audience.is_encrypted else "no",
            str(file.relative_to(settings.root) if file.is_relative_to(settings.root) else file),
        )
    out.print(grid)
    for model, reason in published.held.items():
        err.print(f"{model} stays as it was: {reason}", markup=False)
    out.print(f"version {published.version}")


def _print_versions(settings: Settings) -> None:
    from sluice.publish.versions import Versions

    versions = Versions(settings.home / "published")
    grid = _grid("version", "", "run", "commit", "tables", "rows")
    for name in reversed(versions.names):
        version = versions.read(name)
        tables = [t for a in version.audiences.values() for t in a.tables.values()]
        mark = "current" if name == versions.current else ""
        rows = f"{sum(t.rows for t in tables):,}"
        grid.add_row(
            name, mark, version.run_id or "-", (version.git_commit or "-")[:8], str(len(tables)), rows
        )
    out.print(grid)


def _load_exit(results: Sequence[SourceResult]) -> Exit:
    return Exit.FAILED if any(r.errors for r in results) else Exit.OK


def _grid(*headings: str) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading, justify="right" if heading in NUMBERS else "left")
    return grid


def _print_loads(results: Sequence[SourceResult]) -> None:
    grid = _grid("source", "rows", "deleted", "quarantined", "seconds", "state")
    for result in results:
        failed = len(result.failed)
        state = f"{failed} of {len(result.tables)} tables failed" if failed else "ok"
        deleted = sum(t.deleted for t in result.tables)
        bad = sum(t.quarantined for t in result.tables)
        numbers = [f"{n:,}" for n in (result.rows, deleted, bad)]
        grid.add_row(result.source, *numbers, f"{result.seconds:.1f}", state)
    out.print(grid)
    for result in results:
        for error in result.errors:
            err.print(f"\n{error}", markup=False)


def _print_summary(
    settings: Settings, results: Sequence[SourceResult], built: BuildResult, seconds: float
) -> None:
    out.print()
    _print_loads(results)
    made, passed = built.models["success"], built.tests["pass"]
    out.print(
        f"\nmodels: {made} built{_rest(built.models, 'success')}; tests: {passed} passed{_rest(built.tests, 'pass')}"
    )
    for failure in built.failures:
        err.print(f"  {failure}", markup=False)
    page = _shown(settings, settings.target / "catalog.html")
    out.print(f"warehouse: {_shown(settings, settings.warehouse)}   catalog: {page}   {seconds:.0f} s in all")
    if built.failures or any(r.errors for r in results):
        out.print("next: mend what is named above and run again; what was done stays done")
    else:
        out.print(f"next: open {page}, or . .venv/bin/activate && dbt show -s rpt_regional_sales_monthly")


def _shown(settings: Settings, path: Path) -> Path:
    """A path as a person reads it: below the project where it is."""
    return path.relative_to(settings.root) if path.is_relative_to(settings.root) else path


def _rest(counts: Any, fine: str) -> str:
    return "".join(f", {count} {name}" for name, count in sorted(counts.items()) if name != fine)


def _span(span: timedelta | None) -> str:
    if span is None:
        return "-"
    hours = span.total_seconds() / 3600
    return (
        f"{hours / 24:.1f} d" if hours >= 48 else f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
    )
