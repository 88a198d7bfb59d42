"""Sitemaps (sitemaps.org): the pages of a site, and further sitemaps."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from rag_chain.errors import DocumentLoadError

_GZIP = b"\x1f\x8b"
_MOST_BYTES = 50_000_000
"""Maximum size of a sitemap by its standard, uncompressed."""
_WITHIN = 2000
"""The root element must begin within these first bytes."""


@dataclass(slots=True)
class Sitemap:
    """The addresses in a sitemap, as they are written.

    Args:
        pages: addresses of pages.
        sitemaps: addresses of further sitemaps.
    """

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def read_sitemap(data: bytes) -> Sitemap | None:
    """Return the addresses in a sitemap, plain or compressed with gzip; None: it is not a sitemap.

    Raises:
        DocumentLoadError: it is damaged or too large, or the package lxml is missing.
    """
    if data.startswith(_GZIP):
        data = _expand(data)
    begin = data[:_WITHIN]
    if b"<urlset" not in begin and b"<sitemapindex" not in begin:
        return None
    try:
        from lxml import etree
    except ModuleNotFoundError as error:
        raise DocumentLoadError("the package lxml is needed to read it: pip install 'rag_chain[loaders]'") from error
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DocumentLoadError(f"damaged sitemap (line {error.lineno})") from error
    found = Sitemap()
    for entry in root.iterchildren("{*}url", "{*}sitemap"):
        address = (entry.findtext("{*}loc") or "").strip()
        if address:
            (found.pages if etree.QName(entry).localname == "url" else found.sitemaps).append(address)
    return found


def _expand(data: bytes) -> bytes:
    expander = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        expanded = expander.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise DocumentLoadError("damaged: its gzip data is cut off or invalid") from error
    if expander.unconsumed_tail:
        raise DocumentLoadError(f"it expands to more than {_MOST_BYTES // 1_000_000} MB")
    return expanded
