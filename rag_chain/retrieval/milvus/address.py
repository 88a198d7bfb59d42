"""``RAG_INDEX_URL``: the Milvus server, and its collection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from rag_chain.errors import ConfigurationError

LITE = "milvus+lite:"
COLLECTION = "rag_chain"

_CONSISTENCY = ("Bounded", "Strong")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_FORMS = f"{LITE}FOLDER/NAME.db or http(s)://[USER:PASSWORD@]HOST:PORT[/DATABASE], optionally with ?collection=NAME"


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """The address of a collection.

    Args:
        uri: for ``pymilvus``: the path of a file, or scheme, host and port.
        collection: alias of the collection in use.
        database: of the server; empty: its default one.
        consistency: of searches: ``Bounded`` may miss writes of the last seconds, ``Strong`` waits for them.
        token: ``USER:PASSWORD`` or an API key; empty: none.
    """

    uri: str
    collection: str = COLLECTION
    database: str = ""
    consistency: str = _CONSISTENCY[0]
    token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a value of ``RAG_INDEX_URL``.

        Raises:
            ConfigurationError: it is malformed; the message holds no part of it that may be secret.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _unreadable() from None
        collection = parse_qs(parts.query).get("collection", [COLLECTION])[-1]
        if not _NAME.fullmatch(collection):
            raise ConfigurationError(
                "The collection in RAG_INDEX_URL must be named with letters, digits and _, and not begin with a digit."
            )
        consistency = parse_qs(parts.query).get("consistency", _CONSISTENCY)[0]
        if consistency not in _CONSISTENCY:
            raise ConfigurationError("The consistency in RAG_INDEX_URL must be Bounded or Strong.")
        if url.startswith(LITE):
            path = url.removeprefix(LITE).partition("?")[0]
            if not path.endswith(".db"):
                raise ConfigurationError(f"The file in RAG_INDEX_URL={LITE}FILE must end with .db.")
            return cls(str(Path(path).expanduser().absolute()), collection)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _unreadable()
        database = parts.path.strip("/")
        if database and not _NAME.fullmatch(database):
            raise _unreadable()
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            f"{parts.scheme}://{host}:{port or 19530}",
            collection,
            database,
            consistency,
            f"{user}:{password}" if password else user,
        )

    @property
    def is_file(self) -> bool:
        """Whether it is a file of Milvus Lite."""
        return not self.uri.startswith(("http://", "https://"))

    def __str__(self) -> str:
        """Server and collection, for messages."""
        return "/".join(filter(None, (self.uri, self.database, self.collection)))


def _unreadable() -> ConfigurationError:
    return ConfigurationError(f"RAG_INDEX_URL can't be read: it must be {_FORMS}.")
