"""What a review found, as its reports show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluice.review.coverage import Coverage
from sluice.review.downstream import Reach
from sluice.review.findings import Finding, Level, verdict
from sluice.review.model_changes import Change
from sluice.review.table_diff import TableDiff


@dataclass
class DataReview:
    """All tables that were built and compared; `untouched`: models below a change that it does not reach."""

    tables: list[TableDiff] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    bytes: tuple[int, int] = (0, 0)
    remark: str = ""

    @property
    def compared(self) -> list[TableDiff]:
        """The tables that could be built."""
        return [t for t in self.tables if not t.error]

    @property
    def seconds(self) -> tuple[float, float]:
        return sum(t.seconds[0] for t in self.tables), sum(t.seconds[1] for t in self.tables)


@dataclass
class Review:
    """All a report shows."""

    base: str
    commit: str
    findings: list[Finding] = field(default_factory=list)
    models: list[Change] = field(default_factory=list)
    reach: list[Reach] = field(default_factory=list)
    data: DataReview = field(default_factory=DataReview)
    coverage: tuple[Coverage, Coverage] | None = None
    files: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def verdict(self) -> Level:
        return verdict(self.findings)

    @property
    def command(self) -> str:
        return f"sluice review --base {self.commit[:12] or self.base}"
