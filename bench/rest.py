"""A web API: pages of nested records."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.case import (
    HERE,
    BenchError,
    Case,
    Figures,
    Subject,
    Verdict,
    expect,
    over_limit,
    raw_file,
    rows_of,
)

PAGE = 100


class Rest(Case):
    name = "rest"
    work = "100,000 nested records of a web API on this machine, 100 a page, first load"
    target = "2 x limit"

    def prepare(self) -> None:
        self.pages = max(self.count(100_000) // PAGE, 1)
        self.rows = self.pages * PAGE
        port = self.folder / "port"
        port.unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "rest_server.py"), str(self.pages), str(port)]
        )
        self.url = f"http://127.0.0.1:{_read(port)}"

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.terminate()
            self.server.wait(10)

    def subjects(self) -> list[Subject]:
        paginator = {"type": "page_number", "base_page": 1, "total_path": "total_pages"}
        client = {"base_url": self.url, "paginator": paginator}
        endpoint = {"path": "records", "data_selector": "data"}
        return [
            self.limit("pages", url=self.url, pages=self.pages),
            self.sluice(
                {"kind": "rest", "client": client}, {"records": {"primary_key": "id", "endpoint": endpoint}}
            ),
            self.stock("pages", url=self.url),
        ]

    def after(self, subject: Subject, turn: int) -> None:
        table = "main.items" if subject.name == "limit" else "bench.records"
        expect(f"rows of {subject.name}", rows_of(raw_file(subject), table), self.rows)

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 2.0)]


def _read(port: Path, seconds: float = 30) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if port.exists() and (text := port.read_text(encoding="utf-8")).endswith("\n"):
            return text.strip()
        time.sleep(0.05)
    raise BenchError("the web API did not start")


CASES = (Rest,)
