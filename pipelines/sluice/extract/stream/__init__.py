"""Messages of durable logs: NATS JetStream and Kafka.

A load takes what is there when it starts, up to a bound, and acknowledges only after the rows are in raw. Where to
go on is read from raw itself, never from what the server believes was delivered: a load that was killed between
the two is then neither repeated nor skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sluice.config.declaration import Source, StreamSource, StreamTable, Table
from sluice.extract.contract import Delivery, Job, each_table


def extract(
    source: Source[StreamSource, StreamTable], tables: Sequence[Table[StreamTable]], job: Job
) -> Iterator[Delivery]:
    """New messages of every table, one JSON text a row in `_record`, beside where and when the server had them.

    Errors are LoadError, or ConnectionError when the server cannot be reached or refuses the credentials.
    """
    if source.load.protocol == "nats":
        from sluice.extract.stream.nats import land
    else:
        from sluice.extract.stream.kafka import land
    yield from each_table(tables, lambda table: land(source, table, job))
