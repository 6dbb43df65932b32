"""What a review found, as its reports show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluice.lineage import ROWS
from sluice.review.coverage import Coverage
from sluice.review.data_tests import TestRun
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
    tests: list[TestRun] = field(default_factory=list)
    tests_not_run: list[str] = field(default_factory=list)
    bytes: tuple[int, int] = (0, 0)
    remark: str = ""

    @property
    def compared(self) -> list[TableDiff]:
        """The tables that could be built."""
        return [t for t in self.tables if not t.error]

    @property
    def different(self) -> list[TableDiff]:
        """The tables that were there and differ."""
        return [t for t in self.compared if not t.is_equal and t.rows[0] is not None]

    @property
    def differing(self) -> dict[str, list[str]]:
        """Columns that differ, and `*` where rows do, by the id of each table that was built."""
        return {
            t.id: [c.name.lower() for c in t.columns if c.changed]
            + [ROWS] * bool(t.error or t.rows[0] is None or t.added or t.removed or t.reshaped)
            for t in self.tables
        }

    @property
    def equal(self) -> set[str]:
        """Ids of the tables that were measured to hold what they held."""
        return {t.id for t in self.compared if t.is_equal and t.rows[0] is not None}

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
    unjudged: list[str] = field(default_factory=list)
    """Changed files that cannot change a result, and were not looked at."""
    lint: list[Finding] = field(default_factory=list)
    """Apart from the verdict."""
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    target: str | None = None
    """The environment whose data was compared, unless it is the default."""

    @property
    def verdict(self) -> Level:
        return verdict(self.findings)

    @property
    def command(self) -> str:
        target = f" --target {self.target}" if self.target else ""
        return f"sluice review --base {self.commit[:12] or self.base}{target}"
