"""Bearer tokens: believed without a look-up, until they expire or are revoked."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.core import signing
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from shop import selectors, services
from shop.errors import WrongCredentials
from shop.models import TokenRevocation, User
from tests.support.desk import signed_in
from tests.support.factories import PASSWORD, make_user
from tests.support.locks import until_somebody_waits
from tests.support.problems import nothing_changes, problem
from tests.support.races import take_row_locks_away
from tests.support.wire import Wire, token_of
from yousinsa.auth import Revocation, RevocationList, issue_token, read_token, revocations
from yousinsa.errors import Busy, Unauthenticated
from yousinsa.limits import shared_memory


def refused(wire, detail=""):
    answer = wire.get("users/me/")
    body = problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
    assert detail in body["detail"]


NEEDS_A_USER = [
    ("GET", "users/me/"),
    ("PATCH", "users/me/"),
    ("DELETE", "users/me/"),
    ("POST", "users/sign-out/"),
    ("POST", "stores/"),
    ("POST", "products/"),
    ("PATCH", "products/1/"),
    ("GET", "ping/"),
    ("GET", "orders/"),
    ("POST", "orders/"),
    ("GET", "orders/X/"),
    ("POST", "orders/X/pay/"),
    ("POST", "orders/X/cancel/"),
    ("POST", "orders/X/return/"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("call", NEEDS_A_USER, ids=" ".join)
def test_without_a_valid_token_nobody_gets_in(call):
    good = token_of(make_user())
    with nothing_changes():
        for wire in (
            Wire(),
            Wire(token=""),
            Wire(token="x"),
            Wire(token=good[:-1]),
            Wire(token=f"{good} {good}"),
            Wire(token="\xff\xfe"),
            Wire(token="7.buyer.0.x.1.9999999999:signature"),
        ):
            problem(wire(*call, {}), 401, "not_authenticated")


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["", "Bearer", "Basic dTpw", "Token x", "bearer  ", "Bearer:x", "\xff"])
def test_another_authorization_header_is_no_token(buyer, header):
    wire = Wire()
    wire.headers = {"Authorization": header}
    problem(wire.get("ping/"), 401, "not_authenticated")
    assert wire.get("products/").status_code == 200


@pytest.mark.django_db
def test_the_scheme_may_be_written_in_any_case(buyer):
    wire = Wire()
    wire.headers = {"Authorization": f"bEARER   {token_of(buyer)} "}
    assert wire.get("ping/").status_code == 204


@given(st.data())
def test_not_one_character_of_a_token_can_be_changed(data):
    token = issue_token(user_id=7, role="buyer", is_staff=False)
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(
        st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != token[position])
    )
    with pytest.raises(Unauthenticated):
        read_token(token[:position] + other + token[position + 1 :])


def test_a_token_says_whose_it_is():
    principal = read_token(issue_token(user_id=7, role="store_owner", is_staff=True))
    assert (principal.id, principal.role, principal.is_staff) == (7, "store_owner", True)


def test_a_token_of_another_secret_is_refused():
    token = issue_token(user_id=7, role="buyer", is_staff=False)
    claims = token.rpartition(":")[0]
    assert signing.Signer(salt="yousinsa.bearer").sign(claims) == token
    forged = signing.Signer(key="another", salt="yousinsa.bearer").sign(claims)
    with pytest.raises(Unauthenticated):
        read_token(forged)


@pytest.mark.django_db
def test_an_expired_token_is_told_so(buyer):
    refused(Wire(token=token_of(buyer, lifetime=timedelta(seconds=-1))), "expired")


def test_no_token_outlives_what_is_remembered_of_revocations(settings):
    settings.TOKEN_HOURS = 1
    token = issue_token(user_id=7, role="buyer", is_staff=False, lifetime=timedelta(days=365))
    principal = read_token(token)
    assert principal.expires_at - principal.issued_at == pytest.approx(3600, abs=1)


@pytest.mark.django_db
def test_ping_asks_no_database(buyer, django_assert_num_queries):
    wire = Wire(buyer)
    wire.get("ping/")
    with django_assert_num_queries(0):
        assert wire.get("ping/").status_code == 204


# --- Revocation -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_signing_out_revokes_this_token_and_no_other(buyer):
    one, two = Wire(buyer), Wire(buyer)
    assert one.post("users/sign-out/").status_code == 204
    refused(one, "revoked")
    assert two.get("users/me/").status_code == 200
    assert Wire(make_user()).get("users/me/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_new_password_revokes_every_older_token_and_the_next_works_at_once():
    user = make_user("minji@example.com", password=PASSWORD)
    older = [Wire(user) for _ in range(3)]
    password = PASSWORD
    for round in range(10):
        change = {"current_password": password, "new_password": f"battery horse {round}"}
        assert older[0].patch("users/me/", change).status_code == 200
        password = change["new_password"]
        answer = Wire().post("users/sign-in/", {"email": user.email, "password": password})
        newer = Wire(token=answer.json()["token"])
        for wire in older:
            refused(wire, "revoked")
        assert newer.get("users/me/").status_code == 200
        older = [newer]
        shared_memory.clear()  # ten rounds are more than one account may try in a minute


@pytest.mark.django_db(transaction=True)
def test_a_token_works_although_the_revocation_was_written_by_a_clock_that_is_ahead():
    user = make_user("minji@example.com", password=PASSWORD)
    before = token_of(user)
    TokenRevocation.objects.create(user=user, revoked_at=timezone.now() + timedelta(minutes=5))
    revocations.refresh()
    refused(Wire(token=before), "revoked")
    refused(Wire(token=token_of(user)), "revoked")
    answer = Wire().post("users/sign-in/", {"email": user.email, "password": PASSWORD})
    assert Wire(token=answer.json()["token"]).get("users/me/").status_code == 200


def no_revocations(since):
    return []


def test_a_token_of_the_microsecond_before_is_revoked_and_one_of_the_same_is_not(settings):
    settings.TOKEN_REVOCATIONS = "tests.test_tokens.no_revocations"
    at = timezone.now() + timedelta(hours=1)
    known = RevocationList()
    known.add([Revocation(7, "", at.timestamp())])
    tokens = [
        issue_token(user_id=7, role="buyer", is_staff=False, not_before=at - timedelta(microseconds=n))
        for n in (1, 0)
    ]
    assert [known.is_revoked(read_token(token)) for token in tokens] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_what_another_process_revoked_arrives_with_the_next_look(buyer):
    one, two = token_of(buyer), token_of(buyer)
    assert Wire(token=one).get("users/me/").status_code == 200
    # Another process wrote this: here nobody was told.
    TokenRevocation.objects.create(user=buyer, token_id=read_token(one).token_id)
    assert Wire(token=one).get("users/me/").status_code == 200
    revocations.refresh()
    refused(Wire(token=one), "revoked")
    assert Wire(token=two).get("users/me/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_process_that_starts_later_knows_what_was_revoked(buyer):
    wire = Wire(buyer)
    assert wire.post("users/sign-out/").status_code == 204
    revocations.clear()
    revocations.refresh()
    refused(wire, "revoked")


@pytest.mark.django_db
def test_a_revocation_that_commits_late_is_not_missed(buyer, settings):
    """A transaction may be open while the list is read; its row is older than the reading when it appears."""
    principal = read_token(token_of(buyer))
    known = RevocationList()
    known.refresh()
    TokenRevocation.objects.create(
        user=buyer, token_id=principal.token_id, revoked_at=timezone.now() - timedelta(seconds=30)
    )
    known.refresh()
    settings.TOKEN_REVOCATIONS = "tests.test_tokens.no_revocations"
    assert known.is_revoked(principal)


@pytest.mark.django_db
def test_revocations_that_no_token_can_meet_any_more_are_not_read(buyer, settings):
    old = timezone.now() - timedelta(hours=settings.TOKEN_HOURS, minutes=1)
    TokenRevocation.objects.create(user=buyer, token_id="old", revoked_at=old)
    TokenRevocation.objects.create(user=buyer, token_id="new")
    assert [r.token_id for r in selectors.token_revocations(None)] == ["new"]


@pytest.mark.django_db
def test_an_account_that_was_deactivated_has_no_profile_even_before_the_revocation_arrives(buyer):
    wire = Wire(buyer)
    User.objects.update(is_active=False)
    problem(wire.get("users/me/"), 401, "not_authenticated")
    problem(wire.post("stores/", {"name": "A"}), 401, "not_authenticated")


def database_is_away(since):
    raise ConnectionError


def test_as_long_as_revocations_were_never_read_nobody_is_believed(settings, caplog):
    settings.TOKEN_REVOCATIONS = "tests.test_tokens.database_is_away"
    settings.LOCK_WAIT_SECONDS = 0.01
    with pytest.raises(Busy):
        RevocationList().is_revoked(read_token(issue_token(user_id=7, role="buyer", is_staff=False)))


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_the_last_list_stays_in_force(buyer, settings):
    wire = Wire(buyer)
    services.revoke_all_tokens(user_id=buyer.pk)
    settings.TOKEN_REVOCATIONS = "tests.test_tokens.database_is_away"
    with pytest.raises(ConnectionError):
        revocations.refresh()
    refused(wire, "revoked")


# --- Between the password and the token --------------------------------------------------------------------


def deactivate(user):
    User.objects.filter(pk=user.pk).update(is_active=False)
    services.revoke_all_tokens(user_id=user.pk)


def demote(user):
    User.objects.filter(pk=user.pk).update(role="store_owner")
    services.revoke_all_tokens(user_id=user.pk)


ENDINGS = {
    "password": lambda user: services.change_password(
        user=user, current=PASSWORD, new="another-Pass-77"
    ).result(),
    "withdrawn": lambda user: services.withdraw(user=user),
    "deactivated": deactivate,
    "role": demote,
    "gone": lambda user: user.delete(),
}


@pytest.mark.django_db
@pytest.mark.parametrize("ending", ENDINGS)
def test_who_signed_in_just_before_the_end_gets_no_token(buyer, ending):
    buyer.set_password(PASSWORD)
    buyer.save()
    found = services.sign_in(email=buyer.email, password=PASSWORD).result()
    ENDINGS[ending](User.objects.get(pk=buyer.pk))
    with pytest.raises(WrongCredentials):
        services.new_token(user=found)


def tokens_signed_in_during(buyer, ending, *, people=1, meanwhile):
    """What `people` get who sign in with the old password while `ending` is written and not committed.

    Returns the tokens of those who got one; `meanwhile(futures)` returns when the change may be committed.
    """

    def sign_in():
        try:
            return services.new_token(user=services.sign_in(email=buyer.email, password=PASSWORD).result())
        except WrongCredentials:
            return None
        finally:
            connection.close()

    buyer.set_password(PASSWORD)
    buyer.save()
    with ThreadPoolExecutor(people) as pool:
        with transaction.atomic():
            ENDINGS[ending](User.objects.get(pk=buyer.pk))
            asked = [pool.submit(sign_in) for _ in range(people)]
            meanwhile(asked)
        return [token for future in asked if (token := future.result(60))]


def works(token):
    try:
        return not revocations.is_revoked(read_token(token))
    except Unauthenticated:
        return False


ACCOUNT_CHANGES = [name for name in ENDINGS if name != "gone"]


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ACCOUNT_CHANGES)
def test_signing_in_waits_for_who_is_changing_the_account(buyer, ending, settings):
    """However many sign in: none has a token before the change is seen, and then none gets one."""
    settings.LOCK_WAIT_SECONDS = 30
    tokens = tokens_signed_in_during(buyer, ending, people=3, meanwhile=lambda _: until_somebody_waits(3))
    assert tokens == []


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ACCOUNT_CHANGES)
def test_control_without_the_users_lock_a_token_outlives_the_change(buyer, ending, settings, monkeypatch):
    """Who signs in waits all the same, to write down when that was, but has looked before; and the token is
    younger than the revocation.
    """
    settings.LOCK_WAIT_SECONDS = 30
    take_row_locks_away(monkeypatch, User)
    tokens = tokens_signed_in_during(buyer, ending, meanwhile=lambda _: until_somebody_waits())
    assert [works(token) for token in tokens] == [True]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        lambda user: user.groups.add(Group.objects.create(name="other")),
        lambda user: Group.objects.create(name="other").user_set.add(user),
        lambda user: user.user_permissions.set(Permission.objects.all()[:1]),
        lambda user: User.objects.filter(pk=user.pk).update(role="store_owner", is_superuser=False),
        lambda user: User.objects.filter(pk=user.pk).update(is_superuser=False),
        lambda user: services.revoke_all_tokens(user_id=user.pk),
    ],
    ids=["group", "group's users", "permissions", "role", "superuser", "revoked"],
)
def test_sessions_end_when_rights_change(operator, change):
    session = signed_in(operator)
    assert session.get("/admin/").status_code == 200
    change(operator)
    answer = session.get("/admin/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.django_db
def test_tokens_end_when_groups_change(buyer, django_capture_on_commit_callbacks):
    wire = Wire(buyer)
    with django_capture_on_commit_callbacks(execute=True):
        buyer.groups.add(Group.objects.create(name="other"))
    refused(wire, "revoked")
