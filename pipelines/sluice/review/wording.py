"""Short texts that findings and reports share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def old_and_new(before: Any, after: Any) -> str:
    """`view → table`; a value that is not set is `nothing`."""
    return " → ".join(
        "nothing" if v in (None, "", [], {}) else v if isinstance(v, str) else as_json(v)
        for v in (before, after)
    )


def as_json(value: Any) -> str:
    """The same text for the same content."""
    return json.dumps(value, sort_keys=True, default=str)


def clip(text: str, length: int) -> str:
    """The text, cut off at that length."""
    return text if len(text) <= length else text[: length - 3] + "..."


def other_ones(number: int) -> str:
    """`1 is another one`, `2 are other ones`: rows in the place of others."""
    return f"{number:,} {'is another one' if number == 1 else 'are other ones'}"


def name_of(unique_id: str) -> str:
    """`model.project.orders` -> `orders`; a source table keeps its source's name, `crm.contacts`."""
    parts = unique_id.split(".")
    return ".".join(parts[2:]) if parts[0] == "source" else parts[-1]


def with_old_names(text: str, names: Mapping[str, str]) -> str:
    """The text with the old names of models; `names` maps new to old."""
    for new, old in names.items():
        text = re.sub(rf"\b{re.escape(new)}(?=\b|__)", old, text)
    return text
