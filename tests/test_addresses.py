"""Options in the addresses of servers: TLS that is proved by a handshake, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.utils import ConnectionHandler
from django.test import override_settings

from orders.drops.redis import connections as drop_connections
from tests.support.certificates import Authority
from tests.support.services import MariaDB, Redis
from yousinsa.db.mysql import base
from yousinsa.process.addresses import checked_redis_url, database_config
from yousinsa.settings import database_settings


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


# --- What is refused ----------------------------------------------------------------------------------------

MYSQL = "mysql://u:p@127.0.0.1:3306/shop"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"{MYSQL}?sslca=/x&pool=4", "DATABASE_URL has unknown options: sslca, pool (it may have"),
        (f"{MYSQL}?CONN_MAX_AGE=60", "unknown options: CONN_MAX_AGE"),
        (f"{MYSQL}?isolation_level=x", "unknown options: isolation_level"),
        (f"{MYSQL}?ssl_ca=", "options without a value: ssl_ca"),
        (f"{MYSQL}?ssl_mode=VERIFY_CA&ssl_mode=VERIFY_CA", "an option twice"),
        (f"{MYSQL}?ssl_mode=verify", "ssl_mode is one of VERIFY_IDENTITY, VERIFY_CA, not 'verify'"),
        (f"{MYSQL}?ssl_mode=VERIFY_IDENTITY", "ssl_mode needs ssl_ca"),
        (f"{MYSQL}?ssl_mode=REQUIRED", "ssl_mode is one of VERIFY_IDENTITY, VERIFY_CA, not 'REQUIRED'"),
        (f"{MYSQL}?ssl_key={__file__}", "ssl_key needs ssl_ca"),
        (f"{MYSQL}?ssl_ca=/nowhere/ca.pem", "ssl_ca: /nowhere/ca.pem: No such file or directory"),
        (f"{MYSQL}?ssl_ca={__file__}&ssl_cert={__file__}", "ssl_cert and ssl_key belong together"),
        (f"{MYSQL}?connect_timeout=soon", "connect_timeout is a number of seconds"),
        ("sqlite:////tmp/x.sqlite3?timeout=5", "unknown options: timeout (it has none)"),
        ("postgres://x/y?sslmode=require", "DATABASE_URL must be sqlite:///… or mysql://…"),
    ],
)
def test_options_of_the_database_that_make_no_sense_are_refused_by_name(url: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        database_config(url)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("rediss://h/0?ssl_ca=/x", "REDIS_URL has unknown options: ssl_ca (it may have ssl_ca_certs, "),
        ("redis://h/0?ssl_ca_certs=/x", "unknown options: ssl_ca_certs (it has none)"),
        ("redis://h/0?decode_responses=1", "unknown options: decode_responses"),
        ("rediss://h/0?ssl_ca_certs=/nowhere", "ssl_ca_certs: /nowhere: No such file"),
        ("rediss://h/0?ssl_cert_reqs=maybe", "ssl_cert_reqs is one of none, optional, required"),
        ("rediss://h/0?ssl_check_hostname=perhaps", "ssl_check_hostname is one of true, false"),
        ("http://h/0", "REDIS_URL must be redis://… or rediss://…"),
        ("localhost:6379", "REDIS_URL must be redis://… or rediss://…"),
    ],
)
def test_options_of_redis_that_make_no_sense_are_refused_by_name(url: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        checked_redis_url(url)
    assert sentence in str(refused.value)


def test_a_certificate_authority_alone_asks_for_the_whole_proof(ours: Authority) -> None:
    assert database_config(f"{MYSQL}?ssl_ca={ours.ca}")["OPTIONS"] == {
        "ssl": {"ca": str(ours.ca)}, "ssl_mode": "VERIFY_IDENTITY",
    }  # fmt: skip


# --- MariaDB ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mariadb(ours: Authority) -> Any:
    cert, key = ours.certify("database")
    options = [
        f"--ssl-cert={cert}",
        f"--ssl-key={key}",
        f"--ssl-ca={ours.ca}",
        "--require-secure-transport=ON",
    ]
    with MariaDB(durable=False, options=options) as server:
        yield server


def cipher_of(url: str) -> str:
    """What the shop's own connection to this address is encrypted with."""
    base.pool_of.forget()  # connections that were opened otherwise
    connection = ConnectionHandler({"default": database_settings(database_config(url))})["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            return str(cursor.fetchone()[1])
    finally:
        connection.close()


@pytest.mark.mariadb
@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["", "&ssl_mode=VERIFY_IDENTITY", "&ssl_mode=VERIFY_CA"])
def test_the_database_is_spoken_to_by_tls_that_our_authority_vouches_for(
    mariadb: MariaDB, ours: Authority, mode: str
) -> None:
    assert "TLS" in cipher_of(f"{mariadb.url}?ssl_ca={ours.ca}{mode}")


