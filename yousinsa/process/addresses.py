"""Addresses of servers as the environment gives them, and the options in their query part.

An option that nobody knows is refused at the start: one that was spelled wrong would otherwise mean a
connection without TLS, and nobody told.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

# Not REQUIRED: MariaDB's client goes on without TLS then where the server, or whoever is in between, says
# that it has none. With these two it does not.
SSL_MODES = ("VERIFY_IDENTITY", "VERIFY_CA")
# Of MySQL's address; what each is for the client's `ssl`.
MYSQL_FILES = {"ssl_ca": "ca", "ssl_cert": "cert", "ssl_key": "key"}
MYSQL_OPTIONS = (*MYSQL_FILES, "ssl_mode", "connect_timeout", "unix_socket")
REDIS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
REDIS_SSL_OPTIONS = (*REDIS_FILES, "ssl_cert_reqs", "ssl_check_hostname")
REDIS_CERT_REQS = ("none", "optional", "required")
BOOLEANS = ("true", "false")


def options_of(url: str, known: Collection[str], name: str) -> dict[str, str]:
    """The query part of an address, as option -> value.

    Raises ImproperlyConfigured, which names the variable, for options that are not `known`, empty, or there
    twice.
    """
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    options = dict(pairs)
    if unknown := [option for option in options if option not in known]:
        may_be = f"it may have {', '.join(known)}" if known else "it has none"
        raise ImproperlyConfigured(f"{name} has unknown options: {', '.join(unknown)} ({may_be})")
    if len(options) < len(pairs):
        raise ImproperlyConfigured(f"{name} has an option twice: give each once")
    if empty := [option for option, value in options.items() if not value]:
        raise ImproperlyConfigured(f"{name} has options without a value: {', '.join(empty)}")
    return options


def check_files(options: dict[str, str], names: Collection[str], name: str) -> None:
    """Raises ImproperlyConfigured for a file that is not there, or cannot be read."""
    for option in names:
        if option in options:
            try:
                Path(options[option]).open("rb").close()
            except OSError as exc:
                raise ImproperlyConfigured(f"{name}: {option}: {options[option]}: {exc.strerror}") from exc


def check_choice(options: dict[str, str], option: str, choices: Collection[str], name: str) -> None:
    """Raises ImproperlyConfigured for a value that is none of `choices`."""
    if option in options and options[option] not in choices:
        raise ImproperlyConfigured(
            f"{name}: {option} is one of {', '.join(choices)}, not {options[option]!r}"
        )


def database_config(url: str, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's settings of a database: sqlite:///… or mysql://….

    Raises ImproperlyConfigured with a sentence that begins with `name` for any other, and for wrong options.
    """
    address, _mark, _query = url.partition("?")
    config: dict[str, Any] = environ.Env.db_url_config(address)
    match config.get("ENGINE"):
        case "django.db.backends.mysql":
            config["OPTIONS"] = mysql_options(options_of(url, MYSQL_OPTIONS, name), name)
        case "django.db.backends.sqlite3":
            options_of(url, (), name)
        case engine:
            raise ImproperlyConfigured(f"{name} must be sqlite:///… or mysql://…, not {engine}")
    return config


def mysql_options(options: dict[str, str], name: str) -> dict[str, Any]:
    """What mysqlclient is told. TLS begins with a certificate authority, and proves the server's name."""
    check_choice(options, "ssl_mode", SSL_MODES, name)
    check_files(options, MYSQL_FILES, name)
    files = {key: options[option] for option, key in MYSQL_FILES.items() if option in options}
    if "ca" not in files and (tls := [option for option in options if option.startswith("ssl_")]):
        raise ImproperlyConfigured(f"{name}: {tls[0]} needs ssl_ca, the certificate authority's file")
    if ("cert" in files) != ("key" in files):
        raise ImproperlyConfigured(f"{name}: ssl_cert and ssl_key belong together: give both")
    result: dict[str, Any] = {}
    if files:
        result |= {"ssl": files, "ssl_mode": options.get("ssl_mode", SSL_MODES[0])}
    if "unix_socket" in options:
        result["unix_socket"] = options["unix_socket"]
    if "connect_timeout" in options:
        if not options["connect_timeout"].isdecimal():
            raise ImproperlyConfigured(f"{name}: connect_timeout is a number of seconds")
        result["connect_timeout"] = int(options["connect_timeout"])
    return result


def checked_redis_url(url: str, name: str = "REDIS_URL") -> str:
    """The address itself, whose options redis-py reads by itself: redis://…, or rediss://… with TLS.

    Raises ImproperlyConfigured for another scheme and for wrong options.
    """
    scheme = urlsplit(url).scheme
    if scheme not in ("redis", "rediss"):
        raise ImproperlyConfigured(
            f"{name} must be redis://… or rediss://… (with TLS), not {scheme or url!r}"
        )
    options = options_of(url, REDIS_SSL_OPTIONS if scheme == "rediss" else (), name)
    check_choice(options, "ssl_cert_reqs", REDIS_CERT_REQS, name)
    check_choice(options, "ssl_check_hostname", BOOLEANS, name)
    check_files(options, REDIS_FILES, name)
    return url
