"""Proposes classes of personal data for columns and nested fields, by name and by content.

A name alone is often wrong and content alone often silent, so most classes need both: a name that means it, and values
that could be it. What has a checksum or an unmistakable form is believed without a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from sluice.discover.column_words import PLACES, column_stem, singular, table_stem, words
from sluice.discover.content_checks import prepare, shares
from sluice.discover.contract import DiscoveredSource, Proposal
from sluice.discover.fields import Field, TableFields

Classes = dict[Field, Proposal[str]]

BY_CONTENT = (
    ("email", "email", 0.8, "are e-mail addresses"),
    ("payment", "iban", 0.8, "are IBANs with a right checksum"),
    ("credential", "credential", 0.8, "have the form of hashes or tokens"),
    ("device_id", "hardware", 0.9, "are hardware addresses"),
    ("phone", "international_phone", 0.9, "are international phone numbers"),
    ("tax_id", "vat", 0.8, "are VAT ids"),
)
"""Class, check, needed share, wording: believed whatever the name."""
BY_BOTH = (
    ("email", r"e?mail|e_mail|email_?address|mail_address|correo|courriel", "email", 0.5, 0.9),
    (
        "phone",
        (
            r"((home|work|mobile|cell|office|day|evening|fax)_?)?phone(_?(number|no))?|mobile(_?no)?|tel|telephone|fax"
            r"|cell|telefon|telefono|handy|msisdn|mobil|telefax"
        ),
        "phone",
        0.6,
        0.95,
    ),
    (
        "credential",
        (
            r"password|passwd|pwd|password_?hash|passwort|api_?key|secret|(access|refresh|auth)_?token|token|salt|otp"
            r"|pin_code|private_?key"
        ),
        "any",
        0.5,
        0.9,
    ),
    (
        "birth_date",
        r"dob|birth_?date|birth_?day|date_?of_?birth|geburtsdatum|geburtstag|born|born_on|naissance",
        "any",
        0.5,
        0.95,
    ),
    (
        "tax_id",
        (
            r"vat_?(id|no|nr|number|reg.*)?|vatin|tax_?(id|no|nr|number|code|identifier)|ssn|nino|cpf|cnpj|pesel|bsn|nif"
            r"|ust_?id.*|ust|steuer_?(id|nummer|nr)|national_?id|passport(_?(no|number|nr))?|social_security.*"
            r"|partita_iva|codice_fiscale"
        ),
        "number",
        0.6,
        0.95,
    ),
    (
        "payment",
        (
            r"iban|card_?(number|no|pan)|credit_?card.*|cc_?(number|num|no)|pan|bank_?account.*|account_?iban"
            r"|kontonummer|sort_?code|routing_?number|cvv|cvc"
        ),
        "any",
        0.5,
        0.9,
    ),
    (
        "device_id",
        r"ip|ip_?addr(ess)?|client_?ip|remote_?(ip|addr(ess)?)|ipv[46]|user_?ip",
        "network",
        0.6,
        0.97,
    ),
    (
        "device_id",
        (
            r"mac|mac_?addr(ess)?|imei|imsi|visitor_?id|session_?id|cookie(_?id)?|advertising_?id|idfa|gaid|user_?agent"
            r"|(browser_?|device_?)fingerprint|anonymous_?id"
        ),
        "any",
        0.5,
        0.8,
    ),
    (
        "name",
        (
            r"((first|last|full|given|family|middle|maiden|sur|fore|christian|legal|display|nick)_?name|surname|vorname"
            r"|nachname|prenom|nom_de_famille|apellidos?|cognome|imie|nazwisko|voornaam|achternaam"
            r"|contact_?(name|person)|initials)(_[a-z0-9]+)?"
        ),
        "letters",
        0.6,
        0.95,
    ),
)
"""Class, name, check, needed share, confidence: the name means it and the values could be it."""
STREETS = re.compile(
    r"(street|strasse|strase|addr|address|addr(ess)?_?(line)?_?[1-4]|street_?(address|name|number)?|house_?(number|no)|adresse"
    r"|direccion|indirizzo|rue|calle|full_?address|hausnummer)"
)
POSTCODES = re.compile(r"(zip|zip_?code|post_?code|postal_?code|plz|postal|postleitzahl|cap|codigo_postal)")
TOWNS = re.compile(r"(city|town|ort|stadt|ville|ciudad|citta|suburb|municipality|village)")
ROLES = re.compile(
    r"^(ship(ping|_?to)?|bill(ing|_?to)?|delivery|home|mail(ing)?|work|customer|buyer|recipient|sender|contact"
    r"|invoice|to|from|primary|residential)"
    r"(_(?=.)|(?=(street|str|address|addr|city|town|zip|post|plz|name)))"
)
"""What stands before a part of an address."""
PERSONS = frozenset(
    "customer client buyer user employee staff member contact person people patient student teacher passenger guest"
    " subscriber visitor lead applicant candidate author player driver doctor physician owner tenant resident citizen"
    " donor volunteer attendee participant speaker recipient seller agent borrower cardholder policyholder kunde"
    " mitarbeiter persona personne actor nurse instructor trainer rider".split()
)
"""Tables of people, and columns that refer to them."""
FIRMS = frozenset(
    "company firm business organization organisation account supplier vendor partner brand".split()
)
CONTACT = {"name", "email", "phone"}


@dataclass(frozen=True)
class _Context:
    """What a table is about."""

    stem: str
    is_people: bool
    is_place: bool
    refers_to_people: bool


def propose(
    con: duckdb.DuckDBPyConnection, source: DiscoveredSource, fields: Mapping[str, TableFields]
) -> Classes:
    """Set `data_class` of the source's columns; return the classes of nested fields and columns."""
    prepare(con)
    classes: Classes = {}
    for table in source.tables:
        if table.name in fields:
            found = _table(con, fields[table.name])
            classes |= found
            for column in table.columns:
                if column.data_class and (field := fields[table.name].column(column.name)):
                    classes[field] = column.data_class
                column.data_class = column.data_class or _whole(column.name, found)
    return classes


