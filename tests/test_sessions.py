"""Sessions that are over leave the database; those that go on stay."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from tests.support.desk import signed_in
from yousinsa.process import sessions

pytestmark = pytest.mark.django_db


def make_sessions(count: int, *, age: timedelta) -> None:
    ended = timezone.now() - age
    Session.objects.bulk_create(
        Session(session_key=f"{age.total_seconds():.0f}-{n}", session_data="", expire_date=ended)
        for n in range(count)
    )


def test_sessions_that_are_over_go_batch_by_batch_and_nobody_is_signed_out(operator, monkeypatch):
    monkeypatch.setattr(sessions, "BATCH", 3)
    client = signed_in(operator)
    make_sessions(4, age=timedelta(days=1))
    make_sessions(2, age=-timedelta(days=1))
    assert [sessions.clear_sessions() for _ in range(3)] == [3, 1, 0]
    assert Session.objects.count() == 3
    assert client.get("/admin/").status_code == 200


def test_a_session_that_was_prolonged_meanwhile_stays(monkeypatch):
    make_sessions(1, age=timedelta(minutes=1))

    def prolonged(keys):
        found = sorted(keys)
        Session.objects.update(expire_date=timezone.now() + timedelta(hours=1))
        return found

    monkeypatch.setattr(sessions, "sorted", prolonged, raising=False)
    assert sessions.clear_sessions() == 0
    assert Session.objects.count() == 1
