"""Addresses of web pages: recognise, normalise and compare them."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from rag_chain.errors import UsageError
from rag_chain.ingestion import kinds

_WEB = re.compile(r"https?://", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
# Media type -> suffix of its kind. text/plain and the like are less reliable than the address itself.
_ENDINGS = {kind.media_type: kind.suffixes.split()[0] for kind in reversed(kinds.KINDS) if kind.suffixes} | {
    "application/xhtml+xml": ".html",
    "text/xml": ".xml",
    "application/rss+xml": ".xml",
    "application/atom+xml": ".xml",
    "application/x-ndjson": ".jsonl",
    "application/vnd.ms-excel": ".xls",
    "text/rtf": ".rtf",
}
_VAGUE = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})


def is_address(text: object) -> bool:
    """Whether this is the address of a web page, not a file."""
    return isinstance(text, str) and _WEB.match(text) is not None


def read_address(text: str, base: str = "") -> str:
    """Return an address in the normalised form in which it is stored: host in lower case, no fragment.

    Args:
        text: absolute, or relative to ``base``.
        base: the address of the page that contains it.

    Raises:
        UsageError: it is not a web address, or holds a user name or password.
    """
    try:
        parts = urlsplit(urljoin(base, text.strip()))
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text} is not a web address: {error}.") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError(f"{text} is not a web address: write https://host/path.")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"The address of a page on {parts.hostname} holds a user name or password, which would be stored in "
            "every chunk: remove it."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
    return urlunsplit((parts.scheme, shown, parts.path or "/", parts.query, ""))


def is_same_site(address: str, other: str) -> bool:
    """Whether ``address`` may lead to ``other``: same host (``www.`` or not) and port, and no step from TLS to none."""
    one, two = urlsplit(address), urlsplit(other)
    return _site(one) == _site(two) and not (one.scheme == "https" and two.scheme == "http")


def root_of(address: str) -> str:
    """Return the address of the site: ``https://host:port/``."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc, "/", "", ""))


def file_name(address: str, media_type: str) -> str:
    """Return the file name that determines the kind of a page.

    Args:
        address: of the page.
        media_type: from the server, without parameters; empty: none.
    """
    last = urlsplit(address).path.rstrip("/").rpartition("/")[2] or urlsplit(address).hostname or "page"
    ending = "" if media_type in _VAGUE else _ENDINGS.get(media_type, "")
    if not ending or kinds.kind_of(last)[0].media_type == media_type:
        return last
    return last + ending


def _site(parts: SplitResult) -> tuple[str, int | None]:
    host = (parts.hostname or "").removeprefix("www.")
    port = parts.port or _PORTS[parts.scheme]
    return host, None if port in _PORTS.values() else port
