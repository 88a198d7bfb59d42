"""Encryption of stored data: AES-256-SIV, bound to its user and session.

AES-SIV (RFC 5297) is authenticated and deterministic: the same text with the same binding results in the same bytes. So
a repeated commit has the same messages as before, and the stores need no key to recognise them. Equal texts in two
places have different bytes, because the binding differs (user, session, turn; a random salt if there is no turn).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Any

from rag_chain.errors import ConfigurationError, DecryptionError
from rag_chain.sessions.values.keys import SessionRef

KEY_BYTES = 32
VERSION = "1"
_MISSING = (
    "RAG_ENCRYPTION_KEYS is set, and the package cryptography is missing; install it: pip install"
    ' "rag_chain[encryption]".'
)


class Keyring:
    """The keys of RAG_ENCRYPTION_KEYS: the first encrypts, all decrypt. Without keys nothing is encrypted."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._ciphers: dict[str, Any] = {}
        self.newest = ""
        """The name of the key that encrypts; empty: there is none. A name reveals nothing about its key."""
        for key in keys:
            name, cipher = _derive(key)
            self._ciphers[name] = cipher
            self.newest = self.newest or name

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Return the keyring of a setting's text.

        Raises:
            ConfigurationError: a key is not 32 bytes as base64, or the package ``cryptography`` is missing.
        """
        keys = []
        for number, part in enumerate((part.strip() for part in text.split(",")), 1):
            if not text.strip():
                break
            bare = part.rstrip("=").translate(_STANDARD)
            try:
                key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != KEY_BYTES:
                raise ConfigurationError(
                    f"RAG_ENCRYPTION_KEYS: key {number} is not {KEY_BYTES} bytes as base64; make one:"
                    " python -c 'import secrets; print(secrets.token_urlsafe(32))'."
                )
            keys.append(key)
        return cls(keys)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._ciphers)})"

    def __bool__(self) -> bool:
        return bool(self._ciphers)

    def box(self, ref: SessionRef) -> Box:
        """Return the encryption of one session's values."""
        return Box(self, ref)

    def encrypt(self, plain: bytes, binding: Sequence[bytes]) -> tuple[str, bytes]:
        """Return the name of the key, and the ciphertext."""
        return self.newest, self._ciphers[self.newest].encrypt(plain, list(binding))

    def decrypt(self, name: str, data: bytes, binding: Sequence[bytes], what: str) -> bytes:
        """Return the plain bytes.

        Args:
            name: of the key.
            what: name of the value, for messages.

        Raises:
            DecryptionError: the key is unknown, or the bytes are not those that were written there.
        """
        cipher = self._ciphers.get(name)
        if cipher is None:
            if not self._ciphers:
                raise DecryptionError(
                    f"{what} is encrypted; set RAG_ENCRYPTION_KEYS to the key that it was written with."
                )
            raise DecryptionError(
                f"{what} was encrypted with key {name[:16]!a}, which is not among RAG_ENCRYPTION_KEYS; add that key"
                " after the first."
            )
        from cryptography.exceptions import InvalidTag

        try:
            plain: bytes = cipher.decrypt(data, list(binding))
        except (InvalidTag, ValueError) as error:
            raise DecryptionError(
                f"{what} can't be decrypted: its bytes were changed, or it was moved here from elsewhere; restore it"
                " from a copy, or delete it."
            ) from error
        return plain


class Box:
    """Encrypts and decrypts the values of one session."""

    __slots__ = ("_context", "_keyring", "ref")

    def __init__(self, keyring: Keyring, ref: SessionRef) -> None:
        self._keyring = keyring
        self.ref = ref
        self._context = (b"rag_chain", (ref.user_id or "").encode(), ref.session_id.encode())

    def __bool__(self) -> bool:
        """Whether there is a key to encrypt with."""
        return bool(self._keyring)

    @property
    def newest(self) -> str:
        """The name of the key that encrypts."""
        return self._keyring.newest

    def seal(self, plain: bytes, kind: str, details: bytes = b"", *, salted: bool = False) -> str:
        """Return bytes encrypted, as text.

        Args:
            plain: the bytes.
            kind: their kind, such as ``message``. They can be decrypted only as that kind.
            details: other data that they are bound to.
            salted: whether equal bytes result in different texts.
        """
        salt = os.urandom(8).hex() if salted else ""
        name, data = self._keyring.encrypt(plain, (*self._context, kind.encode(), salt.encode(), details))
        return f"{VERSION}.{name}.{salt}.{base64.b64encode(data).decode()}"

    def open(self, token: str, kind: str, details: bytes = b"", what: str = "A value") -> bytes:
        """Return the bytes that ``seal`` encrypted.

        Raises:
            DecryptionError: it can't be decrypted here.
        """
        what = f"{what} of session {self.ref}"
        version, _, rest = token.partition(".")
        name, _, rest = rest.partition(".")
        salt, _, text = rest.partition(".")
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if version != VERSION:
            raise DecryptionError(f"{what} was encrypted in a form that this version does not know; upgrade rag_chain.")
        return self._keyring.decrypt(name, data, (*self._context, kind.encode(), salt.encode(), details), what)

    def wrap(self, plain: bytes, kind: str, details: bytes = b"") -> bytes:
        """Return bytes encrypted, or unchanged without a key. ``plain`` never begins with ``*``."""
        if not self:
            return plain
        name, data = self._keyring.encrypt(plain, (*self._context, kind.encode(), b"", details))
        return b"*%b.%b.%b" % (VERSION.encode(), name.encode(), data)

    def unwrap(self, stored: bytes, kind: str, details: bytes = b"", what: str = "A value") -> bytes:
        """Return the bytes that ``wrap`` encrypted.

        Raises:
            DecryptionError: it can't be decrypted here.
        """
        if not stored.startswith(b"*"):
            return stored
        what = f"{what} of session {self.ref}"
        _, _, rest = stored.partition(b".")
        name, _, data = rest.partition(b".")
        binding = (*self._context, kind.encode(), b"", details)
        return self._keyring.decrypt(name.decode(errors="replace"), data, binding, what)


NO_KEYS = Keyring()
_STANDARD = str.maketrans("-_", "+/")


def _derive(key: bytes) -> tuple[str, Any]:
    """Return the name and the cipher of a key."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        from cryptography.hazmat.primitives.hashes import SHA512
        from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
    except ImportError as error:
        raise ConfigurationError(_MISSING) from error
    name = HKDFExpand(SHA512(), 4, b"rag_chain key name").derive(key).hex()
    return name, AESSIV(HKDFExpand(SHA512(), 64, b"rag_chain AES-SIV").derive(key))
