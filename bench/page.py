"""docs/benchmarks.md, from the results that are kept in target/bench.json."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.case import Case, Figures, Taken

Results = dict[str, Any]
PACKAGES = ("duckdb", "dlt", "dbt-core", "pyarrow", "orjson", "requests", "nats-py", "sqlalchemy")
BUSY = 0.15
"""Share of the processors at work between two rounds above which a case's figures are marked."""
HEAD = """# Benchmarks

The time and memory of loads, compared with DuckDB alone and with stock dlt, and of builds, runs and commands.
`make bench` writes this page; do not edit it by hand.

- **limit**: a new Python process in which DuckDB does the same without a framework: it checks no keys, compares no
  types, keeps nothing for a crash, and has no history and no quarantine.
- **steps**: DuckDB with the steps that the promises of a load take: the file hashed and copied, its rows numbered, each
  value compared with its text, the rows on disk before the table takes them. It imports nothing else.
- **sluice**: a new `sluice load` in a project with one source, including the start of the process.
- **dlt**: stock dlt as in its documentation, in a new process; run once, because it is slow.

Of a build, **limit** is the same compiled SQL sent to DuckDB by hand, and **sluice** the command that the case names,
in a new process, in a copy of AnyCompany's project (scale 1: 58,500 orders of its shop) or in a generated one. After
every run the case compares rows of the warehouse with what they must be. Profiles are of one more, instrumented run,
which takes longer.

They run in turns, in at least three rounds; the page shows medians. Seconds are wall clock and CPU (of the process,
not of the server it reads from). Memory is the peak of the largest process. After every run the rows are counted, and
a run whose rows differ from the source fails. PostgreSQL, NATS, MariaDB and the web API run on the same machine.
`make bench ARGS="--only csv"` runs one case, `--scale 0.01` runs small ones, `--large` adds the 60 million rows.
"""


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "memory": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in PACKAGES},
    }


def read(kept: Path) -> dict[str, Results]:
    """Results of earlier runs by case; empty when there are none."""
    found: dict[str, Results] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    return found


def write(kept: Path, results: Mapping[str, Results], root: Path, cases: Sequence[type[Case]]) -> None:
    """Keep the results, and write the page."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(results, indent=1), encoding="utf-8")
    file = root / "docs" / "benchmarks.md"
    file.write_text(page(results, cases, file.read_text(encoding="utf-8")), encoding="utf-8")


def figures_of(result: Results) -> dict[str, Figures]:
    """The figures of a result, by subject."""
    return {
        name: Figures([Taken(**run) for run in told["runs"]], told["rows"])
        for name, told in result.get("subjects", {}).items()
    }


def result_lines(result: Results) -> list[str]:
    """A result for the terminal."""
    if "skipped" in result:
        return [f"skipped: {result['skipped']}"]
    lines = []
    for name, figures in figures_of(result).items():
        speed = f" {figures.rows / figures.wall():12,.0f} rows/s" if figures.rows else ""
        lines.append(
            f"{name:24} {figures.wall():8.2f} s wall {figures.cpu():8.2f} s CPU {figures.peak() / 1e6:7.0f} MB{speed}"
        )
    lines += [f"{'met   ' if v['met'] else 'MISSED'} {v['asked']}: {v['came']}" for v in result["verdicts"]]
    lines += result["notes"]
    profile: str = result.get("profile", "")
    return lines + profile.splitlines()


def page(results: Mapping[str, Results], cases: Sequence[type[Case]], before: str = "") -> str:
    """The whole page; a case without a result keeps its part of the page `before`, or says what it would measure."""
    parts = [HEAD, *_machine(results), "\n## Targets\n", *_targets(results, cases, before)]
    for case in cases:
        if (result := results.get(case.name)) and "skipped" not in result:
            parts += _case(case, result)
        elif case.name not in results:
            section = re.compile(rf"^## {case.name}\n.*?(?=\n## |\Z)", re.DOTALL | re.MULTILINE)
            parts += [f"\n{kept.rstrip()}" for kept in section.findall(before)]
    return "\n".join(parts).rstrip() + "\n"


def _machine(results: Mapping[str, Results]) -> Iterator[str]:
    told = next((r["machine"] for r in reversed(list(results.values())) if "machine" in r), None)
    if told is None:
        yield "**Not measured yet**: the table lists the cases."
        return
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    yield f"Machine: {told['cores']} cores, {told['memory']} GiB, {told['system']}. {versions}."


def used_by_others(seconds: float = 1.0) -> float:
    """The share of the processors that is at work while the bench waits; its own servers are there, but idle."""
    return float(psutil.cpu_percent(seconds)) / 100


def _busy(result: Results) -> bool:
    return bool(result.get("others", 0) > BUSY)


def _targets(results: Mapping[str, Results], cases: Sequence[type[Case]], before: str) -> Iterator[str]:
    yield "| case | work | target | measured | met |"
    yield "|---|---|---|---|---|"
    for case in cases:
        kept = next((row for row in before.splitlines() if row.startswith(f"| [{case.name}](")), "")
        if kept and case.name not in results:
            yield kept
            continue
        result = results.get(case.name, {})
        verdicts = result.get("verdicts", [])
        came = "; ".join(v["came"] for v in verdicts) or (
            f"skipped: {result['skipped']}"
            if "skipped" in result
            else "with `--large` only"
            if case.only_large
            else "-"
        )
        met = ("yes" if all(v["met"] for v in verdicts) else "**no**") if verdicts else "-"
        mark = " (on a busy machine)" if result and _busy(result) else ""
        name = f"[{case.name}](#{case.name})" if verdicts else case.name
        yield f"| {name} | {case.work} | {case.target} | {came}{mark} | {met} |"


def _case(case: type[Case], result: Results) -> Iterator[str]:
    yield f"\n## {case.name}\n\n{case.work[0].upper()}{case.work[1:]}. Target: {case.target}.\n"
    if _busy(result):
        yield f"**Measured on a busy machine** ({result['others']:.0%} in use by others): look at the CPU seconds.\n"
    yield "| | wall s | x limit | CPU s | peak MB | rows/s | runs, wall s |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    found = figures_of(result)
    limit = found["limit"].wall() if "limit" in found else 0.0
    for name, figures in found.items():
        runs = ", ".join(f"{run.wall:.2f}" for run in figures.runs)
        speed = f"{figures.rows / figures.wall():,.0f}" if figures.rows else "-"
        ratio = f"{figures.wall() / limit:.2f}" if limit else "-"
        yield (
            f"| {name} | {figures.wall():.2f} | {ratio} | {figures.cpu():.2f} | {figures.peak() / 1e6:.0f} |"
            f" {speed} | {runs} |"
        )
    yield ""
    for verdict in result["verdicts"]:
        yield f"- {verdict['asked']}: {verdict['came']} - {'met' if verdict['met'] else '**missed**'}"
    for note in result["notes"]:
        yield f"- {note}"
    yield f"- measured {result['at']}"
    if profile := result.get("profile"):
        yield f"\nWhere the time goes, in one instrumented run of Sluice:\n\n```text\n{profile.rstrip()}\n```"
