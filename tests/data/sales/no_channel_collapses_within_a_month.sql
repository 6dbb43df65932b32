{#
    A returned row is a channel whose last complete month has less than a quarter of the average sales lines of the
    three months before: a load may have brought nothing, or only part of a bucket.

    Only channels with more than 50 lines per month are tested: below that, such a drop can be chance.
#}
with
    order_lines as (
        select
            channel,
            business_date,
            cast(date_trunc('month', business_date) as date) as month_date
        from {{ ref("fct_order_lines") }}
        where kind = 'sale'
    ),

    current_month as (
        select cast(date_trunc('month', max(business_date)) as date) as month_date
        from order_lines
    ),

    channels as (select distinct channel from order_lines),

    counted as (
        select
            channels.channel,
            count(*) filter (
                where
                    order_lines.month_date = current_month.month_date - interval 1 month
            ) as last_lines,
            count(*) filter (
                where
                    order_lines.month_date < current_month.month_date - interval 1 month
                    and order_lines.month_date
                    >= current_month.month_date - interval 4 month
            )
            / 3.0 as usual_lines
        from channels
        inner join order_lines on channels.channel = order_lines.channel
        cross join current_month
        group by channels.channel
    )

select channel, last_lines, usual_lines
from counted
where usual_lines > 50 and last_lines < usual_lines / 4
