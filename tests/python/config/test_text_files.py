"""Files that commands write for a project's people have the rights that people's files have."""

from __future__ import annotations

from pathlib import Path

from sluice.config.text_files import replace_text
from sluice.system import keep_new_files_private


def test_rights_are_kept_and_a_new_file_is_for_everybody(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept.yml", tmp_path / "models" / "new.sql"
    kept.write_text("a: 1\n")
    kept.chmod(0o600)
    keep_new_files_private()
    replace_text(kept, "a: 2\n")
    replace_text(new, "select 1\n")
    assert [(f.read_text(), f.stat().st_mode & 0o777) for f in (kept, new)] == [
        ("a: 2\n", 0o600),
        ("select 1\n", 0o644),
    ]
    assert sorted(f.name for f in tmp_path.rglob("*") if f.is_file()) == ["kept.yml", "new.sql"]
