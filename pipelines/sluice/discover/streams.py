"""NATS JetStream and Kafka: subjects and topics with the fields of their messages; no consumer of others is disturbed.

Messages are read by consumers that exist only meanwhile and acknowledge nothing, and from work queues one by one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb

from sluice.config.connections import Connections
from sluice.config.declaration import Start, Table
from sluice.discover.column_findings import columns_of, set_nullable, without_values
from sluice.discover.contract import DiscoveredSource, DiscoveredTable, Limits, Target, distinct_names
from sluice.discover.declared_tables import add_declared
from sluice.discover.file_groups import table_name
from sluice.discover.trial_load import Trial, TrialLoads, fill
from sluice.errors import UsageError
from sluice.extract.contract import JsonRecords, Messages

LOOK_SUBJECTS = 300
"""Subjects of a stream whose last message is looked at."""
QUEUE_MESSAGES = 500
"""Messages looked at of a stream that removes what is acknowledged: they are fetched one by one."""
WINDOWS = 10
"""Places of a long stream, from its first message to its last, at which messages are read."""


@dataclass(frozen=True)
class _Subjects:
    """Subjects of one stream, or one topic, whose messages have the same fields."""

    name: str
    load: dict[str, Any]
    messages: int
    reason: str = ""


def discover_stream(
    target: Target,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    root: Path,
    connections: Connections,
) -> DiscoveredSource:
    """The subjects of `nats://host:4222[/subject]` or topics of `kafka://host:9092[/topic]`, with messages in `con`.

    Raises ConnectionError where the server cannot be reached, UsageError if it has no such subject or topic.
    """
    name = target.name
    protocol, keys, only = _parts(target.address)
    if target.connection is None:
        connections.give(name, keys)
    load = {"kind": "stream", "protocol": protocol, "connection": target.connection_name}
    source = DiscoveredSource(name, load, [], {} if target.connection else keys)
    trials = TrialLoads(name, load, connections, root)
    with trials.opened():
        declared = target.declared.declared if target.declared else ()
        reader = (_Nats if protocol == "nats" else _Kafka)(trials, limits, only, declared)
        new = reader.found(source.skipped)
        if target.declared:
            there = replace(target.declared, declared=tuple(t for t in declared if t.name in reader.known))
            add_declared(source, there, trials, con, limits, reader.read_declared)
        names = distinct_names([found.name for found in new], (table.name for table in declared))
        for subjects in (replace(found, name=own) for found, own in zip(new, names, strict=True)):
            if limits.tables and not any(Path(subjects.name).match(pattern) for pattern in limits.tables):
                continue
            if table := _table(subjects, reader.read(subjects), trials, source):
                fill(con, name, table, reader.trial, limits)
                source.tables.append(table)
    if not source.tables and not target.declared:
        why = (
            "; ".join(f"{what}: {reason}" for what, reason in source.skipped.items()) or "it has no messages"
        )
        raise UsageError(f"{_shown(target.address)} has no messages that a load reads ({why})")
    return source


def _parts(address: str) -> tuple[str, dict[str, str], str]:
    """The protocol, the keys of the connection, and the subject or topic, if the address names one."""
    parts = urlsplit(address)
    only = unquote(parts.path.strip("/"))
    if parts.scheme == "kafka":
        if "@" in parts.netloc:
            raise UsageError(
                "write the address of Kafka without user and password; sasl_username and sasl_password are keys of the "
                "connection, beside bootstrap_servers"
            )
        return "kafka", {"bootstrap_servers": parts.netloc}, only
    return "nats", {"url": f"{parts.scheme}://{parts.netloc}"}, only


def _shown(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _table(
    subjects: _Subjects, trial: Trial, trials: TrialLoads, source: DiscoveredSource
) -> DiscoveredTable | None:
    table = DiscoveredTable(subjects.name, [], None, rows=subjects.messages, load=dict(subjects.load))
    if subjects.reason:
        table.reasons["subject" if "subject" in table.load else "stream"] = subjects.reason
    if trial.relation is None or not trial.rows:
        source.skipped[subjects.name] = without_values(trial.problem) or "it has no messages"
        return None
    table.is_whole = trial.rows + trial.bad_rows == subjects.messages
    table.columns = columns_of(table, trial, trials.con, has_numbers=False)
    set_nullable(table, trial, trials.con)
    if trial.bad_rows:
        table.questions.append(
            f"{trial.bad_rows} of {trial.rows + trial.bad_rows} messages are not JSON objects; a load refuses them "
            "unless `tolerance` allows their number"
        )
    return table


@dataclass
class _Reader:
    """Reads messages on trial."""

    trials: TrialLoads
    limits: Limits
    only: str
    """The subject, stream or topic that the address names; empty: all."""
    declared: Sequence[Table[Any]] = ()
    """Tables that the source has already; their messages are not looked at as new ones."""
    known: dict[str, _Subjects] = field(default_factory=dict)
    """Of the declared tables, by name, those whose stream or topic is there."""
    trial: Trial = field(default_factory=Trial)
    """What was read last."""

    def read(self, subjects: _Subjects) -> Trial:
        """Messages of these subjects: all, or some of every part of the stream."""
        self.trial = self._read(subjects, self.trials.table(subjects.name, subjects.load, {}))
        return self.trial

    def read_declared(self, table: Table[Any]) -> Trial:
        """Messages of a declared table, with its columns; its consumer is not used."""
        subjects = self.known[table.name]
        return self._read(subjects, table) if subjects.messages else Trial()

    def _read(self, subjects: _Subjects, table: Table[Any]) -> Trial:
        raise NotImplementedError


class _Nats(_Reader):
    """Streams of JetStream; a table for the subjects of a stream that have the same fields."""

    def found(self, skipped: dict[str, str]) -> list[_Subjects]:
        """The subjects that have messages; streams without any are in `skipped`."""
        return asyncio.run(self._retried(partial(self._found, skipped)))

    def _read(self, subjects: _Subjects, table: Table[Any]) -> Trial:
        return self.trials.stage(
            asyncio.run(self._retried(partial(self._records, subjects, table))), self.trials.context()
        )

    async def _retried(self, act: Any) -> Any:
        from sluice.extract.stream.nats_connection import BROKEN, Connection

        table = self.trials.table("discover", {"stream": "discover"}, {})
        source = self.trials.source(table)
        self._connection = Connection(source.load.connection, table, self.trials.context())
        try:
            return await self._connection.retried(act)
        except BROKEN as error:
            raise self._connection.failure(error) from None

    async def _found(self, skipped: dict[str, str]) -> list[_Subjects]:
        from nats.js.errors import ServiceUnavailableError

        async with self._connection.opened() as client:
            js = client.jetstream(domain=self._connection.keys.get("domain"))
            try:
                streams = await js.streams_info()
            except ServiceUnavailableError:
                raise UsageError(
                    "the server runs without JetStream, so it keeps no messages to load"
                ) from None
            found: list[_Subjects] = []
            for info in streams:
                stream = str(info.config.name)
                if stream.startswith(("KV_", "OBJ_", "$")):
                    skipped[stream] = "a store of the server's clients, not a stream of messages"
                    continue
                detail = await js.stream_info(stream, subjects_filter=">")
                counts = {s: int(n) for s, n in (detail.state.subjects or {}).items()}
                if self.only and self.only != stream:
                    counts = {subject: n for subject, n in counts.items() if covers(self.only, subject)}
                    if not counts:
                        continue
                taken = self._declared_of(stream, counts)
                if taken is not None:
                    counts = {subject: n for subject, n in counts.items() if subject not in taken}
                    if not counts:
                        continue
                if not counts:
                    skipped[stream] = "it has no messages, so that their fields are not known"
                    continue
                shapes = {}
                for subject in sorted(counts)[:LOOK_SUBJECTS]:
                    message = await js.get_last_msg(stream, subject)
                    shapes[subject] = _fields(message.data or b"")
                found += _grouped(stream, counts, shapes, taken or ())
            return found

    def _declared_of(self, stream: str, counts: Mapping[str, int]) -> set[str] | None:
        """Subjects of a stream that declared tables read, which are then known; None if no table reads the stream."""
        tables = [table for table in self.declared if table.load.stream in (None, stream)]
        taken: set[str] = set()
        for table in tables:
            own = {subject for subject in counts if covers(table.load.subject or ">", subject)}
            if own or table.load.stream:
                messages = sum(counts[subject] for subject in own)
                self.known[table.name] = _Subjects(table.name, {"stream": stream}, messages)
            taken |= own
        return taken if tables and (taken or any(table.load.stream for table in tables)) else None

    async def _records(self, subjects: _Subjects, table: Table[Any]) -> JsonRecords:
        from nats.js.api import RetentionPolicy

        async with self._connection.opened() as client:
            js = client.jetstream(domain=self._connection.keys.get("domain"))
            info = await js.stream_info(subjects.load["stream"])
            if info.config.retention == RetentionPolicy.LIMITS:
                return await self._consumed(client, js, table, info, subjects.messages)
            return await self._looked_up(js, table, info)

    async def _consumed(self, client: Any, js: Any, table: Any, info: Any, messages: int) -> JsonRecords:
        """Messages by a consumer that acknowledges nothing and ends with this call."""
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        from sluice.extract.stream.nats import IDENTITY
        from sluice.extract.stream.nats_fetch import Fetch

        is_whole = messages <= self.limits.whole_rows
        count = messages if is_whole else self.limits.sample_rows // WINDOWS
        first, last = int(info.state.first_seq), int(info.state.last_seq)
        relations, is_exact = [], True
        for window in range(1 if is_whole else WINDOWS):
            context = self.trials.context()
            config = ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                filter_subject=table.load.subject,
                inactive_threshold=60.0,
                mem_storage=True,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(first + window * (last - first) // WINDOWS, 1),
            )
            consumer = await js.add_consumer(info.config.name, config)
            wanted = min(consumer.num_pending or 0, count)
            fetch = Fetch(self._connection, client, table, context, is_queue=False)
            buffer, _ = await fetch.messages(consumer.name, wanted, None)
            await js.delete_consumer(info.config.name, consumer.name)
            buffer.close()
            if buffer.rows:
                found = buffer.extracted(table)
                relations.append(self.trials.kept(found.relation))
                is_exact = is_exact and found.is_exact
                buffer.release()
        relation = " union ".join(relations) or "select null as _record where false"
        return JsonRecords(table=table, relation=relation, origin=Messages(IDENTITY), is_exact=is_exact)

    async def _looked_up(self, js: Any, table: Any, info: Any) -> JsonRecords:
        """Messages one by one, by their sequence: a work queue would remove what a consumer gets."""
        from nats.js.errors import NotFoundError

        first, last = int(info.state.first_seq), int(info.state.last_seq)
        step = max((last - first + 1) / QUEUE_MESSAGES, 1)
        texts: dict[int, str] = {}
        for place in range(min(QUEUE_MESSAGES, last - first + 1)):
            try:
                message = await js.get_msg(info.config.name, seq=first + int(place * step))
            except NotFoundError:
                continue
            if table.load.subject is None or covers(table.load.subject, message.subject):
                texts[int(message.seq or 0)] = (message.data or b"").decode("utf-8", "backslashreplace")
        return JsonRecords(table=table, relation=self.trials.texts(texts.values()))


class _Kafka(_Reader):
    """Topics; those of the brokers themselves are left out."""

    def found(self, skipped: dict[str, str]) -> list[_Subjects]:
        """The topics that have messages; those without any are in `skipped`."""
        from confluent_kafka import KafkaException, TopicPartition

        from sluice.extract.stream.kafka import ANSWER_SECONDS, TopicLoad

        table = self.trials.table(
            "discover", {"topic": self.only or "discover", "consumer": "sluice_discover"}, {}
        )
        load = TopicLoad(self.trials.source(table), table, self.trials.context())
        consumer = load.consumer()
        self._ends: dict[str, int] = {}
        found = []
        try:
            for topic, info in sorted(consumer.list_topics(timeout=ANSWER_SECONDS).topics.items()):
                if topic.startswith("_") or (self.only and topic != self.only) or info.error is not None:
                    continue
                bounds = [
                    consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)
                    for number in info.partitions
                ]
                messages = sum(high - low for low, high in bounds)
                self._ends[topic] = max(high for _, high in bounds)
                if known := [table for table in self.declared if table.load.topic == topic]:
                    here = _Subjects(topic, {"topic": topic}, messages)
                    self.known |= {table.name: here for table in known}
                    continue
                if not messages:
                    skipped[topic] = "it has no messages, so that their fields are not known"
                    continue
                found.append(_Subjects(table_name(topic), {"topic": topic}, messages))
        except KafkaException as error:
            raise load.failure(error) from None
        finally:
            consumer.close()
        return found

    def _read(self, subjects: _Subjects, table: Table[Any]) -> Trial:
        """No offset is committed."""
        is_whole = subjects.messages <= self.limits.whole_rows
        most = self.limits.whole_rows if is_whole else self.limits.sample_rows // WINDOWS
        end = self._ends[table.load.topic]
        records = []
        for window in range(1 if is_whole else WINDOWS):
            start = None if is_whole else Start(sequence=window * end // WINDOWS)
            keys = {"consumer": "sluice_discover", "max_messages": most, "start": start}
            records += self.trials.records(replace(table, load=table.load.model_copy(update=keys)))
        relation = " union ".join(one.relation for one in records)
        if not relation:
            return Trial(problem="no message could be read")
        is_exact = all(one.is_exact for one in records)
        return self.trials.stage(
            replace(records[0], relation=relation, is_exact=is_exact), self.trials.context()
        )


def _fields(payload: bytes) -> frozenset[str] | None:
    """The keys of a message; None if it is not a JSON object."""
    try:
        value = json.loads(payload)
    except ValueError:
        return None
    return frozenset(value) if isinstance(value, dict) else None


def _grouped(
    stream: str, counts: dict[str, int], shapes: dict[str, frozenset[str] | None], taken: Iterable[str]
) -> list[_Subjects]:
    """Subjects with as many parts and mostly the same fields, if one filter takes them and no others, as `taken`."""
    groups: list[list[str]] = []
    for subject, fields in sorted(shapes.items()):
        near = next(
            (g for g in groups if _alike(shapes[g[0]], fields) and _parts_of(g[0]) == _parts_of(subject)),
            None,
        )
        if near is None:
            groups.append([subject])
        else:
            near.append(subject)
    if len(groups) == 1 and not taken:
        return [_Subjects(table_name(stream), {"stream": stream}, sum(counts.values()), _shared(groups[0]))]
    split = [part for group in groups for part in _separable(group, [*shapes, *taken])]
    found = []
    for group in split:
        pattern = _filter(group)
        words = [word for word in pattern.split(".") if word != "*"]
        messages = sum(n for subject, n in counts.items() if covers(pattern, subject))
        load = {"stream": stream, "subject": pattern}
        found.append(_Subjects(table_name(" ".join(words[-2:])), load, messages, _shared(group)))
    return found


def _shared(group: Sequence[str]) -> str:
    return f"{len(group)} subjects whose messages have the same fields" if len(group) > 1 else ""


def _separable(group: list[str], shapes: Iterable[str]) -> list[list[str]]:
    """The group, or its subjects one by one where its filter would take others, too."""
    others = [subject for subject in shapes if subject not in group]
    return [[subject] for subject in group] if any(covers(_filter(group), s) for s in others) else [group]


def _alike(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    """Whether messages have at least half of their fields in common."""
    if one is None or other is None:
        return one is other
    return len(one & other) * 2 >= len(one | other)


def _parts_of(subject: str) -> int:
    return subject.count(".")


def _filter(group: Sequence[str]) -> str:
    """The filter of some subjects: what they share, and `*` for what differs."""
    parts = zip(*(subject.split(".") for subject in group), strict=True)
    return ".".join(part[0] if len(set(part)) == 1 else "*" for part in parts)


def covers(pattern: str, subject: str) -> bool:
    """Whether a filter of NATS takes a subject."""
    wanted, parts = pattern.split("."), subject.split(".")
    for place, part in enumerate(wanted):
        if part == ">":
            return len(parts) > place
        if place >= len(parts) or part not in ("*", parts[place]):
            return False
    return len(wanted) == len(parts)
