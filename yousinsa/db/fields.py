"""Columns whose text is compared byte by byte."""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class ExactMixin:
    """Text that is compared byte by byte, as SQLite does anyway and MariaDB's default collation does not.

    For identifiers: `Shirt-1` and `shirt-1` are two SKUs, `jose@…` and `josé@…` are two people.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class ExactCharField(ExactMixin, models.CharField):
    """A CharField that is compared byte by byte."""


class ExactEmailField(ExactMixin, models.EmailField):
    """An EmailField that is compared byte by byte."""
