"""The door of the desk: the limit of attempts, the second factor, lost devices."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP, hotp
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from shop.desk.access import second_factor
from shop.desk.access.passwords import PasswordForm
from shop.models import Authenticator, User
from tests.support.desk import buttons, signed_in, staff, url
from tests.support.factories import PASSWORD, make_user
from tests.support.wire import Wire

pytestmark = pytest.mark.django_db

DOOR = "/admin/login/?next=/admin/"


@pytest.fixture
def operator() -> User:
    return make_user("operator@example.com", staff=True, password=PASSWORD)


def code_of(user: User, *, later: int = 0) -> str:
    """What the user's device shows now, or so many periods later."""
    device = Authenticator.objects.get(user=user)
    now = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift).t()
    return f"{hotp(device.bin_key, now + later, device.digits):06d}"


def unlock(user: User) -> None:
    """As if the wait after a wrong code were over."""
    Authenticator.objects.filter(user=user).update(
        throttling_failure_count=0, throttling_failure_timestamp=None
    )


def enrol(client: Client, user: User) -> list[str]:
    """Set up a device on the page; returns the backup codes that it shows."""
    address = reverse("admin:second_factor")
    page = client.get(address).content.decode()
    assert "<svg" in page
    assert second_factor.secret(Authenticator.objects.get(user=user)) in page
    answer = client.post(address, {"do": "confirm", "code": code_of(user), "password": PASSWORD})
    return re.findall(r"<li>([a-z2-7]{8})</li>", answer.content.decode())


@pytest.fixture
def enrolled(operator: User) -> list[str]:
    """The operator has a device, and these backup codes; the code that set it up was of an earlier time."""
    codes = enrol(signed_in(operator), operator)
    Authenticator.objects.update(last_t=-1)
    return codes


def sign_in(client: Client, user: User, *, password: str = PASSWORD, code: str = "", **headers: Any) -> Any:
    form = {"username": user.email, "password": password, "code": code, "next": "/admin/"}
    return client.post(DOOR, form, **headers)


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


# --- The limit ------------------------------------------------------------------------------------


def test_after_too_many_attempts_even_the_right_password_waits(operator, client, settings):
    settings.SIGN_IN_RATE = "3/min"
    for _attempt in range(3):
        assert sign_in(client, operator, password="wrong").status_code == 200
    answer = sign_in(client, operator)
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 60
    assert "Too many attempts to sign in" in answer.content.decode()
    assert not is_in(client)


def test_one_guesser_locks_nobody_else_out(operator, client, settings):
    settings.SIGN_IN_RATE = "3/min"
    colleague = make_user("colleague@example.com", staff=True, password=PASSWORD)
    for _attempt in range(4):
        sign_in(client, operator, password="wrong")
    assert sign_in(Client(), colleague).status_code == 302  # same address, another account
    assert sign_in(Client(), operator, REMOTE_ADDR="10.0.0.9").status_code == 302  # the owner, from elsewhere


def test_the_desk_and_the_api_count_together(operator, client, api, settings):
    settings.SIGN_IN_RATE = "3/min"
    for _attempt in range(3):
        api().post("users/sign-in/", {"email": operator.email, "password": "wrong"})
    assert sign_in(client, operator).status_code == 429


def test_the_password_alone_is_enough_without_a_device(operator, client):
    assert sign_in(client, operator)["Location"] == "/admin/"
    assert is_in(client)


# --- Where one is led --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "/nowhere/", "/admin/nowhere/", "/admin/shop/nothing/", "/api/nowhere/", "", "nowhere",
        "/admin/logout/",
        "/admin/login/", "https://elsewhere.example/admin/", "//elsewhere.example/",
        "/admin//elsewhere.example",
        "/\\elsewhere.example", "javascript:alert(1)", "http://testserver/admin/shop/user/",
        "/%00", "/admin/%ff/",
    ],
)  # fmt: skip
def test_an_address_that_is_no_page_of_the_desk_leads_to_its_front_page(operator, client, address):
    form = {"username": operator.email, "password": PASSWORD, "next": address}
    assert client.post(DOOR, form)["Location"] == "/admin/"
    assert is_in(client)


@pytest.mark.parametrize(
    "address", ["/admin/shop/product/?o=1", "/admin/second-factor/", "/admin/shop/user/7/change/", "/admin"]
)
def test_a_page_of_the_desk_is_where_one_is_led(operator, client, address):
    form = {"username": operator.email, "password": PASSWORD, "next": address}
    expected = address if address != "/admin" else "/admin/"
    assert client.post(DOOR, form)["Location"] == expected


# --- New passwords ----------------------------------------------------------------------------------


