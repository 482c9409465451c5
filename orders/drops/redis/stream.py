"""A drop's stream of admitted orders: read by a consumer group, trimmed of what is applied and no more."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from orders.drops.redis.keys import GROUP, keys_of

Fields = dict[str, str]


class Delivered(NamedTuple):
    """An entry as the stream delivers it; `times` counts deliveries, this one included."""

    id: str
    fields: Fields
    times: int


class Stream:
    """One worker's view of one drop's stream. Every method raises `RedisError`."""

    def __init__(self, redis: Any, drop_id: int, consumer: str) -> None:
        self._redis = redis
        self._names = keys_of(drop_id)
        self._name = self._names.stream
        self._consumer = consumer
        self._cursor = "0-0"

    def read(self, count: int) -> list[Delivered]:
        """Entries that nobody has been given yet."""
        try:
            found = self._redis.xreadgroup(GROUP, self._consumer, {self._name: ">"}, count=count)
        except ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            return self.read(count) if self._create_group() else []
        return [Delivered(id, fields or {}, 1) for _name, rows in found or [] for id, fields in rows]

    def claim(self, count: int, *, idle_ms: int) -> list[Delivered]:
        """Entries that another worker was given and has not finished for `idle_ms`: it may be dead."""
        try:
            cursor, rows, *_deleted = self._redis.xautoclaim(
                self._name, GROUP, self._consumer, idle_ms, start_id=self._cursor, count=count
            )
        except ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            return []
        self._cursor = cursor
        if not rows:
            return []
        times = {
            entry["message_id"]: entry["times_delivered"]
            for entry in self._redis.xpending_range(
                self._name, GROUP, rows[0][0], rows[-1][0], count=count * 2, consumername=self._consumer
            )
        }
        return [Delivered(id, fields or {}, times.get(id, 1)) for id, fields in rows if id]

    def done(self, entries: Iterable[tuple[str, str]]) -> None:
        """These (id, number) are in the database, or set aside there: they leave the stream."""
        rows = list(entries)
        if not rows:
            return
        ids = [id for id, _number in rows]
        numbers = [number for _id, number in rows if number]
        pipe = self._redis.pipeline()
        pipe.xack(self._name, GROUP, *ids)
        pipe.xdel(self._name, *ids)
        if numbers:
            pipe.hdel(self._names.orders, *numbers)
        pipe.execute()

    def is_empty(self) -> bool:
        """Nothing unread and nothing pending: whatever was admitted has been applied or set aside."""
        return int(self._redis.xlen(self._name)) == 0

    def leave(self) -> None:
        """A worker that ends takes its name out of the group, unless it leaves something behind."""
        try:
            pending = self._redis.xpending_range(
                self._name, GROUP, "-", "+", count=1, consumername=self._consumer
            )
            if not pending:
                self._redis.xgroup_delconsumer(self._name, GROUP, self._consumer)
        except ResponseError:
            pass  # no such stream

    def _create_group(self) -> bool:
        """Make the group where orders are waiting for one; False where there is no stream yet."""
        if not self._redis.exists(self._name):
            return False
        try:
            self._redis.xgroup_create(self._name, GROUP, id="0")
        except ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise
        return True
