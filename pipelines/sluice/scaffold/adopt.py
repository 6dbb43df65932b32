"""What a dbt-duckdb project lacks to be reviewed, catalogued and published: the files, each with what it is for."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.config.dbt_project import PACKAGE_FILES, folders, macros, read_project_file
from sluice.config.profile import PROFILES
from sluice.config.settings import AUDIENCES, GLOSSARY, Settings
from sluice.config.text_files import diff, replace_text
from sluice.conventions.check import check_conventions, rule_names
from sluice.conventions.switched_off import CONVENTIONS
from sluice.errors import DeclarationError, SluiceError
from sluice.system import git

TEMPLATES = Path(__file__).with_name("adopted")
GRANTS_MACRO = "duckdb__apply_grants"
MACROS = "_macros.yml"
WORKFLOW = ".github/workflows/sluice-review.yml"
REVIEW = "<!-- sluice review -->"
"""By which a workflow finds its comment."""


@dataclass(frozen=True)
class ProposedFile:
    """A file that is to be written; `before` is its text now, None where it does not exist."""

    path: str
    purpose: str
    before: str | None
    after: str

    @property
    def diff(self) -> str:
        """What `after` changes, as a unified diff."""
        return diff(self.path, self.before, self.after)


def found_in(settings: Settings) -> list[str]:
    """What the project's own files say, a line for each. Raises DeclarationError where they cannot be read."""
    profile = settings.profile
    if profile is None:
        raise DeclarationError(
            f"no {PROFILES} is found for {settings.root}: dbt reads DBT_PROFILES_DIR, the project's folder and ~/.dbt"
        )
    others = ", ".join(name for name in profile.targets if name != profile.target)
    lines = [
        f"profile: {profile.name} in {profile.file}, target {profile.target}"
        + (f" (also {others})" if others else "")
    ]
    for name, file in profile.databases.items():
        use = "dbt builds it" if name == profile.database else "attached"
        lines.append(f"database {name}: {file}, {use}{'' if file.is_file() else '; it does not exist yet'}")
    if profile.database not in profile.databases:
        lines.append(
            f"database {profile.database}: {profile.path} is not a file of this machine: reviews compare no data, "
            "and nothing can be published"
        )
    lines += [
        f"database {name}: not a DuckDB file; only dbt reads it, so what reads it is not compared"
        for name in profile.unread
    ]
    project = read_project_file(settings.root)
    models = [
        f for p in folders(project, "model-paths", os.environ) for f in (settings.root / p).rglob("*.*")
    ]
    kinds = Counter(file.suffix for file in models if file.suffix in (".sql", ".py"))
    python = f", {kinds['.py']} in Python (a review does not run these)" if kinds[".py"] else ""
    lines.append(f"models: {kinds['.sql']} in SQL{python}")
    return lines


def proposed_files(settings: Settings) -> list[ProposedFile]:
    """The files to write or to add to, in the order in which a reader needs them; what is there already stays."""
    return [*_ignored(settings), *_new_files(settings), *_conventions(settings)]


def write_files(root: Path, files: Sequence[ProposedFile]) -> None:
    """Write them, each aside and then renamed; one that changed since it was proposed is refused with SluiceError."""
    for file in files:
        place = root / file.path
        now = place.read_text(encoding="utf-8") if place.is_file() else None
        if now != file.before or (now is None and place.exists()):
            raise SluiceError(
                f"{file.path} has changed meanwhile, and is left as it is: run `sluice adopt` again"
            )
        replace_text(place, file.after)


def _ignored(settings: Settings) -> Iterator[ProposedFile]:
    """Lines of .gitignore for what commands write inside the project and git would keep."""
    root = settings.root
    homes = [settings.home, *(other.home for other in settings.others)]
    shared = Path(os.path.commonpath(homes))
    homes = [shared] if shared != root and shared.is_relative_to(root) else homes
    folders_of = {folder / "any": folder for folder in (*homes, settings.target)}
    targets = settings.profile.targets if settings.profile else ()
    secrets = [root / ".env", *(root / f".env.{target}" for target in targets)]
    made = [*folders_of, *settings.databases.values(), *secrets]
    wanted: list[Path] = []
    for file in made:
        path = folders_of.get(file, file)
        inside = (
            file.is_relative_to(root) and path != root and not any(path.is_relative_to(p) for p in wanted)
        )
        if inside and git(root, "check-ignore", "-q", "--no-index", str(file)) is None:
            wanted.append(path)
    if not wanted:
        return
    place = root / ".gitignore"
    before = place.read_text(encoding="utf-8") if place.is_file() else None
    ends = dict.fromkeys(folders_of.values(), "/")
    lines = [f"/{p.relative_to(root).as_posix()}{ends.get(p, '')}\n" for p in wanted]
    gap = "" if before is None or before.endswith("\n") or not before else "\n"
    after = f"{before or ''}{gap}# what Sluice and dbt write, and passwords\n{''.join(lines)}"
    purpose = "keeps what commands write, and files with passwords, out of git"
    yield ProposedFile(".gitignore", purpose, before, after)


