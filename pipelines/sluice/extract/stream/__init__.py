"""Messages of durable logs: NATS JetStream and Kafka.

A load takes the messages there are when it starts, up to a bound, and acknowledges only after the rows are in raw. The
position to continue at is read from raw itself, never from what the server believes was delivered: after a load that
was killed between the two no message is repeated or skipped.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from sluice.config.declaration import Source, StreamSource, StreamTable, Table
from sluice.extract.contract import ExtractContext, Extraction, each_table


def extract(
    source: Source[StreamSource, StreamTable], tables: Sequence[Table[StreamTable]], context: ExtractContext
) -> Generator[Extraction, None, None]:
    """New messages of every table, one JSON text per row in `_record`, beside where and when the server had them.

    Errors are LoadError, or ConnectionError when the server cannot be reached or refuses the credentials.
    """
    if source.load.protocol == "nats":
        from sluice.extract.stream.nats import extract_table
    else:
        from sluice.extract.stream.kafka import extract_table
    yield from each_table(tables, lambda table: extract_table(source, table, context))
