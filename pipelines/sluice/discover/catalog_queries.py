"""What each database's catalog is asked: its tables, their columns, and their keys, in the same columns for all.

tables    schema, name, comment, rows (null: not known), bytes, is a view, may be read, has pages that can be sampled
columns   schema, table, name, nullable, comment, type; in their order
keys      schema, table, kind (p: primary key, u: unique, f: foreign key, i: index), its name, column, and of a foreign
          key schema, table and column there; in their order

`{schemas}` is a condition on the schema `s`. Names of tables and columns are compared as the database has them.
"""

from __future__ import annotations

POSTGRES = {
    "tables": """
        select n.s::text as table_schema, c.relname::text as table_name,
            obj_description(c.oid, 'pg_class') as comment,
            case when c.relkind in ('v', 'f') then null
                when c.relkind = 'p' then (
                    select sum(nullif(leaf.reltuples, -1))::bigint
                    from pg_partition_tree(c.oid) t join pg_class leaf on leaf.oid = t.relid where t.isleaf)
                else nullif(c.reltuples, -1)::bigint end as row_count,
            case when c.relkind = 'p'
                then (select sum(pg_total_relation_size(t.relid))::bigint from pg_partition_tree(c.oid) t)
                else pg_total_relation_size(c.oid) end as size_bytes,
            (c.relkind in ('v', 'm'))::int as is_view,
            has_table_privilege(c.oid, 'select')::int as is_readable, (c.relkind in ('r', 'm'))::int as has_pages
        from pg_class c join (select oid, nspname as s from pg_namespace) n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition and {schemas}
            and has_schema_privilege(n.oid, 'usage')
            and not exists (
                select from pg_depend d
                where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
        order by 1, 2""",
    "columns": """
        select n.s::text as table_schema, c.relname::text as table_name, a.attname::text as column_name,
            (not a.attnotnull)::int as nullable, col_description(c.oid, a.attnum) as comment,
            format_type(a.atttypid, a.atttypmod) as own_type
        from pg_attribute a join pg_class c on c.oid = a.attrelid
            join (select oid, nspname as s from pg_namespace) n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition and {schemas}
            and a.attnum > 0 and not a.attisdropped
        order by 1, 2, a.attnum""",
    "keys": """
        select n.s::text as table_schema, c.relname::text as table_name, k.contype::text as kind,
            k.conname::text as key_name, a.attname::text as column_name, there.nspname::text as other_schema,
            other.relname::text as other_table, b.attname::text as other_column
        from pg_constraint k join pg_class c on c.oid = k.conrelid
            join (select oid, nspname as s from pg_namespace) n on n.oid = c.relnamespace
            cross join lateral unnest(k.conkey, k.confkey) with ordinality as part(here, there, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = part.here
            left join pg_class other on other.oid = k.confrelid
            left join pg_namespace there on there.oid = other.relnamespace
            left join pg_attribute b on b.attrelid = k.confrelid and b.attnum = part.there
        where k.contype in ('p', 'u', 'f') and not c.relispartition and {schemas}
        order by 1, 2, 3, 4, part.place""",
    "indexes": """
        select n.s::text as table_schema, c.relname::text as table_name,
            case when i.indisunique and i.indpred is null and not 0 = any(i.indkey::int[])
                then 'u' else 'i' end as kind,
            x.relname::text as key_name, a.attname::text as column_name, null::text as other_schema,
            null::text as other_table, null::text as other_column
        from pg_index i join pg_class c on c.oid = i.indrelid join pg_class x on x.oid = i.indexrelid
            join (select oid, nspname as s from pg_namespace) n on n.oid = c.relnamespace
            cross join lateral unnest(i.indkey::int[]) with ordinality as part(here, place)
            left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = part.here
        where i.indisvalid and part.place <= i.indnkeyatts and not c.relispartition and {schemas}
        order by 1, 2, 3, 4, part.place""",
}
MYSQL = {
    "tables": """
        select s as table_schema, table_name as table_name,
            case when table_type = 'VIEW' then null else table_comment end as comment,
            table_rows as row_count, data_length + index_length as size_bytes,
            case when table_type = 'VIEW' then 1 else 0 end as is_view, 1 as is_readable, 0 as has_pages
        from (select t.*, table_schema as s from information_schema.tables t) t
        where {schemas} and table_type in ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') order by 1, 2""",
    "columns": """
        select s as table_schema, table_name as table_name, column_name as column_name,
            case when is_nullable = 'YES' then 1 else 0 end as nullable, column_comment as comment,
            column_type as own_type
        from (select t.*, table_schema as s from information_schema.columns t) c
        where {schemas} order by s, table_name, ordinal_position""",
    "keys": """
        select s as table_schema, table_name as table_name,
            case when index_name = 'PRIMARY' then 'p' when non_unique = 0 then 'u' else 'i' end as kind,
            index_name as key_name, column_name as column_name, null as other_schema, null as other_table,
            null as other_column
        from (select t.*, table_schema as s from information_schema.statistics t) i
        where {schemas} order by s, table_name, index_name, seq_in_index""",
    "foreign": """
        select s as table_schema, table_name as table_name, 'f' as kind, constraint_name as key_name,
            column_name as column_name, referenced_table_schema as other_schema,
            referenced_table_name as other_table, referenced_column_name as other_column
        from (select t.*, table_schema as s from information_schema.key_column_usage t) k
        where {schemas} and referenced_table_name is not null
        order by s, table_name, constraint_name, ordinal_position""",
}
SQLITE = {
    "tables": """
        select '' as table_schema, m.name as table_name, null as comment,
            null as row_count, null as size_bytes, m.type = 'view' as is_view, 1 as is_readable, 0 as has_pages
        from sqlite_master m join pragma_table_list l on l.name = m.name and l.schema = 'main'
        where l.type <> 'shadow' and m.name not like 'sqlite!_%' escape '!' order by 2""",
    "columns": """
        select '' as table_schema, m.name as table_name, x.name as column_name,
            not (x."notnull" or (x.pk = 1 and upper(x.type) = 'INTEGER')) as nullable, null as comment,
            x.type as own_type
        from sqlite_master m join pragma_table_xinfo(m.name) x
        where m.type = 'table' and m.name not like 'sqlite!_%' escape '!' and x.hidden <> 1 order by m.name, x.cid""",
    "keys": """
        select '' as table_schema, m.name as table_name, 'p' as kind, 'primary key' as key_name,
            x.name as column_name, null as other_schema, null as other_table, null as other_column
        from sqlite_master m join pragma_table_xinfo(m.name) x
        where m.type = 'table' and x.pk > 0 order by m.name, x.pk""",
    "indexes": """
        select '' as table_schema, m.name as table_name,
            case when l."unique" = 1 and l.partial = 0
                and not exists (select 1 from pragma_index_info(l.name) e where e.name is null)
                then 'u' else 'i' end as kind,
            l.name as key_name, x.name as column_name, null as other_schema, null as other_table, null as other_column
        from sqlite_master m join pragma_index_list(m.name) l join pragma_index_info(l.name) x
        where m.type = 'table' order by m.name, l.seq, x.seqno""",
    "foreign": """
        select '' as table_schema, m.name as table_name, 'f' as kind, f.id as key_name, f."from" as column_name,
            '' as other_schema, f."table" as other_table, f."to" as other_column
        from sqlite_master m join pragma_foreign_key_list(m.name) f
        where m.type = 'table' order by m.name, f.id, f.seq""",
}
QUERIES = {"postgres": POSTGRES, "mysql": MYSQL, "sqlite": SQLITE}
VIEW_COLUMNS = """
    select '' as table_schema, {view} as table_name, x.name as column_name, 1 as nullable, null as comment,
        x.type as own_type
    from pragma_table_xinfo({view}) x order by x.cid"""
"""Columns of one of SQLite's views: a view that is broken fails alone."""
SYSTEM = {
    "postgres": "s <> 'information_schema' and left(s, 3) <> 'pg_'",
    "mysql": "s = database()",
    "sqlite": "1 = 1",
}
"""Which schemas are looked at where none is named."""
