"""A made-up project of any size, as dbt would describe it: sources, layers of models, tests, reports, history.

Everything follows from the seed, so that figures measured on it can be measured again.
"""

from __future__ import annotations

import random
from typing import Any

WORDS = (
    "account address agent amount balance basket batch branch budget campaign carrier category channel claim click"
    " contract cost country coupon credit currency customer delivery department deposit device discount employee event"
    " fee forecast freight fund gift group guest height income interest invoice item journey label lead ledger letter"
    " license limit location loyalty machine margin market material member message meter mileage offer order origin"
    " package page parcel partner payment payout period person phase plan plant point policy position premium price"
    " process product profile project promise quantity quote rate rating reason receipt record refund region rental"
    " report request reserve return revenue review reward risk role route salary sample schedule score season sector"
    " segment sensor service session shift shipment site skill source stage state station status stock store street"
    " supplier survey target task tax team term ticket tier total trade traffic transfer trip unit usage vendor visit"
    " volume voucher wage warehouse warranty weight yield zone"
).split()
ENDS = ("id", "name", "code", "amount", "count", "at", "date", "eur", "flag", "percent", "number", "kind")
TYPES = {
    "id": "bigint",
    "amount": "decimal(18,2)",
    "eur": "decimal(18,2)",
    "count": "bigint",
    "at": "timestamp",
    "date": "date",
    "flag": "boolean",
    "percent": "double",
    "number": "integer",
}
LAYERS = (("staging", 0.4, "stg"), ("intermediate", 0.35, "int"), ("marts", 0.25, "fct"))


