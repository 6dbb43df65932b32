"""One review from beginning to end."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sluice.config.settings import Settings
from sluice.errors import SluiceError
from sluice.review.change_findings import change_findings
from sluice.review.contracts import contract_findings
from sluice.review.coverage import Coverage, coverage
from sluice.review.data_findings import unexplained
from sluice.review.downstream import measured, reached
from sluice.review.file_changes import file_findings
from sluice.review.findings import Finding, Level, accept, accepted_reasons, look, stop
from sluice.review.git import changed_files, changed_lines, resolve_base, write_base
from sluice.review.lint import convention_findings, lint_findings
from sluice.review.macro_changes import changed_macros, macro_findings
from sluice.review.model_changes import changed_by_file, changes, renames
from sluice.review.packages import name_package_files, packages_beside, share_packages
from sluice.review.privacy_changes import policy_findings, privacy_findings
from sluice.review.result import Review
from sluice.review.revision import Revision, compile_both
from sluice.review.scratch_build import compare_data
from sluice.review.source_changes import source_findings
from sluice.review.test_changes import findings_of_tests
from sluice.review.wording import name_of


def review(settings: Settings, base: str, *, with_data: bool = True, accepted: str = "") -> Review:
    """Compare the work tree with the branch point of `base`.

    accepted: text with lines that accept findings (a pull request's description). Raises SluiceError if git does not
    know the base.
    """
    started = time.monotonic()
    commit, remark = resolve_base(settings.root, base)
    kept = settings.home / "review"
    project = write_base(settings.root, commit, kept)
    packages = share_packages(settings.root, project, commit)
    cache = kept / "lineage.sqlite"
    old = Revision(project, base, cache=cache)
    new = Revision(settings.root, "work tree", cache=cache)
    made = settings.home, settings.target, *settings.databases.values()
    files = changed_files(settings.root, commit, made, packages_beside(settings.root))
    lines = changed_lines(settings.root, commit, made)
    with tempfile.TemporaryDirectory(dir=kept) as scratch_name, ThreadPoolExecutor(1) as aside:
        scratch = Path(scratch_name)
        linted = aside.submit(lint_findings, settings.root, lines)
        compile_both(settings, old, new, kept / commit / "target", scratch / "head", files)
        manifests = [old.manifest] if new.manifest is old.manifest else [old.manifest, new.manifest]
        name_package_files(settings.root, manifests)
        targets = kept / commit / "target", scratch / "head"
        named = aside.submit(convention_findings, settings.root, *targets, files)
        result = compare(settings if with_data else None, old, new, scratch / "data", files)
        result.lint = linted.result() + named.result()
    result.base, result.commit, result.files = base, commit, files
    if settings.environment and not settings.environment.is_default:
        result.target = settings.environment.name
    result.remarks += filter(None, (remark, packages))
    written = "\n".join(_lines(settings.root / name, numbers) for name, numbers in lines.items())
    reasons = {**accepted_reasons(written), **accepted_reasons(accepted)}
    result.findings, result.lint = accept(result.findings, reasons), accept(result.lint, reasons)
    result.seconds = time.monotonic() - started
    if old.error:  # a package or a variable may fix it: try again next time
        shutil.rmtree(kept / commit / "target", ignore_errors=True)
    return result


def compare(
    settings: Settings | None, old: Revision, new: Revision, scratch: Path, files: Collection[str] = ()
) -> Review:
    """Compare two compiled revisions; without settings no data is looked at.

    files: those that differ, which is all that is known where the base does not compile.
    """
    result = Review(old.name, "")
    if new.error:
        result.findings.append(stop("compile", "head", f"this branch does not compile: {new.error}"))
        return result
    if old.error:
        return _without_base(result, old, new, files)
    renamed = renames(old, new)
    result.models = changes(old, new, renamed)
    if settings is not None:
        result.data = compare_data(settings, old, new, result.models, renamed, scratch)
        result.remarks += [result.data.remark] if result.data.remark else []
    result.reach = reached(old, new, result.models)
    if settings is not None and not result.data.remark:
        result.reach = measured(result.reach, new, result.data.differing, result.data.untouched)
    result.coverage = (coverage(old), coverage(new))
    of_files, result.unjudged = file_findings(old, new, files)
    of_models = change_findings(old, new, result.models, result.data.equal)
    of_tests = list(findings_of_tests(old, new, renamed))
    macros = changed_macros(old, new)
    result.findings = [
        *of_files,
        *of_models,
        *macro_findings(old, new, macros, _compared(macros, [*of_models, *of_tests])),
        *contract_findings(old, new, renamed),
        *privacy_findings(old, new, renamed),
        *source_findings(old, new),
        *of_tests,
        *result.data.findings,
    ]
    named = {f.subject.split(".")[0] for f in result.findings if f.level > Level.SAFE}
    explained = {m.id for m in result.models if m.name in named}
    result.findings += unexplained(new, result.data.tables, explained)
    result.findings = [replace(f, file=f.file or _only_file(f, new, files)) for f in result.findings]
    result.findings = accept(result.findings, {})
    return result


def _only_file(finding: Finding, new: Revision, files: Collection[str]) -> str:
    """The changed file that declares what a finding is about, if only one does; without one, dbt_project.yml."""
    entries = {**new.manifest.get("nodes", {}), **new.sources, **new.exposures}
    subject = f"{finding.subject}."
    declaring = {
        file
        for key, entry in entries.items()
        if subject.startswith(f"{name_of(key)}.")
        for file in (entry["original_file_path"], (entry.get("patch_path") or "").split("://")[-1])
        if file in files
    }
    if len(declaring) == 1:
        return str(declaring.pop())
    return "dbt_project.yml" if not declaring and "dbt_project.yml" in files else ""


def _compared(macros: Mapping[str, str], found: Iterable[Finding]) -> set[str]:
    """Changed macros whose effect a finding shows, by its file."""
    files = {f.file for f in found if f.level > Level.SAFE}
    return {key for key, file in macros.items() if file in files}


def _without_base(result: Review, old: Revision, new: Revision, files: Collection[str]) -> Review:
    """The review where the base does not compile: which models' files changed, and what lies below."""
    text = f"the base does not compile, so meaning, data and promises cannot be compared: {old.error}"
    result.models = changed_by_file(new, files)
    result.reach = reached(old, new, result.models)
    result.coverage = (Coverage(0, 0, 0, 0), coverage(new))
    result.findings = [
        look("compile", "base", text),
        *file_findings(old, new, files)[0],
        *(
            look("not-compared", m.name, f"`{m.name}` changed, in a way that is not known")
            for m in result.models
        ),
        *policy_findings(old, new),
    ]
    return result


def _lines(file: Path, numbers: set[int]) -> str:
    try:
        text = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return "\n".join(text[n - 1] for n in sorted(numbers) if n <= len(text))


def read_accepted(file: Path | None) -> str:
    """The text of --accept-file; raises SluiceError if there is none."""
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SluiceError(
            f"{file} cannot be read: {error.strerror}. It holds the pull request's description."
        ) from None
