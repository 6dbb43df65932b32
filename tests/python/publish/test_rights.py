"""Who may read the files: their owner, and a group per audience that audiences.yml names; never everyone."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.config.settings import keep_private
from sluice.errors import DeclarationError
from sluice.publish import rotate_key

from .conftest import AUDIENCES, Company


def readable(folder: Path, bits: int = 0o077) -> list[str]:
    """Files that others than their owner may read and reach."""
    files = [p for p in folder.rglob("*") if not p.is_symlink() and p.is_file()]
    closed = {p for p in [folder, *folder.rglob("*")] if p.is_dir() and not p.stat().st_mode & 0o011}
    return sorted(
        str(p.relative_to(folder)) for p in files if p.stat().st_mode & bits and not closed & {*p.parents}
    )


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def group() -> grp.struct_group:
    """A group that this user may give files to."""
    numbers = [g.gr_gid for g in grp.getgrall()] if os.geteuid() == 0 else os.getgroups()
    return next(grp.getgrgid(n) for n in numbers if n != os.getegid())


def test_what_earlier_versions_left_for_everyone_is_tightened(company: Company) -> None:
    company.publish()
    for folder in (company.settings.home, company.settings.target):
        folder.chmod(0o755)
        for path in folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
    company.sql("update marts.dim_customers set name = name || 'x'")
    company.publish()
    assert readable(company.settings.home) == []
    assert [p.name for p in company.settings.target.iterdir() if p.stat().st_mode & 0o077] == []


def test_each_audience_is_read_by_its_group(company: Company, group: grp.struct_group) -> None:
    company.policy(
        AUDIENCES.replace(
            "  - name: dach", f"  - name: dach\n    group: {group.gr_name}\n    format: parquet"
        )
    )
    company.publish()
    current = (company.published / "current").resolve()
    (shared,) = [p for p in current.iterdir() if p.name.startswith(".dach.")]
    assert {stat.S_IMODE(p.stat().st_mode) for p in shared.rglob("*.parquet")} == {0o440}
    assert {p.stat().st_gid for p in [shared, *shared.rglob("*")]} == {group.gr_gid}
    assert stat.S_IMODE(shared.stat().st_mode) == 0o750
    assert stat.S_IMODE((current / "analysts.duckdb").stat().st_mode) == 0o400
    way = [current, current.parent, company.published, company.settings.home]
    assert {stat.S_IMODE(p.stat().st_mode) & 0o077 for p in way} == {0o011}, "passed through, and not listed"
    keep_private(company.settings)
    assert company.settings.home.stat().st_mode & 0o001, "the next load leaves the way open"


def test_a_group_that_is_gone_loses_its_rights(company: Company, group: grp.struct_group) -> None:
    company.policy(AUDIENCES.replace("  - name: support", f"  - name: support\n    group: {group.gr_name}"))
    company.publish()
    assert stat.S_IMODE(company.path("support").stat().st_mode) == 0o440
    company.policy(AUDIENCES)
    company.publish()
    assert readable(company.published) == []
    rotate_key(company.settings, "support")
    assert readable(company.published) == []


def test_an_unknown_group_is_refused(company: Company) -> None:
    company.policy(AUDIENCES.replace("  - name: dach", "  - name: dach\n    group: nobody_has_this"))
    with pytest.raises(DeclarationError, match="dach: this machine has no group 'nobody_has_this'"):
        company.publish()
    assert not (company.published / "current").exists()


def test_a_copy_in_a_folder_is_read_by_the_group(
    company: Company, group: grp.struct_group, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    text = f"  - name: dach\n    group: {group.gr_name}\n    format: parquet\n    to: {copy}"
    company.policy(AUDIENCES.replace("  - name: dach", text))
    company.publish()
    assert {p.stat().st_gid for p in copy.rglob("*")} == {group.gr_gid}
    assert readable(copy, 0o007) == []
    company.policy(AUDIENCES.replace("  - name: dach", text.replace(f"    group: {group.gr_name}\n", "")))
    company.publish()
    assert readable(copy) == []
