"""`sluice runs`, the last runs, and `sluice runs show`: what one loaded and built, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.documents import AsJson, of_run, of_runs, print_document, run_seconds
from sluice.cli.output import err, grid, out, print_table
from sluice.cli.target import on_target
from sluice.config.settings import load_settings
from sluice.errors import UsageError

if TYPE_CHECKING:
    import sqlite3

runs = typer.Typer(help="The last runs, and what one of them did and why.")


@runs.callback(invoke_without_command=True)
@on_target
def list_runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last runs: when, how long, what they loaded, and whether they failed."""
    if context.invoked_subcommand:
        return
    from sluice.runs.store import RunStore

    rows = RunStore(load_settings().ledger).runs(limit)
    if as_json:
        print_document(of_runs(rows))
        return
    counted = ("tables", "rows_loaded", "rows_deleted", "rows_quarantined", "warnings", "failed")
    names = (name.removeprefix("rows_") for name in counted)
    table = grid("started (UTC)", "command", "status", "seconds", *names, "run")
    for row in rows:
        counts = [f"{row[name]:,}" for name in counted]
        started = f"{datetime.fromisoformat(row['started_at']):%Y-%m-%d %H:%M:%S}"
        table.add_row(started, row["command"], row["status"], _seconds(row), *counts, row["run_id"])
    print_table(table)


@runs.command()
@on_target
def show(
    run: Annotated[str | None, typer.Argument(help="As `sluice runs` names it; default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a run loaded, and what was built and tested after it, each with the reason."""
    from sluice.runs.store import RunStore

    store = RunStore(load_settings().ledger)
    if (found := store.run(run)) is None:
        raise UsageError(f"There is no run {run}; `sluice runs` lists them" if run else "There is no run yet")
    row, end = found
    loads, builds = store.loads_of(row["run_id"]), store.builds_between(row["started_at"], end)
    if as_json:
        print_document(of_run(row, loads, builds))
        return
    out.print(f"run {row['run_id']}: {row['command']}, {row['status']}, {_seconds(row)} s")
    _print_loads(loads)
    for build, nodes in builds:
        out.print(
            f"\ndbt {build['command']}, {datetime.fromisoformat(build['started_at']):%Y-%m-%d %H:%M:%S} UTC"
        )
        _print_nodes(nodes)
    if not builds:
        out.print("\nnothing was built or tested after it, before the next run")


def _print_loads(loads: Sequence[sqlite3.Row]) -> None:
    table = grid("table", "rows", "deleted", "quarantined", "state")
    for load in loads:
        counts = [f"{load[name]:,}" for name in ("rows_loaded", "rows_deleted", "rows_quarantined")]
        table.add_row(f"{load['source']}.{load['table_name']}", *counts, load["status"])
    print_table(table)
    for load in loads:
        for text in filter(None, (load["message"], load["warnings"])):
            out.print(text, markup=False)
        if load["error"]:
            err.print(load["error"], markup=False)


def _print_nodes(nodes: Sequence[sqlite3.Row]) -> None:
    made = [node for node in nodes if node["status"] and not node["node"].startswith("exposure.")]
    table = grid("result", "seconds", "rows", "why", "built or tested")
    for node in made:
        rows = "" if node["row_count"] is None else f"{node['row_count']:,}"
        why = node["reason"] or "a dbt command selected it"
        table.add_row(node["status"], f"{node['seconds']:.2f}", rows, why, _node_name(node["node"]))
    print_table(table)
    for node in made:
        if node["message"] and node["status"] in ("error", "fail", "runtime error", "warn"):
            out.print(f"{_node_name(node['node'])}: {node['message']}", markup=False)
    if left := [_node_name(node["node"]) for node in nodes if not node["status"] and not node["reason"]]:
        out.print(f"\nleft as they were, for nothing they depend on had changed ({len(left)}):")
        for name in left:
            out.print(f"  {name}", markup=False)


def _node_name(unique_id: str) -> str:
    """`model orders` of `model.project.orders`; a test without the digits that dbt appends."""
    kind, _, name, *_ = unique_id.split(".")
    return f"{kind.replace('_', ' ')} {name}"


def _seconds(row: sqlite3.Row) -> str:
    taken = run_seconds(row)
    return "-" if taken is None else f"{taken:.1f}"