def manifest(models: int = 2_000, columns: int = 20, seed: int = 7) -> dict[str, Any]:
    """dbt's manifest of a project with that many models of that many columns each."""
    chance = random.Random(seed)
    domains = chance.sample(WORDS, 12)
    nodes: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for number in range(max(1, models // 4)):
        system = domains[number % len(domains)]
        name = f"{chance.choice(WORDS)}_{number}"
        key = f"source.large.{system}.{name}"
        sources[key] = _source(key, system, name, _columns(chance, columns))
    above: list[Any] = list(sources.values())
    number = 0
    for layer, share, prefix in LAYERS:
        made = []
        for _ in range(int(models * share)):
            number += 1
            domain = domains[number % len(domains)]
            name = f"{prefix}_{domain}__{chance.choice(WORDS)}_{chance.choice(WORDS)}_{number}"
            parents = chance.sample(above, min(len(above), 1 if layer == "staging" else chance.randint(1, 3)))
            made.append(_model(chance, layer, domain, name, parents, columns))
        nodes |= {node["unique_id"]: node for node in made}
        above = made
    marts = [node for node in nodes.values() if node["fqn"][1] == "marts"]
    for node in list(nodes.values()):
        test = _key_test(node)
        nodes[test["unique_id"]] = test
    exposures = {}
    for index in range(max(1, models // 50)):
        key = f"exposure.large.report_{index}"
        exposures[key] = {
            "unique_id": key,
            "name": f"report_{index}",
            "label": f"Report {index}",
            "type": "dashboard",
            "description": "Read by somebody.",
            "owner": {"name": "Somebody", "email": "somebody@anycompany.example"},
            "depends_on": {"nodes": [node["unique_id"] for node in chance.sample(marts, min(len(marts), 3))]},
        }
    return {
        "metadata": {"project_name": "large", "generated_at": "2026-11-01T00:00:00Z"},
        "nodes": nodes,
        "sources": sources,
        "exposures": exposures,
        "groups": {},
        "unit_tests": {},
    }


def _columns(chance: random.Random, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while len(found) < count:
        end = chance.choice(ENDS)
        name = f"{chance.choice(WORDS)}_{end}" if found else "row_id"
        about = f"{name.replace('_', ' ').capitalize()} of the {chance.choice(WORDS)}, as the {chance.choice(WORDS)} has it."
        meta = {"data_class": "name"} if name == "person_name" else {}
        found[name] = {"name": name, "data_type": TYPES.get(end, "text"), "description": about, "meta": meta}
    return found


def _source(key: str, system: str, name: str, columns: dict[str, Any]) -> dict[str, Any]:
    return {
        "unique_id": key,
        "resource_type": "source",
        "name": name,
        "identifier": name,
        "source_name": system,
        "relation_name": f'"raw"."{system}"."{name}"',
        "description": f"One row per {name}.",
        "columns": columns,
        "database": "raw",
        "schema": system,
        "meta": {},
        "config": {},
        "source_meta": {"owner": "somebody@anycompany.example", "load": {"kind": "database"}},
        "original_file_path": f"sources/{system}.yml",
    }


def _model(
    chance: random.Random, layer: str, domain: str, name: str, parents: list[Any], count: int
) -> dict[str, Any]:
    """A query that computes, joins and filters, so that values and influences are as many as in real models."""
    aliases = [f"t{i}" for i in range(len(parents))]
    columns: dict[str, Any] = {"row_id": {"name": "row_id", "data_type": "bigint", "description": "Key."}}
    selected = ["t0.row_id"]
    fresh = _columns(chance, count * 2)
    while len(columns) < count:
        index = chance.randrange(len(parents))
        column = chance.choice(list(parents[index]["columns"]))
        new = chance.choice(list(fresh)) if chance.random() < 0.5 else column
        if new in columns:
            continue
        source = f"{aliases[index]}.{column}"
        expression = (
            chance.choice((source, source, f"coalesce({source}, t0.row_id)")) if new != column else source
        )
        columns[new] = {**fresh.get(new, parents[index]["columns"][column]), "name": new}
        selected.append(f"{expression} as {new}")
    joins = "".join(
        f"\nleft join {parent['relation_name']} as {alias} on t0.row_id = {alias}.row_id"
        for alias, parent in zip(aliases[1:], parents[1:], strict=True)
    )
    listed = ",\n    ".join(selected)
    sql = f"select\n    {listed}\nfrom {parents[0]['relation_name']} as t0{joins}\nwhere t0.row_id > 0"
    return {
        "unique_id": f"model.large.{name}",
        "resource_type": "model",
        "name": name,
        "alias": name,
        "relation_name": f'"warehouse"."{layer}"."{name}"',
        "fqn": ["large", layer, domain, name],
        "description": f"One row per {name.split('__')[1].replace('_', ' ')}.\n\n**Nuance**: made up.",
        "columns": columns,
        "raw_code": sql,
        "compiled_code": sql,
        "language": "sql",
        "config": {"materialized": "table", "meta": {"owner": "somebody@anycompany.example"}},
        "depends_on": {"nodes": [parent["unique_id"] for parent in parents]},
        "original_file_path": f"models/{layer}/{domain}/{name}.sql",
        "checksum": {"checksum": name},
        "access": "public" if layer == "marts" else "protected",
    }


def _key_test(node: dict[str, Any]) -> dict[str, Any]:
    name = f"primary_key_{node['name']}_row_id"
    return {
        "unique_id": f"test.large.{name}",
        "resource_type": "test",
        "name": name,
        "column_name": "row_id",
        "test_metadata": {"name": "primary_key", "kwargs": {"column_name": "row_id"}},
        "attached_node": node["unique_id"],
        "depends_on": {"nodes": [node["unique_id"]]},
        "config": {},
        "compiled_code": f"select row_id from {node['relation_name']} group by 1 having count(*) > 1",
    }


def profile_of(chance: random.Random, sql_type: str) -> dict[str, Any]:
    """A profile as long as a real one."""
    found: dict[str, Any] = {
        "rows": 123_456,
        "nulls": chance.randint(0, 999),
        "distinct": chance.randint(2, 99_999),
    }
    if sql_type in ("text", "boolean"):
        top = [[f"{chance.choice(WORDS)} {chance.choice(WORDS)}", chance.randint(1, 9_999)] for _ in range(8)]
        return found | {"kind": "text", "lengths": [1, 40], "top": top}
    bins = [chance.randint(0, 9_999) for _ in range(20)]
    return found | {"kind": "number", "low": 1, "high": chance.randint(2, 99_999), "mean": 4.5, "bins": bins}
