"""Secrets that the database keeps and must not know: sealed under a key that is derived from SECRET_KEY.

AES-256-GCM with a random nonce. What a secret belongs to is part of the seal, so that one that is copied to
another row opens nothing there. SECRET_KEY_FALLBACKS still open what they sealed; nothing new is sealed under
them.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

NONCE_BYTES = 12


class Unreadable(Exception):
    """Neither SECRET_KEY nor SECRET_KEY_FALLBACKS open it, or it is not what was sealed."""


@lru_cache(maxsize=16)
def _cipher(secret_key: str) -> AESGCM:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"yousinsa.security.sealing")
    return AESGCM(kdf.derive(secret_key.encode()))


def seal(secret: bytes, belongs_to: str) -> str:
    """`secret` as text to be stored: 28 bytes longer, in base64."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = _cipher(settings.SECRET_KEY).encrypt(nonce, secret, belongs_to.encode())
    return urlsafe_b64encode(nonce + sealed).decode()


def unseal(text: str, belongs_to: str) -> bytes:
    """What was sealed for the same `belongs_to`. Raises `Unreadable`."""
    try:
        sealed = urlsafe_b64decode(text)
    except ValueError as exc:
        raise Unreadable("it was not sealed") from exc
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], belongs_to.encode())
        except (InvalidTag, ValueError):
            continue
    raise Unreadable("SECRET_KEY is not the one that it was sealed under, nor is any of SECRET_KEY_FALLBACKS")