NEW_PASSWORD = "an0ther-Pass-77"


def works(wire: Wire) -> bool:
    return bool(wire.get("users/me/").status_code == 200)


def test_changing_ones_password_ends_tokens_and_other_sessions_and_keeps_this_one(
    operator, django_capture_on_commit_callbacks
):
    here, elsewhere, wire = signed_in(operator), signed_in(operator), Wire(operator)
    assert is_in(here)
    assert is_in(elsewhere)
    assert works(wire)
    form = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    with django_capture_on_commit_callbacks(execute=True):
        answer = here.post(reverse("admin:password_change"), form)
    assert answer["Location"] == reverse("admin:password_change_done")
    assert is_in(here)
    assert not is_in(elsewhere)
    assert not works(wire)
    operator.refresh_from_db()
    assert works(Wire(operator))
    assert sign_in(Client(), operator, password=NEW_PASSWORD).status_code == 302


def test_a_wrong_old_password_ends_nothing(operator):
    here, wire = signed_in(operator), Wire(operator)
    form = {"old_password": "wrong", "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    assert here.post(reverse("admin:password_change"), form).status_code == 200
    assert works(wire)
    assert is_in(here)


@pytest.mark.parametrize("usable", ["true", "false"])
def test_an_operator_who_resets_a_password_ends_tokens_and_sessions(
    operator, usable, django_capture_on_commit_callbacks
):
    boss = signed_in(make_user("boss@example.com", staff=True))
    theirs, wire = signed_in(operator), Wire(operator)
    form = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": usable}
    if usable == "false":
        form["unset-password"] = "1"  # the other button
    with django_capture_on_commit_callbacks(execute=True):
        answer = boss.post(reverse("admin:auth_user_password_change", args=[operator.pk]), form)
    assert answer.status_code == 302
    assert not is_in(theirs)
    assert not works(wire)
    assert is_in(boss)
    operator.refresh_from_db()
    assert operator.has_usable_password() == (usable == "true")


def test_resetting_ones_own_password_keeps_this_session(operator):
    here, elsewhere = signed_in(operator), signed_in(operator)
    form = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    here.post(reverse("admin:auth_user_password_change", args=[operator.pk]), form)
    assert is_in(here)
    assert not is_in(elsewhere)


def test_a_new_password_brings_nothing_else_back_that_the_form_had_read(operator):
    """The user was deactivated between the reading and the writing."""
    stale = User.objects.get(pk=operator.pk)
    User.objects.filter(pk=operator.pk).update(is_active=False)
    form = PasswordForm(
        stale, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    )
    assert form.is_valid(), form.errors
    form.save()
    operator.refresh_from_db()
    assert operator.is_active is False


# --- The second factor ----------------------------------------------------------------------------


def test_setting_up_a_device_gives_backup_codes_and_is_on_record(operator):
    client = signed_in(operator)
    codes = enrol(client, operator)
    assert len(codes) == len(set(codes)) == 10
    assert is_in(client)
    entry = LogEntry.objects.latest("pk")
    assert (entry.user, entry.object_id, entry.change_message) == (
        operator, str(operator.pk), "turned the second factor on",
    )  # fmt: skip
    page = client.get(reverse("admin:second_factor")).content.decode()
    assert "10 backup codes are left." in page
    assert not any(code in page for code in codes)
    assert "<svg" not in page


def test_a_wrong_code_sets_up_nothing(operator):
    client = signed_in(operator)
    client.get(reverse("admin:second_factor"))
    wrong = f"{(int(code_of(operator)) + 1) % 1_000_000:06d}"
    page = client.post(
        reverse("admin:second_factor"), {"do": "confirm", "code": wrong, "password": PASSWORD}
    ).content.decode()
    assert "This code is not right" in page
    assert not second_factor.is_enrolled(operator)


def test_with_a_device_no_page_opens_without_its_code(operator, enrolled, client):
    assert "Enter the code of your second factor" in sign_in(client, operator).content.decode()
    assert not is_in(client)
    # Nor with a session that was opened elsewhere: by the API, or before the device was set up.
    session = signed_in(operator)
    for address in ("/admin/", url(User), reverse("admin:second_factor"), reverse("admin:password_change")):
        assert session.get(address)["Location"].startswith("/admin/login/")
    assert session.post(url(User, "deactivate", operator.pk)).status_code == 302
    assert "second factor" in session.get(DOOR).content.decode()


def test_the_code_opens(operator, enrolled, client):
    assert sign_in(client, operator, code=code_of(operator))["Location"] == "/admin/"
    assert is_in(client)
    assert client.get(url(User)).status_code == 200


def test_a_wrong_code_does_not_open(operator, enrolled, client):
    wrong = f"{(int(code_of(operator)) + 1) % 1_000_000:06d}"
    for code in (wrong, "1", "abcdefgh", "123456789012345678901", "½"):
        unlock(operator)
        answer = sign_in(client, operator, code=code)
        assert answer.status_code == 200
        assert not is_in(client)
    assert not is_in(client)


def test_a_code_is_good_once(operator, enrolled, client):
    code = code_of(operator)
    assert sign_in(client, operator, code=code).status_code == 302
    again = Client()
    assert "was used before" in sign_in(again, operator, code=code).content.decode()
    assert not is_in(again)
    unlock(operator)
    assert sign_in(again, operator, code=code_of(operator, later=1)).status_code == 302


def test_the_password_is_still_needed(operator, enrolled, client):
    assert sign_in(client, operator, password="wrong", code=code_of(operator)).status_code == 200
    assert not is_in(client)
    assert (
        sign_in(client, operator, code=code_of(operator)).status_code == 302
    )  # and the code was not used up


def test_a_backup_code_opens_once(operator, enrolled, client):
    assert sign_in(client, operator, code=f" {enrolled[0].upper()} ").status_code == 302
    assert is_in(client)
    again = Client()
    assert sign_in(again, operator, code=enrolled[0]).status_code == 200
    assert not is_in(again)
    assert StaticToken.objects.count() == 9


def test_another_persons_code_is_no_use(operator, enrolled, client):
    other = make_user("other@example.com", staff=True, password=PASSWORD)
    codes = enrol(signed_in(other), other)
    assert sign_in(client, operator, code=codes[0]).status_code == 200
    assert not is_in(client)


def test_new_backup_codes_end_the_old_ones_and_turning_off_needs_a_code(operator, enrolled, client):
    sign_in(client, operator, code=code_of(operator))
    address = reverse("admin:second_factor")
    page = client.post(address, {"do": "codes", "code": enrolled[0]}).content.decode()
    renewed = re.findall(r"<li>([a-z2-7]{8})</li>", page)
    assert len(renewed) == 10
    assert not set(renewed) & set(enrolled)
    assert "not right" in client.post(address, {"do": "remove", "code": enrolled[1]}).content.decode()
    assert second_factor.is_enrolled(operator)
    StaticDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert client.post(address, {"do": "remove", "code": renewed[0]}).status_code == 302
    assert not second_factor.is_enrolled(operator)
    assert is_in(client)


# --- Required of everybody ------------------------------------------------------------------------


def test_where_it_is_required_one_sets_up_a_device_before_anything_else(operator, client, settings):
    settings.ADMIN_TOTP = "required"
    assert sign_in(client, operator).status_code == 302
    address = reverse("admin:second_factor")
    for page in ("/admin/", url(User), reverse("admin:password_change")):
        assert client.get(page)["Location"] == address
    assert "Everybody at this desk needs a second factor" in client.get(address).content.decode()
    assert enrol(client, operator)
    assert is_in(client)
    assert client.post(reverse("admin:logout")).status_code == 200


def test_who_has_not_set_up_a_device_can_still_sign_out(operator, client, settings):
    settings.ADMIN_TOTP = "required"
    sign_in(client, operator)
    assert client.post(reverse("admin:logout")).status_code == 200
    assert client.get(reverse("admin:second_factor"))["Location"].startswith("/admin/login/")


def test_shoppers_set_up_nothing(buyer):
    assert signed_in(buyer).get(reverse("admin:second_factor")).status_code == 302
    assert not Authenticator.objects.exists()


# --- Lost devices ---------------------------------------------------------------------------------


def test_a_superuser_removes_a_lost_device(operator, enrolled, client):
    chief = make_user("chief@example.com", staff=True)
    desk = signed_in(chief)
    assert "remove-second-factor" in buttons(desk, operator)
    assert desk.post(url(User, "remove-second-factor", operator.pk)).status_code == 302
    assert not Authenticator.objects.exists()
    assert not StaticToken.objects.exists()
    assert LogEntry.objects.filter(user=chief, object_id=operator.pk).exists()
    assert sign_in(client, operator).status_code == 302
    assert is_in(client)
    assert "remove-second-factor" not in buttons(desk, operator)


def test_nobody_else_does(operator, enrolled):
    clerk = staff("shop.view_user", "shop.change_user", "shop.remove_second_factor")
    assert clerk.post(url(User, "remove-second-factor", operator.pk)).status_code == 403
    assert second_factor.is_enrolled(operator)


def test_secrets_have_no_list(operator):
    assert signed_in(operator).get("/admin/otp_totp/totpdevice/").status_code == 404