def _table(con: duckdb.DuckDBPyConnection, table: TableFields) -> Classes:
    looked_at = [
        field
        for field in table.fields
        if field.kind in ("text", "date", "timestamp")
        or (field.kind == "integer" and (field.is_text or _is_long(field)))
    ]
    counted = shares(con, looked_at)
    content = {field: counted.get(field, (0, dict[str, float]())) for field in looked_at}
    classes: Classes = {}
    for field, (seen, passed) in content.items():
        if proposal := _by_content(field, seen, passed) or _by_both(field, seen, passed):
            classes[field] = proposal
    context = _context(table, classes)
    for field, (seen, passed) in content.items():
        if field not in classes and (proposal := _by_table(field, seen, passed, context, classes)):
            classes[field] = proposal
    for field, (seen, passed) in content.items():
        if field not in classes and (proposal := _town(field, seen, passed, classes)):
            classes[field] = proposal
    return classes


def _is_long(field: Field) -> bool:
    """A number that could be that of a phone or card."""
    return field.highest is not None and field.highest >= 10**6


def _name(field: Field) -> str:
    return "_".join(words(field.name.rpartition(".")[2]))


def _counted(share: float, seen: int) -> str:
    return f"{100 * share:.0f} % of {seen:,} distinct values"


def _by_content(field: Field, seen: int, passed: Mapping[str, float]) -> Proposal[str] | None:
    if not passed or (field.kind != "text" and not field.is_text):
        return None
    for data_class, check, needed, meaning in BY_CONTENT:
        if passed[check] >= needed and seen >= 3:
            return Proposal(data_class, f"{_counted(passed[check], seen)} {meaning}", 0.97)
    if passed["card"] >= 0.9 and seen >= 10:
        return Proposal(
            "payment", f"{_counted(passed['card'], seen)} are card numbers with a right checksum", 0.97
        )
    if passed["network"] >= 0.9 and seen >= 10 and "version" not in words(field.name):
        return Proposal("device_id", f"{_counted(passed['network'], seen)} are IP addresses", 0.95)
    return None


def _by_both(field: Field, seen: int, passed: Mapping[str, float]) -> Proposal[str] | None:
    name = ROLES.sub("", _name(field)) if not _name(field).startswith("contact_") else _name(field)
    for data_class, pattern, check, needed, confidence in BY_BOTH:
        is_named = (
            re.fullmatch(pattern, name)
            or re.fullmatch(rf"\w+_({pattern})", name)
            or re.fullmatch(pattern, _name(field))
        )
        is_time = field.kind in ("date", "timestamp")
        if not is_named or (
            (data_class == "birth_date") != is_time and not (data_class == "birth_date" and not seen)
        ):
            continue
        if not seen:
            return Proposal(data_class, "by its name; no value to look at", min(confidence, 0.8))
        if passed[check] >= needed:
            could = "named so" if check == "any" else f"named so; {_counted(passed[check], seen)} could be it"
            return Proposal(data_class, could, confidence)
    return None


def _context(table: TableFields, classes: Classes) -> _Context:
    stem = table_stem(table.table.name)
    last = singular((words(table.table.name) or ("",))[-1])
    is_place = last in PLACES or stem in PLACES
    is_people = not is_place and any(
        stem == word or last == word or stem.startswith(word) for word in PERSONS
    )
    refers = any(column_stem(f.name) in PERSONS or set(words(f.name)) & PERSONS for f in table.fields)
    personal = any(p.value in ("email", "name", "phone", "birth_date") for p in classes.values())
    return _Context(stem, is_people, is_place, refers or personal)


