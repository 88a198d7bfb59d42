"""Fetch web pages: by the rules of robots.txt, within limits, and only if they changed."""

from __future__ import annotations

import codecs
import ipaddress
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import httpx

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.loaders import MEGABYTE
from rag_chain.ingestion.web.addresses import is_same_site, read_address, root_of

AGENT = "rag_chain"
"""The user agent that robots.txt may name."""

_MOST_REDIRECTS = 5
_MOST_ROBOTS_BYTES = 500_000
_MOST_DELAY_SECONDS = 10.0
_ENCODED = ("text/", "application/xhtml", "application/xml")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of fetching one page.

    Args:
        timeout: seconds without any data from the server.
        seconds: for the whole page.
        megabytes: of its content.
    """

    timeout: float
    seconds: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """The response of a server.

    Args:
        content: None: the page has not changed.
        media_type: in lower case, without parameters.
        etag, modified: the headers ``ETag`` and ``Last-Modified``, for conditional requests.
    """

    content: bytes | None
    media_type: str = ""
    etag: str = ""
    modified: str = ""


class PageGoneError(DocumentLoadError):
    """The page does not exist (404, 410)."""


class PageForbiddenError(DocumentLoadError):
    """The site's robots.txt forbids the page."""


class Fetcher:
    """Fetches pages of any number of sites; safe to use from several threads.

    Args:
        bounds: limits of one page.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._client = httpx.Client(
            timeout=bounds.timeout,
            # Only gzip: its expansion is bounded.
            headers={"User-Agent": f"{AGENT}/{version('rag_chain')}", "Accept-Encoding": "gzip"},
            follow_redirects=False,
        )
        self._sites: dict[str, _Site] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections; requests under way fail."""
        self._client.close()

    def fetch(self, address: str, known: Mapping[str, str] | None = None) -> Fetched:
        """Return a page.

        Args:
            address: as ``read_address`` returns it.
            known: ``etag`` and ``modified`` of the version in the index.

        Raises:
            PageGoneError: the page does not exist.
            PageForbiddenError: robots.txt forbids it.
            DocumentLoadError: it can't be read, is too large or takes too long; the reason is one clause.
        """
        site = self._site(address)
        headers = {}
        if known and known.get("etag"):
            headers["If-None-Match"] = known["etag"]
        if known and known.get("modified"):
            headers["If-Modified-Since"] = known["modified"]
        deadline = time.monotonic() + self._bounds.seconds
        here = address
        for _ in range(_MOST_REDIRECTS + 1):
            site.check(here)
            answer = self._ask(here, headers, deadline)
            if isinstance(answer, Fetched):
                return answer
            if not is_same_site(address, answer):
                raise DocumentLoadError(f"it redirects to another site: {answer}; ingest that address instead")
            here = answer
        raise DocumentLoadError(f"it redirects more than {_MOST_REDIRECTS} times")

    def _ask(
        self, address: str, headers: Mapping[str, str], deadline: float, cut_at: float | None = None
    ) -> Fetched | str:
        """Send one request; return the address that it redirects to, or the page."""
        try:
            with self._client.stream("GET", address, headers=dict(headers)) as response:
                status = response.status_code
                if status == HTTPStatus.NOT_MODIFIED and headers:
                    return Fetched(None)
                if response.has_redirect_location:
                    try:
                        return read_address(response.headers["location"], address)
                    except ValueError as error:
                        raise DocumentLoadError(f"it redirects to an address that can't be fetched: {error}") from error
                if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                    raise PageGoneError(_describe_status(status))
                if status != HTTPStatus.OK:
                    raise DocumentLoadError(_describe_status(status))
                content = self._content(response, deadline, cut_at)
                media_type, charset = _type_of(response)
                return Fetched(
                    _as_unicode(content, media_type, charset),
                    media_type,
                    response.headers.get("etag", ""),
                    response.headers.get("last-modified", ""),
                )
        except httpx.TimeoutException as error:
            raise DocumentLoadError(
                f"{urlsplit(address).netloc} did not answer for {self._bounds.timeout:g} s (RAG_WEB_TIMEOUT)"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # RuntimeError: closed meanwhile
            reason = str(error) or type(error).__name__
            raise DocumentLoadError(f"no answer from {urlsplit(address).netloc}: {reason}") from error

    def _content(self, response: httpx.Response, deadline: float, cut_at: float | None) -> bytes:
        """Return the content, cut at ``cut_at``; without ``cut_at``, raise if it is too large."""
        most = cut_at or self._bounds.megabytes * MEGABYTE
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            if size > most:
                if cut_at:
                    break
                raise DocumentLoadError(f"more than the limit of {self._bounds.megabytes:g} MB (RAG_MAX_FILE_MB)")
            if time.monotonic() > deadline:
                raise DocumentLoadError(f"fetching it took more than {self._bounds.seconds:g} s (RAG_MAX_FILE_SECONDS)")
            parts.append(part)
        return b"".join(parts)

    def _site(self, address: str) -> _Site:
        root = root_of(address)
        with self._lock:
            site = self._sites.setdefault(root, _Site())
        with site.lock:
            if site.rules is None:
                _check_host(address)
                site.rules = self._rules(root)
        return site

    def _rules(self, root: str) -> RobotFileParser:
        """Return the site's robots.txt rules (RFC 9309): without a file all is allowed, on a server error nothing."""
        rules = RobotFileParser()
        rules.parse([])  # all is allowed
        address = f"{root}robots.txt"
        deadline = time.monotonic() + self._bounds.seconds
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                answer = self._ask(address, {}, deadline, _MOST_ROBOTS_BYTES)
                if isinstance(answer, Fetched):
                    rules.parse((answer.content or b"").decode("utf-8-sig", "replace").splitlines())
                    break
                if not is_same_site(root, answer):
                    break
                address = answer
        except DocumentLoadError as error:
            if not isinstance(error, PageGoneError) and not error.reason.startswith("status 4"):
                raise DocumentLoadError(f"{error.reason} (robots.txt, which is read first)") from error
        return rules


class _Site:
    """The robots.txt of a site, and when its next page may be fetched."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rules: RobotFileParser | None = None
        self._next = 0.0

    def check(self, address: str) -> None:
        """Wait for the crawl delay of robots.txt.

        Raises:
            PageForbiddenError: it forbids the page.
        """
        assert self.rules is not None  # noqa: S101 - read before
        if not self.rules.can_fetch(AGENT, address):
            raise PageForbiddenError("robots.txt of the site forbids it")
        delay = min(float(self.rules.crawl_delay(AGENT) or 0), _MOST_DELAY_SECONDS)
        if delay:
            with self.lock:
                now = time.monotonic()
                wait = max(0.0, self._next - now)
                self._next = now + wait + delay
            time.sleep(wait)


def _check_host(address: str) -> None:
    """Refuse hosts of the link-local network, where cloud providers serve credentials.

    Other private hosts are allowed: whoever names them means them.

    Raises:
        DocumentLoadError: the host is in the link-local network.
    """
    parts = urlsplit(address)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # a proxy may resolve the name; without one the request fails with the reason
    for *_, place in found:
        with suppress(ValueError):
            host = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if (getattr(host, "ipv4_mapped", None) or host).is_link_local:
                raise DocumentLoadError(f"{parts.hostname} is in the link-local network ({host}), which is never read")


def _describe_status(status: int) -> str:
    with suppress(ValueError):
        return f"status {status} ({HTTPStatus(status).phrase})"
    return f"status {status}"


def _type_of(response: httpx.Response) -> tuple[str, str]:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type, (response.charset_encoding or "").lower()


def _as_unicode(content: bytes, media_type: str, charset: str) -> bytes:
    """Return the content in UTF-8 with a byte order mark, if the server declares another charset, which is trusted."""
    if not media_type.startswith(_ENCODED) or content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE)):
        return content
    try:
        if not charset or codecs.lookup(charset).name in ("utf-8", "ascii"):
            return content
        return codecs.BOM_UTF8 + content.decode(charset).encode()
    except (LookupError, UnicodeError):
        return content
