"""Wholesale: accounts and invoices in a SaaS with a REST interface (PocketBase).

Collections `accounts` and `invoices`, nested values as JSON. A user who has logged in may read all and write nothing.

The dirt: firms' legal forms and umlauts are spelled differently, VAT ids with blanks, without prefix or missing,
telephone numbers in several formats or missing, e-mail addresses in capitals or missing.
"""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from typing import Any

import duckdb

BATCH = 500  # records per request; a larger one is one longer transaction and no faster


def write(
    world: duckdb.DuckDBPyConnection,
    admin: dict[str, str],
    *,
    date: dt.date,
    previous: dt.date | None,
) -> dict[str, int]:
    """Bring the collections from `previous` (None: empty) to `date`; {"accounts": written, "invoices": written}.

    `admin`: base_url, username, password of a superuser. Records have their ids from the world and are put as a
    whole, so that writing again after a crash changes nothing.
    """
    service = _Service(admin)
    service.ensure_collections()
    counts = {}
    for collection in ("accounts", "invoices"):
        changed = records(world, collection, date=date, previous=previous)
        service.put(collection, changed)
        counts[collection] = len(changed)
    return counts


def records(
    world: duckdb.DuckDBPyConnection, collection: str, *, date: dt.date, previous: dt.date | None
) -> list[dict[str, Any]]:
    """Records of a collection as of `date` that are new or changed since `previous`, the oldest change first."""
    query = {"accounts": _ACCOUNTS, "invoices": _INVOICES}[collection]
    rows = world.cursor().execute(
        f"""
        select to_json(records)::varchar from ({query}) as records
        where $previous::date is null or updated >= strftime($previous::date + 1, '%Y-%m-%d')
        order by updated, id
        """,
        {"date": date, "previous": previous},
    )
    return [json.loads(row) for (row,) in rows.fetchall()]


# An account changes when its firm moves.
_ACCOUNTS = """
    with addresses as (
        select *
        from events.party_addresses
        where known_at < $date::date + interval 1 day
        qualify row_number() over (partition by party_id order by version desc) = 1
    ),

    firms as (
        select
            accounts.*,
            parties.* exclude (party_id, known_at),
            addresses.street,
            addresses.postal_code,
            addresses.city,
            greatest(accounts.known_at, addresses.known_at) as updated_at,
            events.n('wholesale_name', accounts.party_id, 10) as name_style,
            events.n('wholesale_vat', accounts.party_id, 20) as vat_style,
            events.n('wholesale_email', accounts.party_id, 20) as email_style,
            events.n('wholesale_phone', accounts.party_id, 10) as phone_style
        from events.wholesale_accounts as accounts
        inner join events.parties as parties on accounts.party_id = parties.party_id
        inner join addresses on accounts.party_id = addresses.party_id
        where accounts.known_at < $date::date + interval 1 day
    )

    select
        account_id as id,
        account_number,
        case
            when name_style < 2 then upper(name)
            when name_style < 4 then events.fold(name)
            when name_style < 6
                then replace(replace(replace(name, 'GmbH', 'G.m.b.H.'), ' AG', ' A.G.'), 'Ltd', 'Limited')
            else name
        end as name,
        case
            when vat_id is null or vat_style < 1 then ''
            when vat_style < 5 then vat_id[:2] || ' ' || vat_id[3:]
            when vat_style < 8 then vat_id[:5] || ' ' || vat_id[6:8] || ' ' || vat_id[9:]
            when vat_style < 10 then vat_id[3:]
            when vat_style < 12 then lower(vat_id)
            else vat_id
        end as vat_id,
        country_code as country,
        currency,
        {
            name: first_name || ' ' || last_name,
            email: case
                when email_style < 2 then null
                when email_style < 5 then upper(email)
                when email_style < 6 then ' ' || email
                else email
            end,
            phone: case
                when phone is null or phone_style < 2 then null
                when phone_style < 4 then '00' || phone[2:]
                when phone_style < 7 then phone[:3] || ' ' || phone[4:6] || ' ' || phone[7:]
                else phone
            end
        } as contact,
        {street: street, postal_code: postal_code, city: city} as address,
        strftime(known_at, '%Y-%m-%d %H:%M:%S.%gZ') as created,
        strftime(updated_at, '%Y-%m-%d %H:%M:%S.%gZ') as updated
    from firms
"""

