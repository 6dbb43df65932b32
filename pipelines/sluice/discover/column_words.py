"""What names of tables and columns say: their words, what they identify, and whether one names the other."""

from __future__ import annotations

import re
from functools import cache

from sluice.config.column_names import normalized

IDENTIFIER_WORDS = frozenset(
    "id ids key code no nr num number uuid guid pk fk sk ref oid iso iso2 iso3 nummer kennung schluessel numero codigo"
    " clave kod identifier".split()
)
GENERIC = IDENTIFIER_WORDS | {
    "name",
    "title",
    "value",
    "label",
    "type",
    "description",
    "text",
    "abbreviation",
}
"""Words that say nothing of what is identified."""
TABLE_NOISE = frozenset("tbl tab t dim fct fact stg src raw table master data mst info".split())
SELF_WORDS = frozenset(
    "parent manager supervisor boss superior mentor predecessor successor previous prev next reportsto reportto root"
    " replyto original duplicateof replacedby referredby referrer belongsto partof leader lead credits corrects"
    " reverses inreplyto ancestor parentid".split()
)
"""Joined words of a column that points to another row of its own table."""
PERSON_WORDS = frozenset(
    "createdby updatedby modifiedby changedby deletedby insertedby approvedby assignedto assignee owner author approver"
    " manager seller sender recipient agent rep salesrep salesperson reviewer driver user creator editor cashier"
    " supportrep operator technician handledby reportedby reporter".split()
)
"""Joined words of a column that points to a person who did or does something."""
MEASURES = frozenset(
    "amount quantity qty price cost total sum value rate discount tax balance score rating weight height width length"
    " size duration percent pct share count hours salary freight stock level units".split()
)
"""Words of columns that measure something and so do not identify it."""
PEOPLE = frozenset("user employee staff person member worker".split())
IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman", "indices": "index"}
PLACES = frozenset(
    "store shop branch warehouse supplier vendor office location venue airport site depot station region city country"
    " restaurant hotel factory plant outlet facility school campus court bank publisher manufacturer"
    " carrier shipper".split()
)
"""Tables of places and firms, whose address is not a person's."""


@cache
def words(name: str) -> tuple[str, ...]:
    """The words of a name in small letters: CustomerID is customer, id."""
    return tuple(word for word in normalized(name.replace(".", "_").replace("[]", "_")).split("_") if word)


@cache
def singular(word: str) -> str:
    """An English plural's singular; other words as they are."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and word != "series":
        return word[:-3] + "y"
    if re.search("(s|x|z|ch|sh)es$", word) and not word.endswith(("uses", "ases", "oses")):
        return word[:-2]
    if word.endswith("uses"):
        return word[:-2] if word[:-2].endswith("us") else word[:-1]
    return word.removesuffix("s")


@cache
def table_stem(table: str) -> str:
    """What one row of the table is, as one word: order_items is orderitem."""
    found = [singular(word) for word in words(table) if word not in TABLE_NOISE] or list(words(table))
    return "".join(found)


@cache
def column_stem(column: str) -> str:
    """What the column identifies, as one word: customer_id and CustomerID are customer; id is empty."""
    name = column.rpartition(".")[2]
    if any(word in IDENTIFIER_WORDS for word in words(name)):
        left = [word for word in words(name) if word not in IDENTIFIER_WORDS]
        return "".join(map(singular, left))
    joined = "".join(words(name))
    return singular(re.sub("(?<=...)(id|key|no|nr|code|uuid|guid)$", "", joined))


@cache
def is_identifier(column: str) -> bool:
    """Whether the name is that of an identifier."""
    name = column.rpartition(".")[2]
    found = words(name)
    return bool(set(found) & IDENTIFIER_WORDS) or (
        len(found) == 1 and re.search("[a-z]{3}(id|key|code|uuid|guid)$", found[0]) is not None
    )


def same_word(one: str, other: str) -> bool:
    """Whether two stems are the same, also in a language whose plural adds a letter or two."""
    if not one or not other:
        return False
    short, long = sorted((one, other), key=len)
    return one == other or (
        len(short) >= 4 and long.startswith(short) and long[len(short) :] in ("n", "en", "e")
    )


def abbreviates(short: str, long: str) -> bool:
    """Whether `short` is `long` with letters left out: cust and dept for customer and department."""
    if len(short) < 3 or len(long) <= len(short) or short[0] != long[0]:
        return False
    letters = iter(long)
    return long.startswith(short) or all(letter in letters for letter in short)


def names_table(column: str, own_table: str, table: str, key: str) -> float:
    """How well `column` of `own_table` is named as a reference to `key` of `table`, from 0 to 1."""
    stem, target, key_stem = column_stem(column), table_stem(table), column_stem(key)
    joined = "".join(words(column.rpartition(".")[2]))
    if set(words(column)) & MEASURES and not is_identifier(column):
        return 0.0
    if own_table == table and (joined in SELF_WORDS or stem in SELF_WORDS):
        return 0.9
    names_the_key = not key_stem or same_word(key_stem, target)
    by_role = _names_person(joined, stem, target, names_the_key)
    if own_table == table:  # another row of the same table: parent_category_id, ReportsToEmployee
        role = stem.removesuffix(target) if stem != target else ""
        return 0.9 if role and names_the_key and role in SELF_WORDS else by_role
    by_row = _names_row(stem, own_table, target, names_the_key)
    return max(by_row, _names_key(column, stem, key, key_stem, target), by_role)


def _names_row(stem: str, own_table: str, target: str, names_the_key: bool) -> float:
    """By the table's name."""
    if not stem or not names_the_key:
        return 0.0
    own = table_stem(own_table)
    if same_word(stem, target) or same_word(own + stem, target):
        return 1.0
    if len(target) >= 3 and stem.endswith(target):
        return 0.9
    if len(stem) >= 4 and target.endswith(stem):
        return 0.75
    if len(target) >= 4 and stem.startswith(target):
        return 0.7
    return 0.65 if abbreviates(stem, target) else 0.0


def _names_key(column: str, stem: str, key: str, key_stem: str, target: str) -> float:
    """By the name of the key's column."""
    names, key_names = words(column.rpartition(".")[2]), words(key.rpartition(".")[2])
    if names == key_names and not set(names) <= GENERIC:
        return 1.0 if same_word(key_stem, target) or target.endswith(key_stem) else 0.8
    if len(key_stem) < 3 or key_stem in GENERIC:
        return 0.0
    return 0.85 if same_word(stem, key_stem) or stem.endswith(key_stem) else 0.0


def _names_person(joined: str, stem: str, target: str, names_the_key: bool) -> float:
    """By what a person does."""
    people = any(target.endswith(word) for word in PEOPLE)
    return 0.75 if names_the_key and people and (joined in PERSON_WORDS or stem in PERSON_WORDS) else 0.0