def _by_table(
    field: Field, seen: int, passed: Mapping[str, float], context: _Context, classes: Classes
) -> Proposal[str] | None:
    """What depends on whose name or address it is."""
    if not field.is_text or not seen:
        return None
    name = _name(field)
    if proposal := _name_of(field, name, seen, passed, context, classes):
        return proposal
    part, siblings = ROLES.sub("", name), _siblings(field, classes)
    nested_address = field.is_nested and any(
        w in ("address", "addr") for w in words(field.name.rpartition(".")[0])
    )
    personal = (
        context.refers_to_people
        or context.is_people
        or siblings
        or "address" in context.stem
        or nested_address
    )
    if context.is_place or not personal:
        return None
    if STREETS.fullmatch(part) and passed["street"] >= 0.3:
        return Proposal("address", f"named so; {_counted(passed['street'], seen)} could be it", 0.93)
    if POSTCODES.fullmatch(part) and passed["postal"] >= 0.6:
        return Proposal("address", f"named so; {_counted(passed['postal'], seen)} could be it", 0.93)
    return None


def _siblings(field: Field, classes: Classes) -> bool:
    """Whether a name, an e-mail address or a phone number is beside a nested field."""
    above = field.name.rpartition(".")[0]
    return bool(above) and any(
        other.table == field.table and other.name.rpartition(".")[0] == above and p.value in CONTACT
        for other, p in classes.items()
    )


def _name_of(
    field: Field, name: str, seen: int, passed: Mapping[str, float], context: _Context, classes: Classes
) -> Proposal[str] | None:
    """A column that ends with `name`: of a person, a firm, or a thing."""
    parts = name.split("_")
    if passed["letters"] < 0.6:
        return None
    joined = "".join(parts)
    subject = singular(joined.removesuffix("name")) if joined.endswith("name") else ""
    if subject in PERSONS or (joined in PERSONS and passed["person"] >= 0.6):
        return Proposal("name", f"name of a person; {_counted(passed['letters'], seen)} could be it", 0.93)
    if subject in FIRMS or joined in ("company", "firm"):
        if context.is_people or (
            not context.is_place
            and any(
                p.value in ("email", "phone", "tax_id") for f, p in classes.items() if f.table == field.table
            )
        ):
            return Proposal(
                "name", "name of a firm in a table of people; personal where one person is the firm", 0.7
            )
        return None
    if joined != "name":
        role = ROLES.sub("", name) == "name" and context.refers_to_people
        return Proposal("name", "name of who gets it", 0.85) if role else None
    people = context.is_people or _siblings(field, classes)
    if people and passed["person"] >= 0.3:
        return Proposal("name", f"names rows of people; {_counted(passed['person'], seen)} could be it", 0.9)
    if people:
        return Proposal("name", "names rows that may be people", 0.7)
    if field.is_nested or context.is_place or context.stem not in FIRMS:
        return None
    if any(
        p.value in ("email", "phone", "tax_id", "contact")
        for f, p in classes.items()
        if f.table == field.table
    ):
        return Proposal("name", "name of a firm; personal where one person is the firm", 0.7)
    return None


def _town(field: Field, seen: int, passed: Mapping[str, float], classes: Classes) -> Proposal[str] | None:
    """A town counts beside a street or a postal code of the same address."""
    name = _name(field)
    role = name.removesuffix(ROLES.sub("", name))
    above = field.name.rpartition(".")[0]
    beside = any(
        p.value == "address"
        and other.table == field.table
        and other.name.rpartition(".")[0] == above
        and _name(other).startswith(role)
        for other, p in classes.items()
    )
    if beside and seen and TOWNS.fullmatch(ROLES.sub("", name)) and passed["letters"] >= 0.6:
        return Proposal("address", "town beside a street or postal code", 0.92)
    return None


def _whole(column: str, classes: Classes) -> Proposal[str] | None:
    """The class of a column: its own, or that of the fields in it."""
    inside = {field: proposal for field, proposal in classes.items() if field.column == column}
    if own := next((p for field, p in inside.items() if not field.is_nested), None):
        return own
    if not inside:
        return None
    kinds = {proposal.value for proposal in inside.values()}
    data_class = next(iter(kinds)) if len(kinds) == 1 else "contact" if kinds & CONTACT else min(kinds)
    names = ", ".join(sorted(field.name for field in inside))
    return Proposal(data_class, f"holds {names}", min(p.confidence for p in inside.values()))
