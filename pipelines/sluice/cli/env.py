"""`sluice env`: the environments of a project, and a sample of production for one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice.cli.documents import AsJson, print_document
from sluice.cli.output import err, grid, out, print_table, shown
from sluice.config.settings import Settings, load_settings

if TYPE_CHECKING:
    from sluice.workflow.environments import EnvironmentStatus


def env(as_json: AsJson = False) -> None:
    """Show every environment: its folder, what it holds, and which one is active and why."""
    from sluice.workflow.environments import environment_statuses

    settings = load_settings()
    found = environment_statuses(settings)
    if as_json:
        print_document(of_environments(settings, found))
        return
    table = grid(
        "target", "", "folder", "raw", "warehouse", "loaded (UTC)", "built (UTC)", "published", "pages"
    )
    for one in found:
        table.add_row(
            one.name,
            "active" if one.is_active else "",
            str(shown(settings, one.folder)),
            f"of {one.raw_of}" if one.raw_of else _megabytes(one.raw_bytes),
            _megabytes(one.warehouse_bytes),
            _minute(one.last_load),
            _minute(one.last_build),
            one.published or "-",
            str(shown(settings, one.pages)),
        )
    print_table(table)
    active = next(one for one in found if one.is_active)
    out.print(f"\nactive: {active.name} ({settings.chosen_by})", markup=False)
    out.print(f"keys: {shown(settings, active.keys)}; before them, what the environment names", markup=False)
    if active.variables:
        out.print(f"variables of its own: {shown(settings, active.variables)}", markup=False)
    if active.defers_to:
        out.print(f"sluice build --defer reads what is not built here from {active.defers_to}", markup=False)
    elif active.cannot_defer:
        out.print(f"sluice build --defer cannot be used: {active.cannot_defer}", markup=False)
    for one in found:
        if one.problem:
            err.print(f"{one.name}: {one.problem}", markup=False)


def of_environments(settings: Settings, found: list[EnvironmentStatus]) -> dict[str, Any]:
    """`sluice env` for programs."""
    return {
        "active": next(one.name for one in found if one.is_active),
        "chosen_by": settings.chosen_by,
        "environments": [
            {
                "target": one.name,
                "folder": str(one.folder),
                "raw": str(one.raw),
                "raw_of": one.raw_of or one.name,
                "raw_bytes": one.raw_bytes,
                "warehouse": one.warehouse and str(one.warehouse),
                "warehouse_bytes": one.warehouse_bytes,
                "last_load": one.last_load,
                "last_build": one.last_build,
                "published": one.published,
                "pages": str(one.pages),
                "keys": str(one.keys),
                "defers_to": one.defers_to or None,
                "problem": one.problem or None,
            }
            for one in found
        ],
    }


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.1f} MB"


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"
