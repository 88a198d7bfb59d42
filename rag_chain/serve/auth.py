"""Who may call: holders of an API key or, where no keys are needed, programs of this machine alone."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fastapi import Request

from rag_chain.errors import ConfigurationError
from rag_chain.serve.errors import RequestError
from rag_chain.serve.keys import KeyFile
from rag_chain.settings import Settings


def open_keys(settings: Settings) -> KeyFile | None:
    """Return the keys that callers need; ``None`` if there are none and the server is for this machine alone.

    Raises:
        ConfigurationError: other machines could reach the server, and there is no key.
    """
    keys = KeyFile(settings.api_keys_path)
    if keys.list_keys():
        return keys
    if not is_loopback(settings.serve_host):
        raise ConfigurationError(
            f"Without API keys the server is for this machine alone, and {settings.serve_host!a} is not: "
            "make one with `rag-chain keys add USER`, or bind 127.0.0.1."
        )
    return None


def find_user(request: Request, keys: KeyFile | None) -> str | None:
    """Return the user of the request's key.

    Raises:
        RequestError: 401 without a valid key; 403 where there are no keys and a page of another site calls.
    """
    if keys is None:
        _check_local(request)
        return None
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    found = keys.find(key.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        message = "A valid API key is needed: send the header Authorization: Bearer KEY."
        raise RequestError(401, message, "invalid_api_key")
    return found.user


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_local(request: Request) -> None:
    """Refuse calls through another name (DNS rebinding), from another machine, and from pages of other sites."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    origin = request.headers.get("origin")
    is_foreign_page = origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}"
    is_foreign_client = request.client is not None and not is_loopback(request.client.host)
    if not is_loopback(host) or is_foreign_page or is_foreign_client:
        raise RequestError(403, "Without API keys only programs of this machine may call.", "not_local")