def _new_files(settings: Settings) -> Iterator[ProposedFile]:
    project = read_project_file(settings.root)
    paths = folders(project, "macro-paths", os.environ)
    wanted = [
        (
            AUDIENCES,
            AUDIENCES,
            "who may read what: `sluice publish` gives each audience a masked copy of its tables",
        ),
        (
            f"{paths[0] if paths else 'macros'}/{GRANTS_MACRO}.sql",
            f"{GRANTS_MACRO}.sql",
            "lets models have `grants`, which name the audiences; dbt-duckdb would warn about each one",
        ),
        (
            f"{paths[0] if paths else 'macros'}/{MACROS}",
            MACROS,
            "describes this macro, as `sluice check` asks for",
        ),
        (GLOSSARY, "glossary.yml", "what words mean here; the catalog shows them beside the columns"),
        (_workflow(settings.root), "review.yml", "reviews each pull request on GitHub, in one comment"),
    ]
    has_macro = GRANTS_MACRO in macros(settings.root, os.environ)
    for path, template, purpose in wanted:
        is_defined = template in (f"{GRANTS_MACRO}.sql", MACROS) and has_macro
        is_reviewed = template == "review.yml" and _has_review((settings.root / path).parent)
        if not is_defined and not is_reviewed and not (settings.root / path).exists():
            yield ProposedFile(path, purpose, None, _text(settings, template))


def _has_review(folder: Path) -> bool:
    """Whether a workflow reviews pull requests already, as that of `sluice new` does."""
    workflows = folder.glob("*.y*ml")
    return any(REVIEW in file.read_text(encoding="utf-8", errors="replace") for file in workflows)


def _text(settings: Settings, template: str) -> str:
    """A template, with what the workflow has to know of this project."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    has_packages = any((settings.root / name).is_file() for name in PACKAGE_FILES)
    has_profile = settings.profile is not None and settings.profile.file.parent == settings.root
    is_kept = has_profile and git(settings.root, "check-ignore", "-q", PROFILES) is None
    steps = "      - run: dbt deps\n" if has_packages else ""
    hint = "" if is_kept else f"      # {PROFILES} is not in git: write one here, or set DBT_PROFILES_DIR.\n"
    prefix = git(settings.root, "rev-parse", "--show-prefix") or ""
    place = f"    defaults: {{run: {{working-directory: {json.dumps(prefix, ensure_ascii=False)}}}}}\n"
    text = text.replace("    # @place@\n", place if prefix else "")
    text = text.replace("@prefix@", prefix.replace("'", "''"))
    return text.replace("      # @steps@\n", hint + steps)


def _workflow(root: Path) -> str:
    """Where GitHub looks for it: in the repository's folder, of which the project's may be a part."""
    return Path(os.path.relpath(git(root, "rev-parse", "--show-toplevel") or root, root), WORKFLOW).as_posix()


def _conventions(settings: Settings) -> Iterator[ProposedFile]:
    """The conventions that the project does not keep today, each switched off with the reason."""
    if (settings.root / CONVENTIONS).exists():
        return
    purpose = "switches off the conventions that this project does not keep; `sluice check` is about the rest"
    try:
        broken = Counter(problem.where for problem in check_conventions(settings)[1])
        reasons = {
            rule: f"not kept in {count} {'place' if count == 1 else 'places'} when Sluice was adopted"
            for rule, count in sorted(broken.items())
        }
    except SluiceError as error:
        purpose = f"switches off all conventions, because `sluice check` fails here: {error}"
        reason = "not known when Sluice was adopted, as `sluice check` could not compile the project"
        reasons = dict.fromkeys(sorted(rule_names(settings.root)), reason)
    if reasons:
        text = (TEMPLATES / CONVENTIONS).read_text(encoding="utf-8")
        text += "switched_off:\n" + "".join(f'  {rule}: "{reason}"\n' for rule, reason in reasons.items())
        yield ProposedFile(CONVENTIONS, purpose, None, text)
