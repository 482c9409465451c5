"""Signing up, in and out; the profile; leaving for good."""

from collections import Counter

import pytest
from django.test import Client

from shop.models import Role, User
from tests.support.concurrency import in_threads
from tests.support.factories import ADDRESS, PASSWORD, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.races import goes_wrong, without_unique
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db

NEW = {"email": "minji@example.com", "name": "Kim Minji", "password": PASSWORD}


def sign_in(email, password=PASSWORD, **headers):
    return Wire().post("users/sign-in/", {"email": email, "password": password}, **headers)


# --- Signing up -------------------------------------------------------------------------------------------


def leave(user):
    """Withdraw, by the password that they know."""
    user.set_password(PASSWORD)
    User.objects.filter(pk=user.pk).update(password=user.password)
    return Wire(user)("DELETE", "users/me/", {"password": PASSWORD})


def test_an_account_is_withdrawn_by_its_password_only(buyer):
    buyer.set_password(PASSWORD)
    buyer.save()
    with nothing_changes():
        problem(Wire(buyer)("DELETE", "users/me/", {"password": "wrong"}), 400, "invalid", "password")
        problem(Wire(buyer)("DELETE", "users/me/", {}), 400, "invalid", "password")
        problem(Wire(buyer)("DELETE", "users/me/"), 400, "malformed_body")
    statuses = [Wire(buyer)("DELETE", "users/me/", {"password": "x"}).status_code for _ in range(10)]
    assert statuses == [400] * 9 + [429]


def test_what_is_personal_is_kept_by_no_cache(buyer, order, option):
    for path in ("users/me/", "orders/", f"orders/{order.number}/", "ping/", "stores/", "orders/nowhere/"):
        assert Wire(buyer).get(path)["Cache-Control"] == "no-store"
    signed_in = sign_in("nobody@example.com")
    assert signed_in["Cache-Control"] == "no-store"
    assert Wire(buyer).get(f"products/{option.product_id}/")["Cache-Control"] == "private, no-cache"


def test_signing_up_makes_a_buyer_who_can_sign_in():
    answer = Wire().post("users/sign-up/", NEW)
    assert answer.status_code == 201, answer.content
    user = User.objects.get()
    assert answer.json() == {
        "id": user.pk, "email": "minji@example.com", "name": "Kim Minji", "role": "buyer", "address": None,
    }  # fmt: skip
    assert not user.is_staff
    assert PASSWORD not in user.password
    assert sign_in("minji@example.com").json()["user"] == answer.json()


def test_signing_up_as_a_store_owner():
    answer = Wire().post("users/sign-up/", {**NEW, "role": "store_owner", "email": " Minji@Example.COM "})
    assert (answer.json()["role"], answer.json()["email"]) == ("store_owner", "minji@example.com")
    assert User.objects.get().role == Role.STORE_OWNER


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": ...}, "email"),
        ({"name": ...}, "name"),
        ({"password": ...}, "password"),
        ({"email": "minji"}, "email"),
        ({"email": "minji@"}, "email"),
        ({"email": "min ji@example.com"}, "email"),
        ({"email": "minji@example"}, "email"),
        ({"email": "minji\x00@example.com"}, "email"),
        ({"email": "x" * 300 + "@example.com"}, "email"),
        # 254 characters as sent, more in lower case.
        ({"email": "m@" + ".".join(["\u0130" * 60] * 4) + ".example"[:8]}, "email"),
        ({"email": None}, "email"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"password": "short"}, "password"),
        ({"password": "83726491047"}, "password"),
        ({"password": "password123"}, "password"),
        ({"password": "minji@example"}, "password"),
        ({"password": "x" * 201}, "password"),
        ({"password": 12345678}, "password"),
        ({"role": "operator"}, "role"),
        ({"role": None}, "role"),
        ({"role": "Buyer"}, "role"),
        ({"is_staff": True}, "is_staff"),
    ],
)
def test_what_signing_up_refuses_is_named(change, field):
    body = {name: value for name, value in {**NEW, **change}.items() if value is not ...}
    with nothing_changes():
        problem(Wire().post("users/sign-up/", body), 400, "invalid", field)


def test_everything_that_is_wrong_is_named_at_once():
    body = {"email": "minji", "name": "Minji", "password": "1"}
    problem(Wire().post("users/sign-up/", body), 400, "invalid", "email", "password")


