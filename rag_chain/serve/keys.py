"""API keys: a file with the sha256 of each key and its user. The keys themselves are not stored anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from rag_chain.access import read_tags
from rag_chain.errors import ConfigurationError, UsageError
from rag_chain.sessions.values.keys import check_id


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The stored form of a key.

    Args:
        id: names the key for ``revoke``.
        user: the user whose sessions it can use.
        sha256: of the key, in hex. A plain hash is enough: the key has 256 random bits, and can't be guessed.
        created: time in UTC, ISO 8601.
        access: tags of the documents that it may read, in addition to those that are open to all.
        manages: whether it may add and delete documents.
    """

    id: str
    user: str
    sha256: str
    created: str
    access: tuple[str, ...] = ()
    manages: bool = False


class KeyFile:
    """The keys in one file; a change by another process takes effect at the next ``find``.

    Args:
        path: a JSON file that only its owner may read. It need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_hash: dict[str, ApiKey] = {}

    def list_keys(self) -> list[ApiKey]:
        """Return all keys, the oldest first.

        Raises:
            ConfigurationError: the file can't be read.
        """
        try:
            return [_read(one) for one in json.loads(self.path.read_text("utf-8"))]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, UsageError) as error:
            raise ConfigurationError(f"The API keys in {self.path} can't be read; restore the file.") from error

    def find(self, key: str) -> ApiKey | None:
        """Return the entry of a key; ``None``: there is no such key, or it was revoked."""
        try:
            stat = self.path.stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            return None
        if state != self._seen:
            self._by_hash = {one.sha256: one for one in self.list_keys()}
            self._seen = state
        return self._by_hash.get(_hash(key))

    def add(self, user: str, access: Collection[str] = (), *, manages: bool = False) -> tuple[str, ApiKey]:
        """Create a key for a user; return the key, which is not stored, with its entry.

        Args:
            user: the user whose sessions it can use.
            access: tags of the documents that it may read, in addition to those that are open to all.
            manages: whether it may add and delete documents.

        Raises:
            InvalidIdError: the user's id can't be used.
            UsageError: a tag can't be used.
        """
        key = f"rag_{secrets.token_urlsafe(32)}"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        tags = read_tags(access, "--access")
        entry = ApiKey(secrets.token_hex(4), check_id(user, "user"), _hash(key), now, tags, manages)
        with self._locked():
            self._write([*self.list_keys(), entry])
        return key, entry

    def revoke(self, key_id: str) -> ApiKey:
        """Delete a key and return its entry.

        Raises:
            UsageError: there is no such key.
        """
        with self._locked():
            keys = self.list_keys()
            found = next((one for one in keys if one.id == key_id), None)
            if found is None:
                raise UsageError(f"There is no key {key_id!a}; `rag-chain keys list` has the ids.")
            self._write([one for one in keys if one is not found])
        return found

    def _locked(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self.path}.lock")

    def _write(self, keys: list[ApiKey]) -> None:
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600, exist_ok=False)
        with new.open("w", encoding="utf-8") as file:
            json.dump([asdict(one) for one in keys], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def _read(entry: dict[str, Any]) -> ApiKey:
    # A file of an earlier version has no tags.
    return ApiKey(**{**entry, "access": read_tags(entry.get("access", []), "access")})


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
