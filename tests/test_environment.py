"""Settings, the README's table, .env.example and compose.yaml name the same variables."""

import re

import pytest

from tests.support.server import ROOT

pytestmark = pytest.mark.sqlite

# Made and read by the shop itself.
INTERNAL = {"SHARED_DIR"}


def text(name):
    return (ROOT / name).read_text()


def in_the_code():
    read = r'(?:env\.\w+\(|os\.environ\.(?:get|setdefault)\(|os\.environ\[)\s*["\']([A-Z_]+)["\']'
    sources = ("yousinsa/settings.py", "deploy/gunicorn.conf.py")
    return {name for source in sources for name in re.findall(read, text(source))} - INTERNAL


def in_the_readme():
    table = text("README.md").partition("| variable | meaning | default |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`([A-Z_]+)`", row.split(" | ")[0])}


def in_the_example():
    """Each variable with its default, None where it has to be set."""
    found = re.findall(r"^(# )?([A-Z_]+)=(.*)$", text(".env.example"), re.MULTILINE)
    return {name: value if optional else None for optional, name, value in found}


def of_compose_alone():
    return set(re.findall(r"\$\{([A-Z_]+)", text("compose.yaml"))) - in_the_code()


def test_they_name_the_same():
    assert in_the_readme() == in_the_code()
    assert set(in_the_example()) == in_the_code() | of_compose_alone()


def test_compose_passes_on_what_the_shop_reads():
    """A variable that compose does not name is not there, whatever .env says."""
    shop = text("compose.yaml").partition("\n  db:\n")[0]
    named = set(re.findall(r"^ {4,6}([A-Z_]+):", shop, re.MULTILINE))
    inside = {"VAR_DIR", "BIND_HOST", "PORT"}  # the image's own
    assert named == in_the_code() - inside


def test_the_example_holds_no_secret_and_what_has_to_be_set_stands_out():
    required = {name for name, value in in_the_example().items() if value is None}
    assert required == {"SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD"}
    assert re.findall(r"^[A-Z_]+=.+$", text(".env.example"), re.MULTILINE) == []


def test_the_example_says_the_defaults_that_are_in_force():
    example = in_the_example()
    defaults = re.findall(r'env\.\w+\("([A-Z_]+)", default="?([\w/]+)"?\)', text("yousinsa/settings.py"))
    assert len(defaults) >= 10
    for name, default in defaults:
        assert example[name] == {"False": "0"}.get(default, default), name
