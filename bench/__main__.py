"""`python -m bench [--only NAME …] [--scale 0.01] [--large]`: measure, and write docs/benchmarks.md.

Results are kept in target/bench.json, one entry per case, so that cases may be run one by one; the page shows the last
result of each. A run at another scale than 1 is shown in the terminal only.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import branches, builds, company, databases, files, rest, shapes, startup, streams
from bench.case import BenchError, Case, Figures, Subject, run
from bench.page import Results, machine, read, result_lines, used_by_others, write

CASES: tuple[type[Case], ...] = (
    *(*databases.CASES, *files.CASES, *shapes.CASES, *rest.CASES, *streams.CASES),
    *(*company.CASES, *builds.CASES, *branches.CASES, *startup.CASES),
)
ROOT = Path(__file__).parents[1]
out = Console(highlight=False, soft_wrap=True)


def measure(
    kind: type[Case], folder: Path, scale: float, runs: int, *, stock: bool, profile: bool
) -> Results:
    """Run one case; its result as the page shows it. Raises BenchError."""
    case = kind(folder, scale)
    case.with_stock = stock
    told: Results = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "scale": scale, "runs": runs}
    if reason := case.missing():
        return told | {"skipped": reason}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        case.prepare()
        subjects = [subject for subject in case.subjects() if stock or subject.name != "dlt"]
        figures: dict[str, Figures] = {
            subject.name: Figures(rows=case.rows_of(subject)) for subject in subjects
        }
        others = []
        for turn in range(runs):
            others.append(used_by_others())
            for subject in subjects:
                if turn and subject.once:
                    continue
                case.before(subject, turn)
                figures[subject.name].runs.append(run(subject))
                case.after(subject, turn)
        told["others"] = max(others)
        verdicts = case.verdicts(figures)
        told["subjects"] = {name: asdict(f) for name, f in figures.items()}
        told["notes"] = [f"{s.name}: {s.note}" for s in subjects if s.note] + case.notes()
        told["verdicts"] = [asdict(verdict) for verdict in verdicts]
        if profile or not all(verdict.met for verdict in verdicts):
            told["profile"] = _profile(case, subjects, runs)
    finally:
        case.close()
    return told


def _profile(case: Case, subjects: Sequence[Subject], turn: int) -> str:
    """One more round, in which Sluice's runs are instrumented; the others come before it as in any round."""
    profiles = []
    for subject in subjects:
        if subject.name == "dlt":
            continue
        case.before(subject, turn)
        if profile := case.profile_of(subject):
            profiles.append(profile)
        elif profiles:
            break
    return "\n".join(profiles)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything ran, whether or not a target was met; 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=[case.name for case in CASES])
    parser.add_argument("--scale", type=float, default=1.0, help="1: the sizes of the targets")
    parser.add_argument("--runs", type=int, default=3, help="of each, taking turns; the median counts")
    parser.add_argument("--large", action="store_true", help="with 60 million rows: 40 GB of disk, an hour")
    parser.add_argument("--no-stock", action="store_true", help="without stock dlt")
    parser.add_argument("--profile", action="store_true", help="also profile cases that meet their target")
    parser.add_argument("--work", type=Path, help="a folder for the data (default: a temporary one)")
    given = parser.parse_args(arguments)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # servers are stopped on the way out
    chosen = [c for c in CASES if c.name in given.only] if given.only else list(CASES)
    if not given.only and not given.large:
        chosen = [case for case in chosen if not case.only_large]
    work = Path(tempfile.mkdtemp(prefix="bench-", dir=given.work))
    work.chmod(0o711)  # PostgreSQL runs as another user when root runs this
    kept = ROOT / "target" / "bench.json"
    failed = 0
    try:
        for kind in chosen:
            out.print(f"{kind.name}: {kind.work}")
            try:
                result = measure(
                    kind,
                    work / kind.name,
                    given.scale,
                    given.runs,
                    stock=not given.no_stock,
                    profile=given.profile,
                )
            except BenchError as error:
                failed += 1
                out.print(f"  FAILED {error}", markup=False)
                continue
            finally:
                shutil.rmtree(work / kind.name, ignore_errors=True)
            for line in result_lines(result):
                out.print(f"  {line}", markup=False)
            if given.scale == 1:
                write(kept, read(kept) | {kind.name: result | {"machine": machine()}}, ROOT, CASES)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