@pytest.mark.parametrize("email", ["minji@example.com", "MINJI@EXAMPLE.COM", " minji@Example.com"])
def test_an_address_is_taken_in_whatever_case(email):
    make_user("minji@example.com")
    with nothing_changes():
        problem(Wire().post("users/sign-up/", {**NEW, "email": email}), 409, "email_taken", "email")


def signed_up_at_once():
    """What six are told who sign up at once with one address, in three spellings."""
    spellings = ["minji@example.com", "Minji@example.com", "MINJI@EXAMPLE.COM"] * 2
    answers = in_threads(lambda i: Wire().post("users/sign-up/", {**NEW, "email": spellings[i]}), 6)
    return Counter(answer.json().get("code", answer.status_code) for answer in answers)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_sign_up_with_one_address_at_once_one_succeeds():
    assert signed_up_at_once() == {201: 1, "email_taken": 5}
    assert User.objects.count() == 1


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_control_without_the_unique_address_several_sign_up_with_it():
    with without_unique(User, "email"):
        goes_wrong(lambda: (signed_up_at_once(), User.objects.all().delete())[0], lambda told: told[201] == 1)


# --- Signing in -------------------------------------------------------------------------------------------


def test_signing_in_gives_a_token():
    user = make_user("minji@example.com", password=PASSWORD)
    answer = sign_in("MINJI@example.com")
    assert answer.status_code == 200
    assert answer.json()["user"]["id"] == user.pk
    assert Wire(token=answer.json()["token"]).get("users/me/").json()["email"] == "minji@example.com"
    user.refresh_from_db()
    assert user.last_login is not None


def test_signing_in_takes_no_notice_of_an_old_token():
    make_user("minji@example.com", password=PASSWORD)
    body = {"email": "minji@example.com", "password": PASSWORD}
    answer = Wire(token="expired").post("users/sign-in/", body)
    assert answer.status_code == 200
    assert answer.cookies["token"].value == answer.json()["token"]


def test_wrong_password_unknown_address_and_inactive_account_look_alike():
    make_user("minji@example.com", password=PASSWORD)
    User.objects.filter(pk=make_user("gone@example.com", password=PASSWORD).pk).update(is_active=False)
    bodies = [
        problem(sign_in("minji@example.com", "wrong"), 401, "wrong_credentials"),
        problem(sign_in("nobody@example.com"), 401, "wrong_credentials"),
        problem(sign_in("gone@example.com"), 401, "wrong_credentials"),
        problem(sign_in("not an address"), 401, "wrong_credentials"),
        problem(sign_in("\x00\x00\x00"), 401, "wrong_credentials"),
    ]
    assert all(body == bodies[0] for body in bodies)


