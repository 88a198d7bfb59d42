"""Authentication: holders of an API key or, without keys, only programs of this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from rag_chain.access import read_tags
from rag_chain.errors import ConfigurationError
from rag_chain.serve.errors import RequestError
from rag_chain.serve.keys import KeyFile
from rag_chain.serve.tokens import Tokens, is_token
from rag_chain.settings import Settings


def open_keys(settings: Settings) -> KeyFile | None:
    """Return the keys that callers need; ``None`` if there are none and only this machine can reach the server.

    Raises:
        ConfigurationError: other machines can reach the server, and there is neither a key nor an issuer of tokens.
    """
    keys = KeyFile(settings.api_keys_path)
    if keys.list_keys() or settings.jwt_issuer:
        return keys
    if not is_loopback(settings.serve_host):
        raise ConfigurationError(
            f"Without API keys only this machine may reach the server, but {settings.serve_host!a} is open to others: "
            "make one with `rag-chain keys add USER`, set RAG_JWT_ISSUER, or bind 127.0.0.1."
        )
    return None


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, with its rights.

    Args:
        user: the user whose sessions it can use; ``None``: those without a user.
        access: tags of the documents that it may read, in addition to the open ones; ``None``: a program of this
            machine, which chooses for itself.
        manages: whether it may add and delete documents.
    """

    user: str | None
    access: frozenset[str] | None
    manages: bool
    name: str = "local"
    """The name under which its requests are counted."""

    def choose_access(self, wanted: list[str] | None) -> list[str]:
        """Return the tags of one request: all of the caller's, or those that the request names.

        Raises:
            RequestError: 403: the request names a tag that the caller does not have.
            UsageError: a tag is malformed.
        """
        tags = read_tags(wanted or [], "access")
        if wanted is None:
            return sorted(self.access or ())
        missing = [] if self.access is None else [tag for tag in tags if tag not in self.access]
        if missing:
            raise RequestError(403, f"access: you do not have the tag {missing[0]!a}.", "access_denied", "access")
        return list(tags)

    def may_read(self, tags: Iterable[str]) -> bool:
        """Whether the caller has all of these tags."""
        return self.access is None or self.access.issuperset(tags)


LOCAL = Caller(None, None, manages=True)


def find_caller(request: Request, keys: KeyFile | None, tokens: Tokens | None = None) -> Caller:
    """Return the caller of the request's key or token. Blocking: it may fetch the keys of the tokens' issuer.

    Raises:
        RequestError: 401 without a valid key or token; 403 if neither is needed and a page of another site calls; 503
            if the issuer's keys can't be fetched.
    """
    if keys is None:
        _check_local(request)
        return LOCAL
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else ""
    if tokens is not None and is_token(key):
        user, access, manages = tokens.read(key)
        return Caller(user, access, manages, f"user {user}")
    found = keys.find(key)
    if found is None:
        message = "A valid API key is needed: send the header Authorization: Bearer KEY."
        raise RequestError(401, message, "invalid_api_key")
    return Caller(found.user, frozenset(found.access), found.manages, f"key {found.id}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_local(request: Request) -> None:
    """Refuse calls under another host name (DNS rebinding), from other machines, and from pages of other sites."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    origin = request.headers.get("origin")
    is_foreign_page = origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}"
    is_foreign_client = request.client is not None and not is_loopback(request.client.host)
    if not is_loopback(host) or is_foreign_page or is_foreign_client:
        raise RequestError(403, "Without API keys only programs of this machine may call.", "not_local")
