"""Pages of web sites are fetched: politely, within bounds, and only if they changed."""

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
"""The name by which robots.txt may address the ingestion."""

_MOST_REDIRECTS = 5
_MOST_ROBOTS_BYTES = 500_000
_MOST_DELAY_SECONDS = 10.0
_ENCODED = ("text/", "application/xhtml", "application/xml")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one page may take.

    Args:
        timeout: seconds without an answer, or without a further part of it.
        seconds: for the whole page.
        megabytes: of its content.
    """

    timeout: float
    seconds: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server answered.

    Args:
        content: None: the page is as it was.
        media_type: in lower case, without parameters.
        etag, modified: headers by which the server knows this version again.
    """

    content: bytes | None
    media_type: str = ""
    etag: str = ""
    modified: str = ""


class PageGoneError(DocumentLoadError):
    """There is no such page any more (404, 410)."""


class PageForbiddenError(DocumentLoadError):
    """The site's robots.txt asks programs not to read the page."""


class Fetcher:
    """Fetches pages of any number of sites, from some threads at once.

    Args:
        bounds: what one page may take.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._client = httpx.Client(
            timeout=bounds.timeout,
            # gzip alone: what a part of it can expand to is bounded.
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
            address: as ``read_address`` writes it.
            known: ``etag`` and ``modified`` of the version at hand.

        Raises:
            PageGoneError: there is no such page.
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
        """One request; the address that it redirects to, or the page."""
        try:
            with self._client.stream("GET", address, headers=dict(headers)) as response:
                status = response.status_code
                if status == HTTPStatus.NOT_MODIFIED and headers:
                    return Fetched(None)
                if response.has_redirect_location:
                    try:
                        return read_address(response.headers["location"], address)
                    except ValueError as error:
                        raise DocumentLoadError(f"it redirects to what can't be fetched: {error}") from error
                if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                    raise PageGoneError(_said(status))
                if status != HTTPStatus.OK:
                    raise DocumentLoadError(_said(status))
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
        """The content; an error where it is too large, unless it is to be cut."""
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
        """The site's robots.txt, by RFC 9309: without one all is allowed, with a server in trouble nothing."""
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
    """What is known of a site."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rules: RobotFileParser | None = None
        self._next = 0.0

    def check(self, address: str) -> None:
        """Wait as long as robots.txt asks for.

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
    """Refuse hosts of the link-local network, where clouds give out credentials.

    Other private hosts are what a person means who names them.

    Raises:
        DocumentLoadError: the host is one of these, or has no address.
    """
    parts = urlsplit(address)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # behind a proxy, names are the proxy's to resolve; else the request fails with the reason
    for *_, place in found:
        with suppress(ValueError):
            host = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if (getattr(host, "ipv4_mapped", None) or host).is_link_local:
                raise DocumentLoadError(f"{parts.hostname} is in the link-local network ({host}), which is never read")


def _said(status: int) -> str:
    with suppress(ValueError):
        return f"status {status} ({HTTPStatus(status).phrase})"
    return f"status {status}"


def _type_of(response: httpx.Response) -> tuple[str, str]:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type, (response.charset_encoding or "").lower()


def _as_unicode(content: bytes, media_type: str, charset: str) -> bytes:
    """The content in UTF-8 with its mark, where the server says that it is in another encoding: it knows best."""
    if not media_type.startswith(_ENCODED) or content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE)):
        return content
    try:
        if not charset or codecs.lookup(charset).name in ("utf-8", "ascii"):
            return content
        return codecs.BOM_UTF8 + content.decode(charset).encode()
    except (LookupError, UnicodeError):
        return content
