"""`sluice run`, the steps from the sources to the catalog, and `sluice build`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.load import print_loads, sources_to_load, with_mistakes
from sluice.cli.output import err, out, project, shown
from sluice.cli.publish import print_published
from sluice.cli.upgrade import say_other_engine
from sluice.errors import Exit, SluiceError
from sluice.system import lower_priority

if TYPE_CHECKING:
    from sluice.cli.progress import LoadProgress
    from sluice.config.declaration import Source
    from sluice.config.settings import Settings
    from sluice.dbt.run_results import BuildResult
    from sluice.workflow.run import RunResult


def run(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Start the sandbox company first, stop it at the end.")
    ] = False,
) -> None:
    """Load every source, build and test the models, write the docs, and sum up."""
    from sluice.cli.progress import StillRunning
    from sluice.workflow.run import run as run_all

    lower_priority()
    settings = project()
    say_other_engine(settings)
    sources, all_sound = sources_to_load(settings, ())
    loading = _loading(settings, sources, sandbox)
    with StillRunning() as running:

        def begin(step: str) -> None:
            out.print(step)
            running.begin(step)

        result = run_all(
            settings,
            sources,
            is_complete=all_sound,
            loading=loading,
            on_step=begin,
            on_detail=running.detail,
        )
    _print_summary(settings, result)
    raise typer.Exit(with_mistakes(result.exit, all_sound))


def build(
    context: typer.Context,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why each model and test was built, or was not.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build all, whether or not it has changed.")] = False,
) -> None:
    """Build and test what has changed; further arguments are those of `dbt build`."""
    from sluice.dbt.run_results import REUSED
    from sluice.workflow.build import build as build_all

    lower_priority()
    settings = project()
    say_other_engine(settings)
    code, built = build_all(settings, context.args, is_forced=force)
    left = built.models[REUSED] + built.tests[REUSED]
    if left and not explain:
        out.print(
            f"{left} models and tests are left as they are{_in_production(settings)}, for nothing they depend on has"
            " changed; --explain lists all"
        )
    if explain:
        _print_decisions(settings, built)
    raise typer.Exit(Exit.FAILED if code else Exit.OK)


def _in_production(settings: Settings) -> str:
    there = settings.production
    return f", or as {there.name} has them" if there and settings.reads_production.is_file() else ""


def _print_decisions(settings: Settings, built: BuildResult) -> None:
    from sluice.dbt.build_state import read_decisions, read_state
    from sluice.dbt.manifest import bare

    decisions = read_decisions(settings)
    if not decisions and not built.failures:
        out.print("Nothing was built: the project, raw and the warehouse are as the last build left them")
        return
    known = read_state(settings.home).nodes
    for node, reason in sorted(decisions.items()):
        there = bare(known[node].production) if not reason and node in known else ""
        why = f"the same as {there}, which is read in its place" if there else ""
        out.print(
            f"{'built' if reason else 'left':5}  {node}: {reason or why or 'nothing it depends on has changed'}",
            markup=False,
        )


@contextmanager
def _loading(
    settings: Settings, sources: Sequence[Source[Any, Any]], sandbox: bool
) -> Iterator[LoadProgress]:
    """What holds while a run loads: its progress is shown, and the sandbox company is up if it is wanted."""
    from sluice.cli.progress import LoadProgress

    company = _sandbox(settings) if sandbox else nullcontext()
    with company, LoadProgress(out, [source.name for source in sources]) as listener:
        yield listener


def _sandbox(settings: Settings) -> Any:
    """The sandbox company while it runs: the entry point of the group `sluice.sandbox`, a context manager."""
    from importlib.metadata import entry_points

    for point in entry_points(group="sluice.sandbox"):
        return point.load()(settings, lambda text: out.print(f"sandbox: {text}", markup=False))
    raise SluiceError(
        "--sandbox starts the example company, which is not installed here: it comes with Sluice's repository"
    )


def _print_summary(settings: Settings, result: RunResult) -> None:
    if result.published:
        print_published(settings, result.published)
    for error in result.errors:
        err.print(str(error), markup=False)
    out.print()
    print_loads(result.loads)
    built, page = result.build, shown(settings, settings.target / "catalog.html")
    models, tests = built.models, built.tests
    out.print(
        f"\nmodels: {models['success']} built{_rest(models, 'success')}; "
        f"tests: {tests['pass']} passed{_rest(tests, 'pass')}"
    )
    for failure in built.failures:
        err.print(f"  {failure}", markup=False)
    out.print(
        f"warehouse: {shown(settings, settings.warehouse)}   catalog: {page}   {result.seconds:.0f} s in all"
    )
    if result.exit is Exit.OK:
        out.print(f"next: open {page}, or look at a model with sluice show MODEL")
    else:
        out.print("next: fix what is named above and run again; what was done stays done")


def _rest(counts: Counter[str], fine: str) -> str:
    return "".join(f", {count} {name}" for name, count in sorted(counts.items()) if name != fine)
