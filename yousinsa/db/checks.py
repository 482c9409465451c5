"""What a database has to be like before the shop may use it."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.management.base import SystemCheckError
from django.db import DatabaseError, connection

CHARSET = "utf8mb4"


def check_charset(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """The database and its tables keep every letter: one made with latin1 loses Korean, and fails late.

    Asked by `migrate`, by `check --database default` and by the application when it starts. A database that
    is away is none of this check's business.
    """
    if not databases or "default" not in databases or connection.vendor != "mysql":
        return []
    try:
        wrong = _wrong_charsets()
    except DatabaseError:
        return []
    name = connection.settings_dict["NAME"]
    return [
        checks.Error(
            f"The database {name} keeps text in {where} as {charset}, not {CHARSET}: Korean is lost.",
            hint=f'ALTER {what} CHARACTER SET {CHARSET}; see docs/operations.md, "The database\'s letters".',
            id="yousinsa.E001",
        )
        for where, what, charset in wrong
    ]


def refuse_wrong_charset() -> None:
    """Raise SystemCheckError for a database that would lose letters, before the first request comes."""
    found = check_charset(None, ["default"])
    connection.close()
    if found:
        raise SystemCheckError("\n".join(str(message) for message in found))


def _wrong_charsets() -> list[tuple[str, str, str]]:
    """(what it is called, how ALTER calls it, its character set) for what is not in `CHARSET`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DATABASE(), @@character_set_database")
        name, charset = cursor.fetchone()
        wrong = [("new tables", f"DATABASE `{name}`", charset)] if charset != CHARSET else []
        cursor.execute(
            "SELECT table_name, character_set_name FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL"
            " AND character_set_name <> %s GROUP BY table_name, character_set_name"
            " ORDER BY table_name LIMIT 5",
            [CHARSET],
        )
        wrong += [
            (f"the table {table}", f"TABLE `{table}` CONVERT TO", found) for table, found in cursor.fetchall()
        ]
    return wrong
