"""A whole shop from one database into another, row by row as Python values, and the proof that it arrived.

Every value goes through its own column's type on both sides, so that nothing is rounded or recoded on the
way: `dumpdata` cuts moments to the millisecond, which the ledger's seals rightly call altered.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, transaction
from django.db.migrations.recorder import MigrationRecorder

from yousinsa.db.rows import insert_rows

SOURCE = "source"
ROWS_AT_A_TIME = 1000
Row = tuple[Any, ...]


class CannotCopy(Exception):
    """Why the shop cannot be copied, in words, and what to do; the target is as it was."""


class Copied(NamedTuple):
    """A table that arrived: its name, its rows, and the SHA-256 of all of them."""

    table: str
    rows: int
    digest: str


@contextmanager
def opened(config: dict[str, Any]) -> Iterator[None]:
    """The database of these settings can be asked under the alias `SOURCE`.

    What is read is of one moment. Raises `CannotCopy` where it does not answer or is the target itself.
    """
    databases = connections.settings
    databases[SOURCE] = connections.configure_settings({DEFAULT_DB_ALIAS: config})[DEFAULT_DB_ALIAS]
    source = connections[SOURCE]
    try:
        _check_place(config, databases[DEFAULT_DB_ALIAS])
        try:
            with source.cursor() as cursor:
                for statement in _BEGIN[source.vendor]:
                    cursor.execute(statement)
        except DatabaseError as exc:
            raise CannotCopy(f"The source does not answer ({exc}): check its address.") from exc
        yield
    finally:
        with suppress(DatabaseError):
            source.rollback()  # the pool knows nothing of a transaction that was begun by hand
        source.close()
        del connections[SOURCE], databases[SOURCE]


_BEGIN = {
    "mysql": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    # Nobody else writes meanwhile: who moves out has closed the shop.
    "sqlite": ("BEGIN IMMEDIATE",),
}


def _check_place(source: dict[str, Any], target: dict[str, Any]) -> None:
    if source["ENGINE"].endswith("sqlite3") and not Path(source["NAME"]).is_file():
        raise CannotCopy(f"There is no file {source['NAME']}: check the source's address.")
    place = ("ENGINE", "HOST", "PORT", "NAME")
    if all(str(source.get(name, "")) == str(target.get(name, "")) for name in place):
        raise CannotCopy("Source and target are the same database: DATABASE_URL names where the shop goes.")


def tables() -> list[type[models.Model]]:
    """All tables but the one of the migrations; those that others point to first."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
    ]


def total() -> int:
    """How many rows `SOURCE` has. Raises `CannotCopy` where it is of another version than the target."""
    _check_migrations()
    return sum(model._base_manager.using(SOURCE).count() for model in tables())


def copy_all(advance: Callable[[int], None]) -> list[Copied]:
    """Copy every row from `SOURCE` into the default database, in one transaction, and compare both.

    `advance` is told of rows as they arrive. Ask `total` first. Raises `CannotCopy`: a target that is in use,
    a row that the target's rules refuse, a table that reads otherwise there.
    """
    target = connections[DEFAULT_DB_ALIAS]
    models_ = tables()
    with transaction.atomic(durable=True), target.constraint_checks_disabled():
        _empty(models_)
        for model in models_:
            _copy(model, advance)
        try:
            target.check_constraints()
        except DatabaseError as exc:
            raise CannotCopy(f"A row of the source points to one that is not there ({exc}).") from exc
        return [_compare(model) for model in models_]


def _check_migrations() -> None:
    try:
        there, here = (
            set(MigrationRecorder(connections[a]).applied_migrations()) for a in (SOURCE, "default")
        )
    except DatabaseError as exc:
        raise CannotCopy(f"A database does not say which migrations it has ({exc}).") from exc
    if other := sorted(there ^ here):
        named = ", ".join(f"{app}.{name}" for app, name in other[:3])
        raise CannotCopy(
            f"Source and target are of different versions ({named}). Run `manage.py migrate` on both first."
        )


# What `migrate` writes itself. The source's rows take their place, with their ids.
_MADE_BY_MIGRATE = {
    "auth_group", "auth_group_permissions", "auth_permission", "django_content_type", "shop_category",
}  # fmt: skip


def _empty(models_: list[type[models.Model]]) -> None:
    """Raises `CannotCopy` where the target holds more than `migrate` wrote; takes that out."""
    in_use = [
        model._meta.db_table
        for model in models_
        if model._meta.db_table not in _MADE_BY_MIGRATE and model._base_manager.exists()
    ]
    if in_use:
        raise CannotCopy(
            f"The target is in use: there are rows in {', '.join(in_use[:5])}. Name a new database that "
            "nothing but `manage.py migrate` has written to."
        )
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        for table in sorted(_MADE_BY_MIGRATE, reverse=True):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608


def _columns(model: type[models.Model]) -> list[str]:
    """The fields that are written; what the database computes it computes again."""
    return [field.attname for field in model._meta.concrete_fields if not field.generated]


def _rows(model: type[models.Model], alias: str) -> Iterator[list[Row]]:
    """All rows in the order of their ids, some at a time, by key: no cursor holds the whole table."""
    rows = model._base_manager.using(alias).order_by("pk").values_list("pk", *_columns(model))
    page = list(rows[:ROWS_AT_A_TIME])
    while page:
        yield [row[1:] for row in page]
        page = list(rows.filter(pk__gt=page[-1][0])[:ROWS_AT_A_TIME])


def _copy(model: type[models.Model], advance: Callable[[int], None]) -> None:
    fields = [field.name for field in model._meta.concrete_fields if not field.generated]
    for page in _rows(model, SOURCE):
        try:
            insert_rows(model, fields, page)
        except DatabaseError as exc:
            raise CannotCopy(
                f"{model._meta.db_table}: the target refuses rows that the source has ({exc}). Set them "
                "right in the source, then copy again."
            ) from exc
        advance(len(page))


def _compare(model: type[models.Model]) -> Copied:
    """The table as it arrived. Raises `CannotCopy` unless both sides read alike, to the last value."""
    table = model._meta.db_table
    there, here = (_digest(model, alias) for alias in (SOURCE, DEFAULT_DB_ALIAS))
    if there != here:
        raise CannotCopy(f"{table}: what arrived reads otherwise ({there[0]:,} rows, now {here[0]:,}).")
    return Copied(table, *here)


def _digest(model: type[models.Model], alias: str) -> tuple[int, str]:
    """How many rows a table has, and the SHA-256 of all their values."""
    rows, digest = 0, hashlib.sha256()
    for page in _rows(model, alias):
        rows += len(page)
        for row in page:
            digest.update(repr([_plain(value) for value in row]).encode())
    return rows, digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return bytes(value) if isinstance(value, memoryview) else value
