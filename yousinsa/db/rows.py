"""One way to insert many rows, and one to update many."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection, models

# Characters of one INSERT: a quarter of what a server's packet takes (16 MiB), at four bytes each.
STATEMENT_LENGTH = 1_000_000


def insert_rows(model: type[models.Model], fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """INSERT rows of plain values in as few statements as they fit into, without building model instances.

    `fields` are field names, `rows` their values in that order, as Python values (aware datetimes). Fields
    that are not named take the database's default. Returns the number of rows. Database constraints apply,
    and text is stored as its column stores it (yousinsa/text/fields.py); nothing else does (no `save`, no
    validation): meant for services that have checked already.
    """
    meta = model._meta
    columns = [meta.get_field(name) for name in fields]
    adapt = [i for i, field in enumerate(columns) if isinstance(field, models.DateTimeField)]
    tidy = [(i, field.tidy_with) for i, field in enumerate(columns) if hasattr(field, "tidy_with")]
    # The rows of a batch share few moments: each is converted once.
    convert = lru_cache(maxsize=64)(connection.ops.adapt_datetimefield_value)
    values = []
    for row in rows:
        value = list(row)
        for i in adapt:
            value[i] = convert(value[i])
        for i, tidied in tidy:
            value[i] = tidied(value[i])
        values.append(value)
    if not values:
        return 0
    quote = connection.ops.quote_name
    names = ", ".join(quote(str(field.column)) for field in columns)  # type: ignore[union-attr]
    insert = f"INSERT INTO {quote(meta.db_table)} ({names}) VALUES "  # noqa: S608
    with connection.cursor() as cursor:
        if connection.vendor == "mysql" and not any(isinstance(f, models.BinaryField) for f in columns):
            for statement in _statements(insert, values):
                cursor.execute(statement)
        else:
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"{insert}({marks})", values)
    return len(values)


def update_rows(model: type[models.Model], changes: Mapping[int, Mapping[str, Any]]) -> int:
    """UPDATE rows to values of their own in one statement: changes are {primary key: {field name: value}}.

    Rows may change different fields. Values are as in `insert_rows`, and so are the rules. Returns the
    number of rows.
    """
    ids = [id for id, fields in changes.items() if fields]
    if not ids:
        return 0
    meta, quote = model._meta, connection.ops.quote_name
    key = quote(str(meta.pk.column))
    sets: list[str] = []
    values: list[Any] = []
    for name in dict.fromkeys(name for id in ids for name in changes[id]):
        field: Any = meta.get_field(name)
        column = quote(field.column)
        new = [(i, field.get_db_prep_save(changes[i][name], connection)) for i in ids if name in changes[i]]
        if len(new) == len(ids) and all(value == new[0][1] for _id, value in new):
            sets.append(f"{column} = %s")
            values.append(new[0][1])
        else:
            cases = " ".join(["WHEN %s THEN %s"] * len(new))
            sets.append(f"{column} = CASE {key} {cases} ELSE {column} END")
            values += [part for pair in new for part in pair]
    marks = ", ".join(["%s"] * len(ids))
    sql = f"UPDATE {quote(meta.db_table)} SET {', '.join(sets)} WHERE {key} IN ({marks})"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, values + ids)
    return len(ids)


def _statements(insert: str, rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Multi-row INSERTs as mysqlclient writes them in `executemany`, in a fifth of its time."""
    literals = _Literals()
    texts: list[str] = []
    size = 0
    for row in rows:
        text = f"({','.join(map(literals.__getitem__, row))})"
        if texts and size + len(text) > STATEMENT_LENGTH:
            yield insert + ",".join(texts)
            texts, size = [], 0
        texts.append(text)
        size += len(text) + 1
    yield insert + ",".join(texts)


class _Literals(dict[Any, str]):
    """Values as the driver escapes them; the rows of a batch share most, and each is escaped once."""

    def __init__(self) -> None:
        driver: Any = connection.connection
        self._escaped = driver.literal

    def __missing__(self, value: Any) -> str:
        text = str(value) if type(value) is int else self._escaped(value).decode()
        self[value] = text
        return text
