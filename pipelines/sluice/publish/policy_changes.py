"""What an old version, or a table held from it, shows that today's policy forbids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sluice.config.audiences import UNCLASSED, Audience, Policy
from sluice.privacy.masks import shown_type
from sluice.publish.versions import PublishedTable, Version


def forbidden_now(old: Version, policy: Policy, newest: Version) -> Iterator[str]:
    """Reasons not to show an old version any more; `newest` has today's grants and data classes."""
    known = {a.name: a for a in policy.audiences}
    for name, published in old.audiences.items():
        now = newest.audiences.get(name)
        if name not in known or now is None:
            yield f"the audience {name} does not exist any more"
            continue
        for table_name, table in published.tables.items():
            if table_name not in now.tables:
                yield f"{name} is not granted {table_name} any more"
            elif now.tables[table_name].condition != table.condition:
                yield f"{name} has another row filter for {table_name}"
            else:
                classes = {column: found[0] for column, found in now.tables[table_name].classed.items()}
                yield from forbidden_columns(table_name, table, known[name], classes)


def forbidden_columns(
    name: str, table: PublishedTable, audience: Audience, classes: Mapping[str, str]
) -> Iterator[str]:
    """Columns of an old table that would be masked differently today; `classes` are today's data classes."""
    for column, data_type in table.columns.items():
        if shown_type(data_type, "clear") != data_type:
            yield f"{audience.name} would see the words of an ENUM, {name}.{column}, that are in no row"
        data_class, treatment = table.classed.get(column, (UNCLASSED, "clear"))
        wanted = audience.treatment(classes.get(column, data_class))
        if wanted != treatment:
            yield f"{audience.name} would see {name}.{column} as {treatment}, not {wanted}"
