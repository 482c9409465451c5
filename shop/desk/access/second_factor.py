"""The second factor of signing in to the desk: a code from a device (TOTP, RFC 6238), or a backup code.

A code is good once: the device's row is locked while a code is checked and remembers the last one.
"""

from base64 import b32encode
from typing import Any

import qrcode
import qrcode.image.svg
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from shop.models import Authenticator, User
from yousinsa.security.sealing import Unreadable

BACKUP_CODES = 10
DIGITS = 6


def is_required() -> bool:
    """Whether everybody at the desk needs one (ADMIN_TOTP=required)."""
    return bool(settings.ADMIN_TOTP == "required")


def is_enrolled(user: Any) -> bool:
    """Whether this user signs in with a code."""
    return Authenticator.objects.filter(user_id=user.pk, confirmed=True).exists()


def is_passed(request: HttpRequest) -> bool:
    """Whether this session gave a code, where its user needs one. Asked for once a request."""
    user: Any = request.user
    if getattr(user, "otp_device", None) is not None:
        return True
    if not hasattr(request, "_is_enrolled"):
        request._is_enrolled = is_enrolled(user)  # type: ignore[attr-defined]
    return not request._is_enrolled and not is_required()  # type: ignore[attr-defined]


def must_enrol(request: HttpRequest) -> bool:
    """Whether this user must set up a device before anything else."""
    user: Any = request.user
    if not (is_required() and user.is_active and user.is_staff) or is_passed(request):
        return False
    return not request._is_enrolled  # type: ignore[attr-defined]


def verify(user: User, code: str) -> Device | None:
    """The device that takes this code, or None. A code that was taken once is refused from then on."""
    code = "".join(code.split()).lower()
    kind = Authenticator if code.isdecimal() and len(code) == DIGITS else StaticDevice
    with transaction.atomic():
        for device in kind.objects.select_for_update().filter(user=user, confirmed=True).order_by("pk"):
            if device.verify_token(code):
                return device
    return None


def new_device(user: User) -> Authenticator:
    """The device that is being set up: its secret stays the same until a code confirms it.

    One whose secret was sealed under a SECRET_KEY that is gone is made anew.
    """
    being_set_up = Authenticator.objects.filter(user=user, confirmed=False)
    try:
        for device in being_set_up:
            device.bin_key  # noqa: B018 (can it be read?)
    except Unreadable:
        being_set_up.delete()
    device, _created = being_set_up.get_or_create(user=user, confirmed=False, defaults={"name": "desk"})
    return device


def confirm(user: User, code: str) -> tuple[Authenticator, list[str]] | None:
    """Take the new device into use if this is its code: the device and the backup codes, else None."""
    with transaction.atomic():
        # The user first: two windows that set up a device take turns.
        User.objects.select_for_update().get(pk=user.pk)
        device = Authenticator.objects.select_for_update().filter(user=user, confirmed=False).first()
        if device is None or not device.verify_token("".join(code.split())):
            return None
        Authenticator.objects.filter(user=user).exclude(pk=device.pk).delete()
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        return device, new_backup_codes(user)


def new_backup_codes(user: User) -> list[str]:
    """Further codes, each good once; those that were given before end."""
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        device = StaticDevice.objects.create(user=user, name="desk")
        codes = [StaticToken.random_token() for _number in range(BACKUP_CODES)]
        StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes


def backup_codes_left(user: User) -> int:
    return StaticToken.objects.filter(device__user=user).count()


def remove(user: User) -> bool:
    """The user signs in by password alone again: lost device, or not wanted any more. False if they did."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        was_enrolled = is_enrolled(user)
        Authenticator.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
    return was_enrolled


def picture(device: Authenticator) -> str:
    """What an authenticator app scans, as SVG."""
    image = qrcode.make(device.config_url, image_factory=qrcode.image.svg.SvgPathImage, box_size=8, border=2)
    return str(image.to_string(encoding="unicode"))


def secret(device: Authenticator) -> str:
    """What is typed where nothing can be scanned, in groups of four."""
    text = b32encode(device.bin_key).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))