_INVOICES = """
    with lines as (
        select
            invoice_id,
            list(
                {
                    line: line,
                    sku: sku,
                    quantity: quantity,
                    unit_price: unit_price::double,
                    discount_pct: discount_pct::double
                }
                order by line
            ) as lines
        from events.wholesale_lines
        group by invoice_id
    ),

    invoices as (
        select
            *,
            coalesce(paid_at < $date::date + interval 1 day, false) as is_paid,
            coalesce(void_known_at < $date::date + interval 1 day, false) as is_void
        from events.wholesale_invoices
        where known_at < $date::date + interval 1 day
    )

    select
        invoices.invoice_id as id,
        invoices.number,
        invoices.account_id as account,
        invoices.document_type,
        invoices.credits,
        case when is_void then 'void' when is_paid then 'paid' else 'open' end as status,
        strftime(invoices.issued_on, '%Y-%m-%d') as issued_on,
        case when is_void then strftime(invoices.voided_on, '%Y-%m-%d') else '' end as voided_on,
        invoices.currency,
        lines.lines,
        strftime(
            greatest(
                known_at, case when is_paid then paid_at end, case when is_void then void_known_at end
            ), '%Y-%m-%d %H:%M:%S.%gZ'
        ) as updated
    from invoices
    inner join lines on invoices.invoice_id = lines.invoice_id
"""

_FOR_USERS = '@request.auth.id != ""'


def _collections() -> list[dict[str, Any]]:
    """Definitions of the collections. The dates are plain fields: PocketBase's own would hold today's."""
    text, many, date = {"type": "text"}, {"type": "json", "maxSize": 1_000_000}, {"type": "date"}
    fields: dict[str, dict[str, dict[str, Any]]] = {
        "accounts": {
            **dict.fromkeys(("account_number", "name", "vat_id", "country", "currency"), text),
            "contact": many,
            "address": many,
            "created": date,
            "updated": date,
        },
        "invoices": {
            "number": text,
            "account": {
                "type": "relation",
                "collectionId": "accounts0000000",
                "maxSelect": 1,
                "required": True,
            },
            "document_type": {"type": "select", "values": ["invoice", "credit_note"], "maxSelect": 1},
            "credits": text,
            "status": {"type": "select", "values": ["open", "paid", "void"], "maxSelect": 1},
            **dict.fromkeys(("issued_on", "voided_on", "currency"), text),
            "lines": many,
            "updated": date,
        },
    }
    return [
        {
            "id": f"{name}0000000",
            "name": name,
            "type": "base",
            "fields": [{"name": field, **options} for field, options in columns.items()],
            "indexes": [f"create index `{name}_updated` on `{name}` (`updated`, `id`)"],
            "listRule": _FOR_USERS,
            "viewRule": _FOR_USERS,
        }
        for name, columns in fields.items()
    ]


class _Service:
    """The few calls to PocketBase that writing needs."""

    def __init__(self, admin: dict[str, str]) -> None:
        self.base_url = admin["base_url"]
        self.token = ""
        login = {"identity": admin["username"], "password": admin["password"]}
        self.token = self.send("POST", "/api/collections/_superusers/auth-with-password", login)["token"]

    def ensure_collections(self) -> None:
        listed = self.send("GET", "/api/collections?perPage=200&fields=name")["items"]
        existing = {collection["name"] for collection in listed}
        for collection in _collections():
            if collection["name"] not in existing:
                self.send("POST", "/api/collections", collection)

    def put(self, collection: str, rows: list[dict[str, Any]]) -> None:
        """Insert or replace, all of a batch or none."""
        url = f"/api/collections/{collection}/records"
        for start in range(0, len(rows), BATCH):
            batch = [{"method": "PUT", "url": url, "body": row} for row in rows[start : start + BATCH]]
            self.send("POST", "/api/batch", {"requests": batch})

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON; RuntimeError with the service's message when it refuses."""
        request = urllib.request.Request(
            self.base_url + path,
            None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": self.token},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            raise RuntimeError(f"PocketBase refused {method} {path} with {error.code}: {said}") from error
