"""Whose query runs when: short queries never wait for long ones, and long ones make room by how much each token used.

Every query begins in the short lane, in a process of normal priority. What still runs after SHORT_SECONDS moves to the
long lane and lets short queries have the processor first; there, `Limits.queries` run at once, and one too many ends
the query of the token that used the lane most. A token that used it a lot lately begins there. Tokens that no query has
ended well for have a short lane of their own, so that a crowd of them does not keep out the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sluice.serve.query_process import Limits, QueryError, QueryProcess, QueryTimeoutError

SHORT_SECONDS = 0.3
"""Most queries over published tables take less: measured, 10 to 50 ms."""
SHORT_QUERIES = 4
"""In the short lane at once. More would only wait for processors."""
NEW_QUERIES = 2
"""At once, of tokens that no query has ended well for."""
NEW_SECONDS = 0.05
"""What still runs after this time for such a token lets others have the processor first."""
HEAVY_SECONDS = 0.5
"""Beyond SHORT_SECONDS of each query, within about HALF_LIFE_SECONDS: the token's next ones begin in the long lane."""
HALF_LIFE_SECONDS = 60
"""After this time, half of what a token used is forgotten."""
PENALTY_SECONDS = 2
"""What the end of a process counts for: the next one has to be started."""


@dataclass(eq=False)
class Place:
    """A query in a lane."""

    who: str
    deadline: float
    is_long: bool
    is_new: bool = False
    began: float = field(default_factory=time.monotonic)
    process: QueryProcess | None = None

    @property
    def is_overdue(self) -> bool:
        return not self.is_long and time.monotonic() > self.began + SHORT_SECONDS

    @property
    def lane(self) -> str:
        return "long" if self.is_long else "new" if self.is_new else "short"


class Lanes:
    """The lanes; `watch` is called all the time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self.places: set[Place] = set()
        self._waiting: list[Place] = []
        self._proven: set[str] = set()
        self._ending: QueryError | None = None
        self._used: dict[str, tuple[float, float]] = {}
        """Seconds beyond SHORT_SECONDS of each query, and when they were counted, by token."""

    @contextmanager
    def place(self, who: str, deadline: float) -> Iterator[Place]:
        """A place for one query; raises QueryTimeoutError if none is free until the deadline."""
        with self._changed:
            is_long = self._usage(who) > HEAVY_SECONDS
            place = Place(who, deadline, is_long, is_new=not is_long and who not in self._proven)
            self._waiting.append(place)
            try:
                while (left := deadline - time.monotonic()) > 0 and self._next(place.lane) is not place:
                    self._changed.wait(left)
                    if self._ending:
                        break
                if self._ending or left <= 0:
                    raise self._ending or self.timeout()
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()
            self.places.add(place)
        try:
            yield place
        finally:
            self.leave(place)

    def close(self, why: QueryError) -> None:
        """End all queries, those that wait, too; `watch` ends what begins at this moment."""
        with self._changed:
            self._ending = why
            self._changed.notify_all()
        self.watch()

    def begin(self, place: Place, process: QueryProcess) -> None:
        """Let the time of a query run from now on: the start of a process is not its sender's."""
        place.began, place.process = time.monotonic(), process

    def leave(self, place: Place) -> None:
        """Free a place, once."""
        with self._changed:
            if place in self.places:
                self.places.remove(place)
                self._count(place.who, max(0, time.monotonic() - place.began - SHORT_SECONDS))
                if place.process and not place.process.is_idle:
                    self._count(place.who, PENALTY_SECONDS)
                elif not place.is_long:
                    self._proven.add(place.who)
                self._changed.notify_all()

    def watch(self) -> None:
        """End queries at their deadlines, move those that take long, and end one where too many do."""
        now = time.monotonic()
        with self._changed:
            running = [place for place in self.places if place.process]
            late = [place for place in running if now > place.deadline or self._ending]
            slow = [place for place in running if place.is_overdue]
            new = [place for place in running if place.is_new and now > place.began + NEW_SECONDS]
            for place in slow:
                place.is_long = True
            long = [place for place in running if place.is_long and place not in late]
            long.sort(key=lambda place: self._usage(place.who) + now - place.began, reverse=True)
            ended = long[: max(0, len(long) - self._limits.queries)]
            if slow:
                self._changed.notify_all()
        for place in {*new, *slow, *long} - {*ended}:
            if place.process and not place.process.yields:
                place.process.lower_priority()
        for place in ended:
            self.end(place, QueryError(f"{self._limits.queries} long queries are running already; try again"))
        for place in late:
            self.end(place, self._ending or self.timeout())

    def timeout(self) -> QueryTimeoutError:
        return QueryTimeoutError(f"the query took longer than {self._limits.seconds:g} s")

    def end(self, place: Place, why: QueryError) -> None:
        """End a query and free its place at once: its client may not be reading."""
        if place.process:
            place.process.kill(why)
        self.leave(place)

    def _next(self, lane: str) -> Place | None:
        """Who waits for a lane with a free place and comes first: who used least, then who came first."""
        places = {"long": self._limits.queries, "short": SHORT_QUERIES, "new": NEW_QUERIES}[lane]
        if sum(place.lane == lane for place in self.places) >= places:
            return None
        waiting = [place for place in self._waiting if place.lane == lane]
        return min(waiting, key=lambda place: self._usage(place.who), default=None)

    def _usage(self, who: str) -> float:
        seconds, at = self._used.get(who, (0.0, 0.0))
        return float(seconds * 0.5 ** ((time.monotonic() - at) / HALF_LIFE_SECONDS))

    def _count(self, who: str, seconds: float) -> None:
        self._used[who] = (self._usage(who) + seconds, time.monotonic())
