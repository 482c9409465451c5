"""issue_tokens: a file of tokens that work, readable by its owner only."""

import time
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from shop.models import Role, User
from yousinsa.auth import read_token

pytestmark = pytest.mark.django_db


def issue(out: Path, buyers: int = 3) -> tuple[str, list[str]]:
    """What the command says, and the tokens that it wrote."""
    said = StringIO()
    call_command("issue_tokens", buyers=buyers, out=out, stdout=said)
    return said.getvalue(), out.read_text().splitlines()


def test_tokens_speak_for_buyers_for_24_hours(tmp_path: Path) -> None:
    said, tokens = issue(tmp_path / "tokens")
    assert "3 tokens" in said
    assert "(3 buyers created)" in said
    for number, token in enumerate(tokens, start=1):
        user = User.objects.get(email=f"load-{number}@load.yousinsa.test")
        assert user.role == Role.BUYER
        assert not user.has_usable_password()
        principal = read_token(token)
        assert (principal.id, principal.role, principal.is_staff) == (user.pk, Role.BUYER, False)
        assert principal.expires_at == pytest.approx(time.time() + 24 * 3600, abs=60)


def test_a_second_run_creates_only_the_missing_buyers(tmp_path: Path) -> None:
    issue(tmp_path / "tokens", 2)
    said, tokens = issue(tmp_path / "tokens", 5)
    assert "(3 buyers created)" in said
    assert len(set(tokens)) == 5
    assert User.objects.count() == 5


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    out.write_text("an old file\n" * 1000)
    out.chmod(0o644)
    _, tokens = issue(out, 1)
    assert out.stat().st_mode & 0o777 == 0o600
    assert len(tokens) == 1


def test_a_path_that_cannot_be_written_is_named_before_anything_is_created(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="absent/tokens cannot be written"):
        issue(tmp_path / "absent" / "tokens")
    assert not User.objects.exists()
