{# A returned row is a settlement date whose order lines do not come from one file, or differ from it in amount. #}
with
    files as (
        select settlement_date, _file, count(*) as line_count, sum(amount) as amount
        from {{ source("marketplace", "settlements_csv") }}
        group by settlement_date, _file
        union all
        select settlement_date, _file, count(*) as line_count, sum(amount) as amount
        from {{ source("marketplace", "settlements_xlsx") }}
        group by settlement_date, _file
    ),

    selected as (
        select
            settlement_date,
            min(file_name) as file_name,
            count(distinct file_name) as file_count,
            count(*) as line_count,
            sum(amount) as amount
        from {{ ref("int_settlement_lines_selected") }}
        group by settlement_date
    ),

    settlement_dates as (select distinct settlement_date from files)

select
    settlement_dates.settlement_date,
    selected.file_count,
    files.amount as file_amount,
    selected.amount as selected_amount
from settlement_dates
left join selected on settlement_dates.settlement_date = selected.settlement_date
left join
    files
    on selected.settlement_date = files.settlement_date
    and selected.file_name = files._file
where
    selected.file_count is distinct from 1
    or files.line_count is distinct from selected.line_count
    or files.amount is distinct from selected.amount
