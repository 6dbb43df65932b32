"""The Arrow Flight SQL messages this server speaks, and their wire format (protobuf).

Field numbers are those of Apache Arrow's FlightSql.proto: pyarrow has Flight, but not Flight SQL.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage

PACKAGE = "arrow.flight.protocol.sql"
STRING, BYTES, BOOL, UINT32 = 9, 12, 8, 13
FIELDS: dict[str, list[tuple[str, int]]] = {
    "CommandStatementQuery": [("query", STRING), ("transaction_id", BYTES)],
    "TicketStatementQuery": [("statement_handle", BYTES)],
    "CommandPreparedStatementQuery": [("prepared_statement_handle", BYTES)],
    "ActionCreatePreparedStatementRequest": [("query", STRING), ("transaction_id", BYTES)],
    "ActionCreatePreparedStatementResult": [
        ("prepared_statement_handle", BYTES),
        ("dataset_schema", BYTES),
        ("parameter_schema", BYTES),
    ],
    "ActionClosePreparedStatementRequest": [("prepared_statement_handle", BYTES)],
    "CommandGetCatalogs": [],
    "CommandGetDbSchemas": [("catalog", STRING), ("db_schema_filter_pattern", STRING)],
    "CommandGetTables": [
        ("catalog", STRING),
        ("db_schema_filter_pattern", STRING),
        ("table_name_filter_pattern", STRING),
        ("table_types", -STRING),
        ("include_schema", BOOL),
    ],
    "CommandGetTableTypes": [],
    "CommandGetSqlInfo": [("info", -UINT32)],
}
"""Fields in the order of their numbers, which begin with 1; a negative type means a repeated field."""

CATALOGS = pa.schema([pa.field("catalog_name", pa.utf8(), nullable=False)])
DB_SCHEMAS = pa.schema(
    [pa.field("catalog_name", pa.utf8()), pa.field("db_schema_name", pa.utf8(), nullable=False)]
)
TABLE_TYPES = pa.schema([pa.field("table_type", pa.utf8(), nullable=False)])
TABLES = pa.schema(
    [
        pa.field("catalog_name", pa.utf8()),
        pa.field("db_schema_name", pa.utf8()),
        pa.field("table_name", pa.utf8(), nullable=False),
        pa.field("table_type", pa.utf8(), nullable=False),
    ]
)
TABLES_AND_SCHEMAS = TABLES.append(pa.field("table_schema", pa.binary(), nullable=False))


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="sluice/flight_sql.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, start=1):
            message.field.add(name=field, number=number, type=abs(kind), label=3 if kind < 0 else 1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in FIELDS
    }


_CLASSES = _build()


def unpack(data: bytes) -> tuple[str, Any]:
    """Name and content of a packed message; raises ValueError for one that is not in FIELDS."""
    packed = AnyMessage()
    try:
        packed.ParseFromString(data)
        name = packed.type_url.rpartition(f"/{PACKAGE}.")[2]
        return name, _CLASSES[name].FromString(packed.value)
    except KeyError:
        raise ValueError(
            f"{packed.type_url or 'the message'} is not supported: this server is read-only"
        ) from None
    except Exception:  # protobuf's own error, of a class that depends on its implementation
        raise ValueError("the message is not a Flight SQL command") from None


def pack(name: str, **fields: Any) -> bytes:
    """A message as bytes, wrapped as Flight SQL requires."""
    packed = AnyMessage(
        type_url=f"type.googleapis.com/{PACKAGE}.{name}", value=_CLASSES[name](**fields).SerializeToString()
    )
    return bytes(packed.SerializeToString())


def sql_info(version: str) -> pa.Table:
    """What the server is: name, version, and that it is read-only."""
    facts: dict[int, str | bool] = {0: "Sluice", 1: version, 2: pa.__version__, 3: True}
    texts = [v for v in facts.values() if isinstance(v, str)]
    flags = [v for v in facts.values() if isinstance(v, bool)]
    kinds = [1 if isinstance(v, bool) else 0 for v in facts.values()]
    offsets = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]
    children = [
        pa.array(texts, pa.utf8()),
        pa.array(flags, pa.bool_()),
        pa.array([], pa.int64()),
        pa.array([], pa.int32()),
        pa.array([], pa.list_(pa.utf8())),
        pa.array([], pa.map_(pa.int32(), pa.list_(pa.int32()))),
    ]
    names = [
        "string_value",
        "bool_value",
        "bigint_value",
        "int32_bitmask",
        "string_list",
        "int32_to_int32_list_map",
    ]
    value = pa.UnionArray.from_dense(
        pa.array(kinds, pa.int8()), pa.array(offsets, pa.int32()), children, names
    )
    schema = pa.schema([pa.field("info_name", pa.uint32(), False), pa.field("value", value.type, False)])
    return pa.Table.from_arrays([pa.array(list(facts), pa.uint32()), value], schema=schema)
