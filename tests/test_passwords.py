"""Passwords are hashed within a budget: a storm of sign-ins is told to come again, and orders go on."""

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, MD5PasswordHasher, make_password
from django.test import Client

from shop import services
from shop.errors import WrongCredentials
from shop.models import User
from tests.support.desk import signed_in
from tests.support.factories import PASSWORD, make_options, make_user
from tests.support.problems import nothing_changes, problem
from tests.support.server import WebServer, environment_of_tests
from tests.support.wire import Wire, token_of
from yousinsa.errors import Busy, Invalid
from yousinsa.security.passwords import hashing

TODAYS = "argon2$argon2id$v=19$m=19456,t=2,p=1$"
NEW = "another horse battery"


class OldHasher(Argon2PasswordHasher):
    """Other parameters than today's; and little work, for tests."""

    time_cost, memory_cost, parallelism = 1, 1024, 2


class SlowHasher(Argon2PasswordHasher):
    """A quarter of a second of work or so."""

    time_cost, memory_cost, parallelism = 6, 64 * 1024, 1


class CountingHasher(MD5PasswordHasher):
    """Notes in which threads it was asked for how many hashes."""

    threads: Counter[str] = Counter()

    def encode(self, password, salt):
        self.threads[threading.current_thread().name.partition("_")[0]] += 1
        return super().encode(password, salt)


@pytest.fixture
def real(settings):
    settings.PASSWORD_HASHERS = ["yousinsa.security.passwords.Argon2Hasher"]


@pytest.fixture
def minji(db):
    return make_user("minji@example.com", password=PASSWORD, address=True)


def old_hash(user, hasher=OldHasher):
    """Let the user have a hash by older parameters, as the database keeps it."""
    encoded = hasher().encode(PASSWORD, "s" * 22)
    User.objects.filter(pk=user.pk).update(password=encoded)
    user.refresh_from_db()
    return encoded


def sign_in(email="minji@example.com", password=PASSWORD):
    return Wire().post("users/sign-in/", {"email": email, "password": password})


# --- The budget -------------------------------------------------------------------------------------------


@pytest.fixture
def occupied(settings):
    """One hash takes as long as the test, two more wait, and there is room for no other."""
    settings.HASH_QUEUE = 2
    hashing.forget()
    end = threading.Event()
    waiting = [hashing().submit(end.wait) for _ in range(3)]
    yield
    end.set()
    assert [hash.result() for hash in waiting] == [True] * 3
    assert hashing().run(lambda: "again") == "again"  # there is room again


@pytest.mark.django_db
def test_beyond_the_queue_the_shop_is_busy_and_sells_on(minji, option, occupied):
    signed_in = Wire(minji)
    calls = [
        ("users/sign-in/", "POST", {"email": minji.email, "password": PASSWORD}),
        ("users/sign-in/", "POST", {"email": "nobody@example.com", "password": PASSWORD}),
        ("users/sign-up/", "POST", {"email": "new@example.com", "name": "New", "password": NEW}),
        ("users/me/", "PATCH", {"name": "X", "current_password": PASSWORD, "new_password": NEW}),
        ("users/me/", "DELETE", {"password": PASSWORD}),
    ]
    with nothing_changes():
        for path, method, body in calls:
            answer = signed_in(method, path, body)
            problem(answer, 503, "busy")
            assert answer["Retry-After"] == "1"
    body = {"lines": [{"option": option.pk, "quantity": 1}]}
    assert signed_in.post("orders/", body).status_code == 201
    assert signed_in.patch("users/me/", {"name": "Kim"}).status_code == 200


@pytest.mark.django_db
def test_the_desk_is_busy_as_well(real, operator, settings):
    operator.set_password(PASSWORD)
    operator.save()
    form = {"username": operator.email, "password": PASSWORD}
    settings.HASH_WAITING_THREADS = 0
    answer = Client(raise_request_exception=False).post(
        "/admin/login/", form, headers={"Accept": "text/html"}
    )
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"
    assert "_auth_user_id" not in answer.client.session
    settings.HASH_WAITING_THREADS = 1
    assert Client().post("/admin/login/", form).status_code == 302


@pytest.mark.usefixtures("real")
def test_few_threads_are_kept_waiting(settings):
    settings.HASH_WAITING_THREADS = 1
    begun, end = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        kept = threads.submit(hashing().run, lambda: begun.set() or end.wait())
        assert begun.wait(60)
        with pytest.raises(Busy):
            make_password("x")
        later = hashing().submit(lambda: make_password("x"))  # keeps no thread
        end.set()
        assert kept.result(60)
    assert later.result().startswith(TODAYS)
    assert make_password("x").startswith(TODAYS)


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_are_hashed_at_once_than_is_said(settings, most):
    settings.HASH_THREADS, settings.HASH_QUEUE = most, 100
    hashing.forget()
    lock, together, now, seen = threading.Lock(), threading.Barrier(most), [], []

    def work():
        with lock:
            now.append(1)
            seen.append(len(now))
        together.wait(60)
        with lock:
            now.pop()

    for hash in [hashing().submit(work) for _ in range(20)]:
        hash.result()
    assert max(seen) == most
    hashing.forget()


