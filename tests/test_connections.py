"""Clients that send slowly, half, too much or nothing: the shop answers the others, and tells these."""

import contextlib
import http.client
import json
import select
import socket
import time

import pytest

from tests.support.factories import make_options, make_user
from tests.support.server import WebServer
from tests.support.wire import token_of
from tests.support.worker import database_url
from yousinsa.http import intake as intake_module
from yousinsa.http.intake import LARGE, MAX_BODY, MAX_HEAD, MORE, SECONDS, WHOLE, Intake, Unfit

CROWD = 1000
HEAD = b"POST /api/v1/orders/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SIGN_IN = HEAD.replace(b"orders", b"users/sign-in")


# --- What has arrived -----------------------------------------------------------------------------------


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n",
        HEAD + b"Content-Length: 5\r\n\r\nabcde",
        HEAD + b"CONTENT-length:\t5 \r\nX-Content-Length: 9\r\n\r\nabcde",
        HEAD + b"Content-Length: 0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n0\r\n\r\n\r\n00\r\nTrailer: x\r\n\r\n",
    ],
)
def test_a_request_is_whole_with_its_last_byte_and_not_before(request_):
    bytewise, at_once = Intake(0), Intake(0)
    states = [bytewise.feed(request_[i : i + 1], 0) for i in range(len(request_))]
    assert states == [MORE] * (len(request_) - 1) + [WHOLE]
    assert at_once.feed(request_, 0) == WHOLE


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\nHost: shop\n\n",
        b"GET / HTTP/1.1\r\nHost: shop\n",
        HEAD + b"Content-Length: five\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 9000,
    ],
)
def test_what_can_be_no_request_is_not_waited_for(request_):
    assert Intake(0).feed(request_, 0) == WHOLE


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * MAX_HEAD, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", 431),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n", 413),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (MAX_BODY // 5), 413),
    ],
)
def test_too_much_is_refused_while_it_comes(request_, status):
    with pytest.raises(Unfit) as refused:
        Intake(0).feed(request_, 0)
    assert refused.value.status == status


@pytest.mark.sqlite
def test_a_long_body_is_not_gathered():
    assert Intake(0).feed(HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 0) == LARGE


@pytest.mark.sqlite
def test_a_sender_is_late_by_its_first_byte_and_by_the_rate_of_its_body():
    silent, slow, steady = Intake(0), Intake(0), Intake(0)
    assert not silent.is_late(SECONDS)
    assert silent.is_late(SECONDS + 1)
    slow.feed(b"GET / HTTP/1.1\r\n", 100)
    slow.feed(b"H", 109)
    assert not slow.is_late(109)
    assert slow.is_late(111)
    steady.feed(HEAD + b"Content-Length: 900000\r\n\r\n", 0)
    steady.feed(b"x" * intake_module.BYTES_A_SECOND * 5, 14)
    assert not steady.is_late(14)
    assert steady.is_late(17)


# --- A real server ----------------------------------------------------------------------------------------


@pytest.fixture
def server(transactional_db, tmp_path):
    with WebServer(
        {"DATABASE_URL": database_url(), "VAR_DIR": str(tmp_path), "REDIS_URL": "", "WEB_CONCURRENCY": "1",
         "WEB_THREADS": "16"},
        log=tmp_path / "log",
    ) as running:  # fmt: skip
        yield running


@contextlib.contextmanager
def crowd(server, said: bytes, size: int = CROWD):
    """Connections that said this much and stay."""
    clients = []
    try:
        for _ in range(size):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            client.sendall(said)
            clients.append(client)
        for client in clients if said.endswith(b"close\r\n\r\n") else ():
            assert client.recv(12) == b"HTTP/1.1 200"  # and now it is in no hurry to close
        yield clients
    finally:
        for client in clients:
            client.close()