def test_guessing_is_slowed_down_and_the_owner_still_gets_in(settings, api):
    settings.SIGN_IN_RATE = "3/min"
    make_user("minji@example.com", password=PASSWORD)
    for _ in range(3):
        problem(sign_in("minji@example.com", "wrong"), 401, "wrong_credentials")
    answer = sign_in("Minji@example.com")
    problem(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 20
    # However long one guesser goes on, the owner is let in from elsewhere.
    for _ in range(100):
        assert sign_in("minji@example.com", "wrong").status_code == 429
    client = Client(REMOTE_ADDR="10.0.0.2")
    body = {"email": "minji@example.com", "password": PASSWORD}
    assert client.post("/api/v1/users/sign-in/", body, content_type="application/json").status_code == 200


def test_one_address_may_not_try_many_accounts(settings):
    settings.SIGN_IN_RATE = "1/min"
    statuses = [sign_in(f"user{i}@example.com").status_code for i in range(12)]
    assert statuses == [401] * 10 + [429] * 2


@pytest.fixture
def attacked(settings):
    """An account that is tried from so many addresses that its budget is used up."""
    settings.SIGN_IN_RATE = "3/min"
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    make_user("minji@example.com", password=PASSWORD)
    for i in range(12):
        statuses = [
            sign_in("minji@example.com", "wrong", X_Forwarded_For=f"10.0.0.{i}").status_code for _ in range(4)
        ]
        assert statuses == [401, 401, 401, 429] if i < 10 else [401, 429, 429, 429]


def test_who_guesses_from_many_addresses_is_slowed_at_each_of_them(attacked):
    ipv6 = [f"2001:db8::{i}" for i in range(3)]
    statuses = [sign_in("minji@example.com", "wrong", X_Forwarded_For=a).status_code for a in ipv6]
    assert statuses == [401, 429, 429]  # one customer's network


def test_an_owner_at_a_fresh_address_gets_in_while_others_guess(attacked):
    assert sign_in("minji@example.com", X_Forwarded_For="192.0.2.7").status_code == 200


def test_a_device_that_signed_in_before_gets_in_from_wherever_others_guess(settings, api):
    settings.SIGN_IN_RATE = "3/min"
    make_user("minji@example.com", password=PASSWORD)
    make_user("other@example.com", password=PASSWORD)
    device, body = Client(), {"email": "minji@example.com", "password": PASSWORD}

    def attempt(**change):
        path = "/api/v1/users/sign-in/"
        return device.post(path, body | change, content_type="application/json").status_code

    assert attempt() == 200
    while sign_in("minji@example.com", "wrong").status_code != 429:
        pass
    assert attempt() == 200  # the same address
    assert [attempt(password="wrong") for _ in range(4)] == [401, 401, 401, 429]  # its own budget
    stolen = device.cookies["device"].value
    other = {"email": "other@example.com", "password": "wrong"}
    answers = [api().post("users/sign-in/", other, Cookie=f"device={stolen}").status_code for _ in range(4)]
    assert answers == [401, 401, 401, 429]  # of another account it knows nothing
    forged = api().post("users/sign-in/", body, Cookie=f"device={stolen}x")
    assert forged.status_code == 429


def test_an_address_that_a_caller_makes_up_does_not_count(settings):
    settings.SIGN_IN_RATE = "1/min"
    statuses = [sign_in("minji@example.com", X_Forwarded_For=f"10.0.0.{i}").status_code for i in range(2)]
    assert statuses == [401, 429]


def test_signing_up_is_limited_by_address(settings):
    settings.SIGN_UP_RATE = "2/min"
    statuses = [
        Wire().post("users/sign-up/", {**NEW, "email": f"u{i}@example.com"}).status_code for i in "123"
    ]
    assert statuses == [201, 201, 429]


# --- The profile ------------------------------------------------------------------------------------------


def test_the_profile_keeps_an_address(buyer):
    me = Wire(buyer)
    assert me.get("users/me/").json()["address"] == ADDRESS
    changed = {**ADDRESS, "address1": " 1 Sejong-daero ", "address2": ""}
    answer = me.patch("users/me/", {"name": " Lee ", "address": changed})
    assert answer.json()["name"] == "Lee"
    assert answer.json()["address"] == {**changed, "address1": "1 Sejong-daero"}
    assert me.get("users/me/").json() == answer.json()
    assert me.patch("users/me/", {"address": None}).json()["address"] is None
    assert me.get("users/me/").json()["name"] == "Lee"
    assert me.patch("users/me/", {}).json()["name"] == "Lee"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": None}, "name"),
        ({"email": "new@example.com"}, "email"),
        ({"role": "store_owner"}, "role"),
        ({"is_staff": True}, "is_staff"),
        ({"address": {}}, "address.recipient"),
        ({"address": {**ADDRESS, "phone": ""}}, "address.phone"),
        ({"address": {**ADDRESS, "phone": "1" * 31}}, "address.phone"),
        ({"address": {**ADDRESS, "address2": None}}, "address.address2"),
        ({"address": "Seoul"}, "address"),
        ({"name": "Lee", "new_password": "another horse battery"}, "current_password"),
        (
            {"name": "Lee", "new_password": "another horse battery", "current_password": "x"},
            "current_password",
        ),
        ({"name": "Lee", "new_password": "12345", "current_password": PASSWORD}, "new_password"),
    ],
)
def test_a_profile_change_that_is_refused_changes_nothing(body, field):
    user = make_user("minji@example.com", password=PASSWORD, address=True)
    with nothing_changes():
        problem(Wire(user).patch("users/me/", body), 400, "invalid", field)


def test_a_stolen_token_is_no_licence_to_guess_the_password(settings):
    settings.SIGN_IN_RATE = "3/min"
    wire = Wire(make_user(password=PASSWORD))
    guess = {"current_password": "wrong", "new_password": "another horse battery"}
    for _ in range(3):
        problem(wire.patch("users/me/", guess), 400, "invalid", "current_password")
    problem(wire.patch("users/me/", {**guess, "current_password": PASSWORD}), 429, "throttled")