def test_what_goes_wrong_is_told_and_frees_its_place(settings):
    settings.HASH_QUEUE = 0
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            hashing().submit(lambda: 1 // 0).result()


@pytest.mark.django_db
def test_an_unknown_address_costs_as_much_as_a_known_one(minji, settings):
    settings.PASSWORD_HASHERS = ["tests.test_passwords.CountingHasher"]
    User.objects.update(password=make_password(PASSWORD))
    costs = []
    for email in (minji.email, "nobody@example.com"):
        CountingHasher.threads.clear()
        problem(sign_in(email, "wrong"), 401, "wrong_credentials")
        costs.append(dict(CountingHasher.threads))
    assert costs == [{"hashing": 1}] * 2


@pytest.mark.django_db(transaction=True)
def test_a_storm_of_sign_ins_keeps_no_thread_from_an_order(tmp_path):
    """More of them than there are threads, each for a while: who orders meanwhile comes before the last."""
    (option,) = make_options([10])
    buyer = make_user()
    users = [make_user(f"storm{i}@example.com") for i in range(12)]
    encoded = old_hash(users[0], SlowHasher)
    User.objects.filter(email__startswith="storm").update(password=encoded)
    # One connection for all of them: the revocations' and the group commit's are not for requests.
    sizes = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "4", "DB_POOL_SIZE": "3"}
    environment = environment_of_tests(tmp_path, **sizes)
    with WebServer(environment, log=tmp_path / "log") as server, ThreadPoolExecutor(12) as threads:

        def post(path, body, **headers):
            headers |= {"Content-Type": "application/json"}
            request = urllib.request.Request(
                f"{server.url}/api/v1/{path}", json.dumps(body).encode(), headers
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)

        credentials = [{"email": user.email, "password": PASSWORD} for user in users]
        storm = [threads.submit(post, "users/sign-in/", body) for body in credentials]
        wait(storm, return_when=FIRST_COMPLETED)
        body = {"lines": [{"option": option.pk, "quantity": 1}]}
        assert post("orders/", body, Authorization=f"Bearer {token_of(buyer)}")[0] == 201
        assert not all(one.done() for one in storm)
        answers = [one.result(120) for one in storm]
    assert {status for status, _body in answers} == {200}
    assert [body["user"]["id"] for _status, body in answers] == [user.pk for user in users]
    hashes = User.objects.filter(email__startswith="storm").values_list("password", flat=True)
    assert len(set(hashes)) == 12
    assert all(hash.startswith(TODAYS) for hash in hashes)


# --- Older hashes -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("real")
@pytest.mark.django_db(transaction=True)
def test_an_older_hash_is_replaced_at_sign_in_and_no_token_ends(minji):
    before, token = old_hash(minji), Wire(minji)
    with nothing_changes():
        problem(sign_in(password="wrong"), 401, "wrong_credentials")
    answer = sign_in()
    assert answer.status_code == 200
    minji.refresh_from_db()
    assert before != minji.password
    assert minji.password.startswith(TODAYS)
    for wire in (token, Wire(token=answer.json()["token"])):
        assert wire.get("users/me/").status_code == 200
    assert sign_in().status_code == 200
    assert User.objects.get().password == minji.password


@pytest.mark.usefixtures("real")
@pytest.mark.django_db
def test_the_desk_replaces_an_older_hash_too(operator):
    old_hash(operator)
    desk, token = Client(), Wire(operator)
    form = {"username": operator.email, "password": PASSWORD}
    assert desk.post("/admin/login/", form).status_code == 302
    assert User.objects.get().password.startswith(TODAYS)
    assert desk.get("/admin/").status_code == 200
    assert token.get("users/me/").status_code == 200


@pytest.mark.usefixtures("real")
@pytest.mark.django_db
def test_replacing_a_hash_does_not_undo_a_new_password(minji):
    old_hash(minji)
    signing_in = User.objects.get()
    minji.set_password(NEW)
    minji.save()
    assert signing_in.check_password(PASSWORD)  # as it was when it was read
    assert User.objects.get().password == minji.password


@pytest.mark.usefixtures("real")
@pytest.mark.django_db
def test_two_who_sign_in_with_an_older_hash_at_once_both_get_in(minji):
    old_hash(minji)
    both = [services.sign_in(email=minji.email, password=PASSWORD) for _ in range(2)]
    users = [one.result() for one in both]
    assert users[0].password == users[1].password == User.objects.get().password
    assert len({services.new_token(user=user) for user in users}) == 2


@pytest.mark.usefixtures("real")
@pytest.mark.django_db
def test_who_signs_in_with_an_older_hash_while_it_is_changed_does_not_get_in(minji):
    old_hash(minji)
    signing_in = services.sign_in(email=minji.email, password=PASSWORD)
    services.change_password(user=minji, current=PASSWORD, new=NEW).result()
    with pytest.raises(WrongCredentials):
        signing_in.result()
    assert services.sign_in(email=minji.email, password=NEW).result() == minji


@pytest.mark.django_db
def test_of_two_who_change_a_password_at_once_one_is_told_to_come_again(minji):
    both = [
        services.change_password(user=User.objects.get(), current=PASSWORD, new=new)
        for new in (NEW, f"{NEW} 2")
    ]
    both[0].result()
    with nothing_changes(), pytest.raises(Busy):
        both[1].result()
    assert services.sign_in(email=minji.email, password=NEW).result() == minji


@pytest.mark.django_db
def test_a_profile_that_is_refused_keeps_the_password(minji):
    changed = services.change_password(user=minji, current=PASSWORD, new=NEW, profile={"name": ""})
    with nothing_changes(), pytest.raises(Invalid):
        changed.result()


@pytest.mark.django_db(transaction=True)
def test_a_new_password_of_ones_own_at_the_desk_ends_tokens_and_other_sessions(operator):
    operator.set_password(PASSWORD)
    operator.save()
    desk, other, token = signed_in(operator), signed_in(operator), Wire(operator)
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert desk.post("/admin/password_change/", form | {"old_password": "wrong"}).status_code == 200
    assert token.get("users/me/").status_code == 200
    assert desk.post("/admin/password_change/", form).status_code == 302
    assert desk.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 302
    problem(token.get("users/me/"), 401, "not_authenticated")
