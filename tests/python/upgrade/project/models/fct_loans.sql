{# one row per loan #}
with
    fees as (
        select loan_id, sum(amount) as fee from {{ source("fees", "fees") }} group by loan_id
    )

select
    loans.loan_id,
    books.title,
    loans.borrower,
    cast(coalesce(fees.fee, 0) as decimal(18, 2)) as fee
from {{ source("library", "loans") }} as loans
join {{ source("library", "books") }} as books on books.book_id = loans.book_id
left join fees on fees.loan_id = loans.loan_id
