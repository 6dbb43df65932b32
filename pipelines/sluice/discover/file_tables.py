"""From a group of files to the tables they hold: format, dialect, columns and types, checked by the loader."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb

from sluice.discover import dialects
from sluice.discover.column_findings import columns_of, set_nullable, without_values
from sluice.discover.contract import DiscoveredTable, Limits
from sluice.discover.file_groups import FORMATS, FileGroup, ending, glob_escaped, table_name
from sluice.discover.trial_load import Trial, TrialLoads, fill
from sluice.errors import LoadError, SluiceError
from sluice.extract.files.archives import is_litter, unpacked
from sluice.extract.files.common import Found

LOOK_FILES = 5
"""Files of a group whose beginnings decide on its dialect; with it all files are read."""
FEW_BAD_ROWS = 0.02
"""Up to this share, rows that cannot be read are taken for footers and faults of the files."""
MOST_RENAMES = 10
CLASH = re.compile(r"columns: \{rename: \{'(.+?)': (\w+)\}\}")
"""The loader's advice where two columns would have one name."""
LACKS = re.compile(r" has no column (.+?) \(its header: ")
"""The loader's message on a file without a column that others have."""
COLUMN_IN_MESSAGE = r"{}\.([^:\s]+): \d+ value"


@dataclass
class FileTables:
    """The tables of one group of files."""

    group: FileGroup
    local: Mapping[str, Path]
    """The files that are looked at, by their path below the url; all of the group, or a sample."""
    trials: TrialLoads
    con: duckdb.DuckDBPyConnection
    """The scratch database of the discovery."""
    source: str
    scratch: Path
    limits: Limits
    size_bytes: int
    read_bytes: int
    skipped: dict[str, str] = field(default_factory=dict)
    """What of the files is left out, by name, with the reason."""

    def discovered(self) -> list[DiscoveredTable]:
        """The tables; none where the files hold nothing that a load reads, which `skipped` says."""
        if not any(path.stat().st_size for path in self.local.values()):
            self.skipped[self.group.path] = "empty, so that its columns are not known yet"
            return []
        try:
            form = self.group.format
            if form == "zip":
                return self._members()
            if form == "excel":
                return self._sheets()
            return [table for table in [self._table(self.group.name, form, {})] if table]
        except (SluiceError, OSError, ValueError, zipfile.BadZipFile) as error:
            self.skipped[self.group.path] = " ".join(str(error).split())[:300]
            return []

    def _members(self) -> list[DiscoveredTable]:
        """One table for the members of each kind and name."""
        names: dict[str, list[str]] = {}
        for path in self.local.values():
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir() and not is_litter(info.filename):
                        key = re.sub(r"\d+([-_.]\d+)*", "*", glob_escaped(info.filename))
                        names.setdefault(key, []).append(info.filename)
        kinds = {FORMATS.get(ending(files[0])[0]) for files in names.values()}
        tables = []
        for pattern, files in sorted(names.items()):
            form = FORMATS.get(ending(files[0])[0])
            if form is None:
                self.skipped[f"{self.group.path}/{pattern}"] = "not a format that a load reads"
                continue
            keys = {} if len(kinds) == len(names) == 1 else {"members": pattern}
            stem = PurePosixPath(pattern).name.split(".")[0].replace("*", " ")
            name = self.group.name if not keys else table_name(stem) if stem.strip() else self.group.name
            if table := self._table(name, form, keys):
                tables.append(table)
        return tables

    def _sheets(self) -> list[DiscoveredTable]:
        """One table for each sheet with rows that all workbooks have."""
        from python_calamine import CalamineWorkbook, SheetVisibleEnum

        books = [CalamineWorkbook.from_path(str(plain.local)) for plain in self._plain({"format": "excel"})]
        shared = [
            meta.name
            for meta in books[0].sheets_metadata
            if all(meta.name in book.sheet_names for book in books)
        ]
        hidden = {meta.name for meta in books[0].sheets_metadata if meta.visible != SheetVisibleEnum.Visible}
        filled = [
            name for name in shared if books[0].get_sheet_by_name(name).height > 1 and name not in hidden
        ]
        for name in sorted(hidden):
            self.skipped[f"{self.group.path} sheet {name}"] = "a hidden sheet"
        is_only = len(filled) == len(books[0].sheet_names) == 1
        if not filled:
            return [t for t in [self._table(self.group.name, "excel", {})] if t]
        tables = []
        for name in filled:
            keys: dict[str, Any] = {} if is_only else {"sheet": name}
            rows = books[0].get_sheet_by_name(name).to_python(skip_empty_area=False)
            if skip := _rows_before_header(rows):
                keys["skip_lines"] = skip
            own = self.group.name if len(filled) == 1 else table_name(f"{self.group.name} {name}")
            if table := self._table(own, "excel", keys):
                tables.append(table)
        return tables

    # -- one table -------------------------------------------------------------------------------------

    def _table(self, name: str, form: str, keys: Mapping[str, Any]) -> DiscoveredTable | None:
        found = self._dialect(form, dict(keys))
        if found is None:
            return None
        load = {"path": self.group.path, **found.keys}
        declared: dict[str, str | None] = dict.fromkeys(found.header) if load.get("header") is False else {}
        table = DiscoveredTable(name, [], None, load=load, reasons=found.reasons, questions=found.questions)
        if self.group.reason:
            table.reasons["path"] = self.group.reason
        if self.group.question:
            table.questions.append(self.group.question)
        trial = self._untyped(table, declared)
        if trial.relation is None or not trial.columns:
            self.skipped[self.group.path] = without_values(trial.problem) or "it has no rows"
            return None
        self._typed(table, trial)
        return table

    def _untyped(self, table: DiscoveredTable, declared: Mapping[str, str | None]) -> Trial:
        """Read the files with types as they are; change the dialect where another one reads more."""
        trial = self._trial(table, declared)
        for _ in range(MOST_RENAMES):
            clash = CLASH.search(trial.problem)
            if clash is None:
                break
            table.load.setdefault("columns", {}).setdefault("rename", {})[clash[1]] = clash[2]
            table.reasons["columns"] = "names that would be the same in raw"
            trial = self._trial(table, declared)
        if "columns renames" in trial.problem:  # DuckDB, which reads the rows, takes them for one
            raise LoadError("two of its columns differ in capitals only, which a load cannot rename apart")
        if lost := LACKS.search(trial.problem):
            names = [name for name in lost[1].split(", ") if name]
            table.load["columns"] = {**table.load.get("columns", {}), "exclude": names}
            table.questions.append(
                f"{', '.join(names)}: not in all files, so left out, because a load refuses files that lack a column "
                "of earlier ones; are they gone for good?"
            )
            trial = self._trial(table, declared)
        if trial.problem and table.load["format"] == "csv":
            for other in ({"escape": "\\"}, {"quote": ""}):
                again = self._trial(table, declared, other)
                if again.rows and not again.problem:
                    table.load.update(other)
                    table.reasons.update(dict.fromkeys(other, "without it some rows cannot be read"))
                    return again
        are_footers = " fields instead of " in trial.problem and trial.bad_rows <= len(self.local)
        if trial.bad_rows and (trial.bad_rows <= FEW_BAD_ROWS * trial.rows or are_footers):
            table.load["tolerance"] = trial.bad_rows
            table.reasons["tolerance"] = "as many rows cannot be read, such as lines below the table"
            table.questions.append(
                f"are these {trial.bad_rows} row(s) to be left out? {without_values(trial.problem)}"
            )
        elif trial.problem:
            table.questions.append(f"a load refuses the files as they are: {without_values(trial.problem)}")
        return trial

    def _typed(self, table: DiscoveredTable, trial: Trial) -> None:
        """Find the types, and let the loader check them over all rows; what does not pass stays text."""
        has_texts = table.load["format"] not in ("json", "jsonl", "parquet")
        table.columns = columns_of(table, trial, self.trials.con, has_numbers=has_texts)
        for _ in range(3):
            typed = self._trial(table, self._declared(table))
            failing = set(
                re.findall(COLUMN_IN_MESSAGE.format(re.escape(f"{self.source}.{table.name}")), typed.problem)
            )
            if absent := LACKS.search(typed.problem):
                self._undeclare(table, absent[1].split(", "), trial)
                continue
            loosened = [c for c in table.columns if typed.bad_rows and _raw(trial, c.name) in failing]
            if not loosened:
                break
            for column in loosened:
                table.questions.append(
                    f"{column.name}: not all of its values are {column.data_type}, so it is text"
                )
                column.data_type = "text"
                table.load.get("formats", {}).pop(column.name, None)
        if typed.problem and not trial.problem:
            table.questions.append(f"a load refuses the types: {without_values(typed.problem)}")
        kept = typed if typed.relation and not (typed.problem and not trial.problem) else trial
        is_all = len(self.local) == len(self.group.files) and self.read_bytes >= self.size_bytes
        table.is_whole = is_all
        table.rows = kept.rows if is_all else round(kept.rows * self.size_bytes / max(self.read_bytes, 1))
        table.size_bytes = self.size_bytes
        if not is_all:
            table.questions.append(
                f"looked at {len(self.local)} of {len(self.group.files)} files, {self.read_bytes:,} of "
                f"{self.size_bytes:,} bytes; the rest may have other values"
            )
        set_nullable(table, kept, self.trials.con)
        fill(self.con, self.source, table, kept, self.limits)

    @staticmethod
    def _declared(table: DiscoveredTable) -> dict[str, str | None]:
        return {column.name: column.data_type for column in table.columns if column.data_type}

    @staticmethod
    def _undeclare(table: DiscoveredTable, names: Sequence[str], trial: Trial) -> None:
        """Leave columns undeclared that the first files lack: raw gets them with the first file that has them."""
        table.questions.append(
            f"{', '.join(names)}: only in some files; loaded as text, but not declared, because all files would have "
            "to have what is declared"
        )
        for column in table.columns:
            if _raw(trial, column.name) in names:
                column.data_type = None
                table.load.get("formats", {}).pop(column.name, None)

    def _trial(
        self, table: DiscoveredTable, columns: Mapping[str, str | None], more: Mapping[str, Any] | None = None
    ) -> Trial:
        return self.trials.read(self.trials.table(table.name, {**table.load, **(more or {})}, columns))

    # -- dialect ---------------------------------------------------------------------------------------

    def _dialect(self, form: str, keys: dict[str, Any]) -> dialects.Dialect | None:
        """The format and all that says how the files are written; None for texts without rows or forms."""
        if form in ("parquet", "excel"):
            return dialects.Dialect({"format": form, **keys})
        plain = [f.local for f in self._plain({"format": "csv", **keys}) if f.local.stat().st_size]
        if not plain:
            self.skipped[self.group.path] = "empty, so that its columns are not known yet"
            return None
        whole = plain if self.group.format == "zip" else self.local.values()
        encoding, why, question = dialects.encoding_of_all(whole)
        texts = [dialects.beginning(path, encoding) for path in plain]
        is_text = form == "text"
        form = dialects.text_format(plain[0], encoding) if is_text else form
        if form == "lines" and dialects.json_format(texts[0].lstrip()) == "jsonl":
            form = "jsonl"
        if form == "json":
            form = dialects.json_format(texts[0])
        found = {
            "csv": self._csv,
            "json": self._json,
            "lines": self._lines,
            "jsonl": lambda *_: dialects.Dialect({}),
        }[form](texts, plain)
        if is_text and found.keys.get("pattern") == dialects.ANY_LINE:
            self.skipped[self.group.path] = "plain text: nothing separates fields, and no form of a log fits"
            return None
        if encoding != "utf-8" and why != dialects.MARKED:
            found.keys["encoding"] = encoding
            found.reasons["encoding"] = why
        found.questions += [question] if question else []
        found.keys = {"format": form, **keys, **found.keys}
        return found

    @staticmethod
    def _csv(texts: Sequence[str], plain: Sequence[Path]) -> dialects.Dialect:
        found = dialects.csv_dialect(texts)
        if found.keys.get("delimiter") == ",":
            del found.keys["delimiter"]
        return found

    @staticmethod
    def _lines(texts: Sequence[str], plain: Sequence[Path]) -> dialects.Dialect:
        pattern, name = dialects.log_form(texts)
        found = dialects.Dialect({"pattern": pattern})
        if name:
            found.reasons["pattern"] = f"all lines have the form of a {name}"
        else:
            found.questions.append(
                "the lines have no form that is known here; write a pattern with a named group per column"
            )
        return found

    @staticmethod
    def _json(texts: Sequence[str], plain: Sequence[Path]) -> dialects.Dialect:
        document = json.loads(plain[0].read_bytes().decode("utf-8-sig"))
        found = dialects.Dialect({})
        paths = sorted(dialects.record_paths(document), key=lambda item: -len(item[1]))
        if paths and paths[0][0]:
            path, records = paths[0]
            found.keys["records"] = ".".join(path)
            found.reasons["records"] = f"a list of {len(records)} objects"
            if others := [".".join(other) for other, _ in paths[1:]]:
                found.questions.append(
                    f"the document also has lists at {', '.join(others)}; are they tables of their own?"
                )
        return found

    def _plain(self, load: Mapping[str, Any]) -> list[Found]:
        """Some of the files, unpacked, as many as decide on the dialect."""
        names = sorted(self.local)
        step = max(len(names) / LOOK_FILES, 1)
        chosen = [names[int(place * step)] for place in range(min(LOOK_FILES, len(names)))]
        table = self.trials.table(self.group.name, {"path": "*", **load}, {})
        plain: list[Found] = []
        for number, name in enumerate(chosen):
            copy = self.scratch / f"{self._number}.{number}"
            shutil.copyfile(self.local[name], copy)
            plain += unpacked(Found(name, name, "", copy, name), table)
        if not plain:
            raise LoadError("there is nothing in it")
        return plain

    @cached_property
    def _number(self) -> int:
        return len(list(self.scratch.iterdir()))


def _raw(trial: Trial, column: str) -> str | None:
    return next((raw for raw, name in trial.names.items() if name == column), None)


def _rows_before_header(rows: Sequence[Sequence[Any]]) -> int:
    """How many rows of a sheet stand before the one that has as many cells as most."""
    filled = [sum(cell != "" for cell in row) for row in rows[:200]]
    widths = [width for width in filled if width]
    if not widths:
        return 0
    usual = max(set(widths), key=lambda width: (widths.count(width), width))
    return next((place for place, width in enumerate(filled) if width >= usual), 0)
