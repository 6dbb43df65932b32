{# A returned row says that the monthly report and the order lines differ in number or in EUR. #}
with
    report as (
        select sum(line_count) as line_count, sum(net_sales_eur) as net_sales_eur
        from {{ ref("rpt_regional_sales_monthly") }}
    ),

    order_lines as (
        select count(*) as line_count, sum(amount_eur) as net_sales_eur
        from {{ ref("fct_order_lines") }}
    )

select
    report.line_count as report_lines,
    order_lines.line_count as order_lines,
    report.net_sales_eur as report_eur,
    order_lines.net_sales_eur as order_lines_eur
from report
cross join order_lines
where
    coalesce(report.line_count, 0) <> order_lines.line_count
    or report.net_sales_eur is distinct from order_lines.net_sales_eur
