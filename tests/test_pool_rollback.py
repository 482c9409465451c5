"""A connection that comes back to the pool brings nothing along; where nothing is open it is not asked."""

import pytest
from django.db import connection, transaction

from shop.models import Category
from yousinsa.db.mysql.base import pool_of

pytestmark = [pytest.mark.mariadb, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def alone():
    """With a pool of its own: the next connection is the one that came back."""
    connection.close()
    pool_of.forget()


def rollbacks():
    """Which session this is, and how often it has rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        (session,) = cursor.fetchone()
        cursor.execute("SHOW SESSION STATUS LIKE 'Com_rollback'")
        return session, int(cursor.fetchone()[1])


def test_where_no_transaction_is_open_nothing_is_rolled_back():
    before = rollbacks()
    connection.close()
    assert rollbacks() == before


def test_a_transaction_that_was_left_open_is_rolled_back():
    session, before = rollbacks()
    with transaction.atomic():
        Category.objects.add_root({"slug": "left-open", "name": "Left open"})
        connection.close()
    connection.close()
    assert rollbacks() == (session, before + 1)
    assert not Category.objects.filter(slug="left-open").exists()