def exchange(server, raw: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send these bytes on a connection of their own, and no more; the answer to them."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(raw)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHo",
        HEAD + b"Content-Length: 500\r\n\r\n",
        HEAD + b"Content-Length: 500000\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 60000000\r\n\r\n--x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    ],
    ids=["silent", "half a head", "no body", "half a body", "half a chunk", "large body", "answered"],
)
def test_the_shop_answers_beside_a_thousand_who_keep_it_waiting(server, said):
    buyer, (option,) = make_user("buyer@example.com"), make_options([10])
    token = {"Authorization": f"Bearer {token_of(buyer)}", "Content-Type": "application/json"}
    order = json.dumps({"lines": [{"option": option.pk, "quantity": 1}]})
    calls = [
        ("GET", "/healthz", None, {}, 200),
        ("POST", "/api/v1/orders/", order, token, 201),
        ("GET", "/api/v1/products/", None, {}, 200),
    ]
    # What the first request of each kind costs is not the crowd's doing.
    for method, path, body, headers, status in calls:
        assert ask(server, method, path, body, headers)[0] == status
    with crowd(server, said):
        for method, path, body, headers, status in calls:
            found, seconds = ask(server, method, path, body, headers)
            assert (found, seconds < 1) == (status, True), (path, found, seconds)


def ask(server, method, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    begun = time.monotonic()
    connection.request(method, path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status, time.monotonic() - begun


def test_what_never_becomes_a_request_is_a_problem_document(server):
    cases = [
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70_000, 431, "headers_too_large"),
        (b"GET / HTTP/9.1\r\nHost: h\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400, "malformed_request"),
        (HEAD + b"Content-Length: x\r\n\r\n", 400, "malformed_request"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400, "malformed_request"),
        (HEAD + b"Expect: the-moon\r\n\r\n", 417, "expectation_failed"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n", 413, "body_too_large"),
        (
            HEAD.replace(b"orders", b"users/sign-in") + b"Content-Length: 60000000\r\n\r\n{",
            413,
            "body_too_large",
        ),
    ]
    for raw, status, code in cases:
        found, headers, body = exchange(server, raw)
        assert (found, headers["Content-Type"]) == (status, "application/problem+json"), (raw[:80], body)
        assert json.loads(body)["code"] == code
        assert headers["Connection"] == "close"


def test_half_a_request_is_told_that_it_takes_too_long(server):
    raw = [b"GET /healthz HTTP/1.1\r\nHo", HEAD + b"Content-Length: 500\r\n\r\n"]
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in raw]
    for client, said in zip(clients, raw, strict=True):
        client.sendall(said)
    for client in clients:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (408, "request_timeout")
        client.close()


def test_a_body_that_its_client_cut_off_is_no_request(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"POST /api/v1/users/sign-in/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                       b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{}")  # fmt: skip
        client.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "malformed_body")


def test_two_requests_at_once_are_answered_in_turn_and_the_connection_is_kept(server):
    one = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        for said in (one + one + one[:20], one[20:] + one):
            client.sendall(said)
            found = b""
            while found.count(b'{"status": "ok"}') < 2:
                piece = client.recv(1 << 16)
                assert piece, found
                found += piece
            assert found.count(b"HTTP/1.1 200 OK") == 2
            assert b"keep-alive" in found


def test_who_waits_to_be_asked_for_the_body_is_asked(server):
    body = b'{"email": "nobody@example.com", "password": "x"}'
    head = (b"POST /api/v1/users/sign-in/ HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head)
        assert select.select([client], [], [], 30)[0]
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 401


# --- Headers that meant something else --------------------------------------------------------------------


def test_no_header_says_where_the_shop_is_mounted(server):
    for path in (b"/shop/metrics", b"/shop/healthz", b"/healthz"):
        for header in (b"SCRIPT_NAME: /shop", b"Script_Name: /healthz", b"PATH_INFO: /metrics"):
            status, _headers, body = exchange(
                server, b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n" % (path, header)
            )
            assert (status, b"# HELP" in body) == (200 if path == b"/healthz" else 404, False)


def test_two_idempotency_keys_are_refused_and_one_with_a_comma_is_a_key(server):
    buyer, (option,) = make_user("buyer@example.com"), make_options([10])
    body = json.dumps({"lines": [{"option": option.pk, "quantity": 1}]}).encode()
    start = HEAD + f"Authorization: Bearer {token_of(buyer)}\r\nContent-Length: {len(body)}\r\n".encode()
    for keys, expected in (
        (b"a,b", 201),
        (b"a\r\nIdempotency-Key: b", 400),
        (b"a\r\nIDEMPOTENCY-KEY: a", 400),
    ):
        status, _headers, answer = exchange(server, start + b"Idempotency-Key: " + keys + b"\r\n\r\n" + body)
        assert status == expected, answer
    assert b"Idempotency-Key" in answer