@pytest.mark.mariadb
@pytest.mark.django_db
def test_a_client_certificate_is_sent_where_the_server_wants_one(mariadb: MariaDB, ours: Authority) -> None:
    cert, key = ours.certify("shop")
    with mariadb.root() as root:
        root.cursor().execute("ALTER USER yousinsa@127.0.0.1 REQUIRE X509")
    try:
        assert cipher_of(f"{mariadb.url}?ssl_ca={ours.ca}&ssl_cert={cert}&ssl_key={key}")
        with pytest.raises(OperationalError, match="Access denied"):
            cipher_of(f"{mariadb.url}?ssl_ca={ours.ca}")
    finally:
        with mariadb.root() as root:
            root.cursor().execute("ALTER USER yousinsa@127.0.0.1 REQUIRE NONE")


@pytest.mark.mariadb
@pytest.mark.django_db
def test_a_server_of_another_authority_is_refused(mariadb: MariaDB, theirs: Authority) -> None:
    with pytest.raises(OperationalError, match=r"(?i)certificate|ssl|tls"):
        cipher_of(f"{mariadb.url}?ssl_ca={theirs.ca}&ssl_mode=VERIFY_IDENTITY")


@pytest.mark.mariadb
@pytest.mark.django_db
def test_a_certificate_for_another_name_is_refused(ours: Authority) -> None:
    cert, key = ours.certify("elsewhere", "DNS:elsewhere.example")
    with (
        MariaDB(durable=False, options=[f"--ssl-cert={cert}", f"--ssl-key={key}"]) as server,
        pytest.raises(OperationalError, match=r"(?i)certificate|ssl|tls|hostname"),
    ):
        cipher_of(f"{server.url}?ssl_ca={ours.ca}&ssl_mode=VERIFY_IDENTITY")


@pytest.mark.mariadb
@pytest.mark.django_db
def test_tls_is_not_given_up_where_the_server_says_that_it_has_none(ours: Authority) -> None:
    with (
        MariaDB(durable=False, options=["--skip-ssl"]) as server,
        pytest.raises(OperationalError, match=r"(?i)ssl|tls"),
    ):
        cipher_of(f"{server.url}?ssl_ca={ours.ca}")


# --- Redis --------------------------------------------------------------------------------------------------


class SecureRedis(Redis):
    """Speaks TLS on `port`, and nothing else."""

    def __init__(self, cert: Path, key: Path, authority: Authority) -> None:
        super().__init__("no")
        self.authority = authority
        self.certificates = [
            "--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority.ca),
            "--tls-auth-clients", "optional",
        ]  # fmt: skip

    @property
    def bare_url(self) -> str:
        return super().url.replace("redis://", "rediss://")

    @property
    def url(self) -> str:
        """For who starts it, whatever its name is."""
        return f"{self.bare_url}?ssl_ca_certs={self.authority.ca}&ssl_check_hostname=false"

    def command(self) -> list[str]:
        return [*super().command(), "--port", "0", "--tls-port", str(self.port), *self.certificates]


@pytest.fixture(scope="module")
def secure_redis(ours: Authority) -> Any:
    with SecureRedis(*ours.certify("redis"), ours) as server:
        yield server


def cache_on(url: str) -> Any:
    """The shop's cache on this address."""
    checked_redis_url(url)
    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
    return override_settings(CACHES={"default": backend}, REDIS_URL=url)


def test_cache_and_drops_speak_tls_to_redis(secure_redis: SecureRedis) -> None:
    with cache_on(f"{secure_redis.bare_url}?ssl_ca_certs={secure_redis.authority.ca}"):
        caches["default"].set("known", 1)
        assert caches["default"].get("known") == 1
        assert drop_connections.client().ping()
        pool = drop_connections.order_pool()
        seen = {pool.use(lambda connection: id(connection)) for _ in range(3)}
        assert len(seen) == 1  # what TLS itself sends is not taken for the end of a connection
        answer = pool.use(lambda connection: drop_connections.call(connection, "PING"))
        assert answer == "PONG"


def test_a_redis_of_another_authority_is_refused(secure_redis: SecureRedis, theirs: Authority) -> None:
    url = f"{secure_redis.bare_url}?ssl_ca_certs={theirs.ca}"
    with cache_on(url), pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        drop_connections.client().ping()


def test_a_redis_under_another_name_is_refused(ours: Authority) -> None:
    with (
        SecureRedis(*ours.certify("far", "DNS:elsewhere.example"), ours) as server,
        cache_on(f"{server.bare_url}?ssl_ca_certs={ours.ca}"),
        pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        drop_connections.client().ping()
