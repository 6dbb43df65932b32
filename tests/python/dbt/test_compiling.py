"""When a compile may start from the parse of another revision."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sluice.dbt.compiling import parse_whole_where_macros_differ


@pytest.mark.parametrize(
    ("kind", "changed", "is_whole"), [("Macro", True, True), ("Macro", False, False), ("Model", True, False)]
)
def test_a_changed_macro_lets_dbt_parse_everything(
    monkeypatch: pytest.MonkeyPatch, kind: str, changed: bool, is_whole: bool
) -> None:
    """dbt 1.12 lost tests and grants of a changed model where a macro and a semantic model had changed as well."""
    from dbt.contracts.files import ParseFileType
    from dbt.parser.manifest import ManifestLoader

    loaders: Any = ManifestLoader
    monkeypatch.setattr(loaders, "skip_partial_parsing_because_of_macros", lambda _: False)
    parse_whole_where_macros_differ()
    files = {"shop://a.sql": SimpleNamespace(parse_file_type=ParseFileType[kind])}
    different = ["shop://a.sql"] if changed else []
    parser = SimpleNamespace(
        saved_files=files, new_files={}, file_diff={"changed": [], "added": [], "deleted": different}
    )
    loader = SimpleNamespace(partial_parser=parser)
    assert loaders.skip_partial_parsing_because_of_macros(loader) is is_whole
