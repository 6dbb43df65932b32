"""What dbt writes when a snapshot first runs: the rows of its query, with the columns that keep history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.sql import quoted

COLUMNS = ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted")
BEGIN = "timestamp '1970-01-01'"
"""When rows begin to be valid where no column says it: the same on both sides of a comparison."""


def first_snapshot(query: str, config: Mapping[str, Any]) -> str:
    """The query of a snapshot's first run; both sides of a review begin their history now, without older versions."""
    named = config.get("snapshot_meta_column_names") or {}
    scd_id, updated_at, valid_from, valid_to, is_deleted = (
        quoted(named.get(name) or name) for name in COLUMNS
    )
    key = config.get("unique_key") or []
    parts = [f"cast({part} as varchar)" for part in ([key] if isinstance(key, str) else key)]
    since = str(config.get("updated_at") or BEGIN) if config.get("strategy") == "timestamp" else BEGIN
    until = config.get("dbt_valid_to_current") or "cast(null as timestamp)"
    added = [
        f"md5(concat_ws('|', {', '.join([*parts, f'cast({since} as varchar)'])})) as {scd_id}",
        f"{since} as {updated_at}",
        f"{since} as {valid_from}",
        f"{until} as {valid_to}",
    ]
    if config.get("hard_deletes") == "new_record":
        added.append(f"'False' as {is_deleted}")
    return f"select *, {', '.join(added)} from ({query})"
