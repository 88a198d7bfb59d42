"""Pages and sitemaps of a real web server, ingested into a real index."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from files import CountingEmbeddings

from rag_chain.errors import UsageError
from rag_chain.ingestion import IngestReport, ingest
from rag_chain.ingestion.web.addresses import is_same_site
from rag_chain.retrieval.index import HybridIndex
from rag_chain.settings import Settings

MODEL = "test:counting"
HTML = "text/html; charset=utf-8"


class Site(http.server.ThreadingHTTPServer):
    """A web server: path -> status, headers, body; it keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requests: list[tuple[str, int]] = []
        self.release = threading.Event()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def put(self, path: str, text: str | bytes, status: int = 200, kind: str = HTML, **headers: str) -> None:
        body = text if isinstance(text, bytes) else text.encode()
        self.pages[path] = (
            status,
            {"Content-Type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}},
            body,
        )

    def put_sitemap(self, path: str, *addresses: str, index: bool = False) -> None:
        outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
        entries = "".join(f"<{inner}><loc>{address}</loc></{inner}>" for address in addresses)
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        self.put(path, f'<?xml version="1.0"?><{outer} xmlns="{space}">{entries}</{outer}>', kind="application/xml")

    def asked(self) -> list[tuple[str, int]]:
        """Paths and statuses since the last call, apart from robots.txt."""
        done = [request for request in self.requests if request[0] != "/robots.txt"]
        self.requests.clear()
        return sorted(done)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, headers, body = self.server.pages.get(self.path, (404, {}, b"none"))
        wanted = self.headers.get("If-None-Match") or self.headers.get("If-Modified-Since")
        if status == 200 and wanted and wanted in (headers.get("ETag"), headers.get("Last-Modified")):
            status, body = 304, b""
        self.server.requests.append((self.path, status))
        if "X-Hang" in headers:
            self.server.release.wait(60)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., IngestReport]:
    def ingested(
        *paths: str | Path, rebuild: bool = False, access: list[str] | None = None, **values: Any
    ) -> IngestReport:
        settings = Settings(**{"index_dir": tmp_path / "index", "embedding_model": MODEL, **values})
        return ingest(paths, settings, embeddings=CountingEmbeddings(), rebuild=rebuild, access=access)

    return ingested


def chunks_of(tmp_path: Path, source: str) -> list[Any]:
    index = HybridIndex.open(tmp_path / "index", CountingEmbeddings(), embedding_model=MODEL)
    return index.get_by_ids(index.ids_of_source([source]))


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.added, report.updated, report.unchanged, report.removed, len(report.failed)


def test_a_page_is_read_and_only_fetched_again_when_it_changed(
    site: Site, run: Callable[..., IngestReport], tmp_path: Path
) -> None:
    site.put(
        "/guide",
        "<html><title>Guide</title><body><h1>Night</h1><p>The valve closes at ten.</p></body></html>",
        ETag='"1"',
    )
    site.put(
        "/notes.md", "# Notes\n\nThe pump is blue.\n", kind="text/plain", Last_Modified="Mon, 06 Jul 2026 10:00:00 GMT"
    )
    site.put("/plain", "no version here", kind="text/plain")
    addresses = [site.url(path) for path in ("/guide#night", "/notes.md", "/plain")]
    assert counts(run(*addresses)) == (3, 0, 0, 0, 0)
    (chunk,) = chunks_of(tmp_path, site.url("/guide"))
    assert chunk.page_content == "Night\n\nThe valve closes at ten."
    assert (chunk.metadata["title"], chunk.metadata["heading"]) == ("Guide", "Night")
    assert chunks_of(tmp_path, site.url("/notes.md"))[0].metadata["media_type"] == "text/markdown"
    site.asked()
    again = run(*addresses)
    assert counts(again) == (0, 0, 3, 0, 0)
    assert again.embedded == 0
    assert site.asked() == [("/guide", 304), ("/notes.md", 304), ("/plain", 200)]

    site.put("/guide", "<html><body><p>The valve closes at nine.</p></body></html>", ETag='"2"')
    site.pages.pop("/plain")
    assert counts(run(*addresses)) == (0, 1, 1, 1, 0)
    assert [c.page_content for c in chunks_of(tmp_path, site.url("/guide"))] == ["The valve closes at nine."]
    assert chunks_of(tmp_path, site.url("/plain")) == []
    # A folder that holds the index says nothing of pages.
    (tmp_path / "a.txt").write_text("A file.")
    assert counts(run(tmp_path)) == (1, 0, 0, 0, 0)
    assert chunks_of(tmp_path, site.url("/guide"))
    # Other tags, or a new index: the page is needed whole.
    assert counts(run(site.url("/guide"), access=["board"])) == (0, 1, 0, 0, 0)
    assert chunks_of(tmp_path, site.url("/guide"))[0].metadata["access"] == ["board"]
    assert counts(run(site.url("/guide"), rebuild=True)) == (1, 0, 0, 0, 0)
    assert chunks_of(tmp_path, site.url("/guide"))[0].metadata["access"] == ["board"]


def test_a_sitemap_gives_the_pages_of_its_site_that_robots_txt_allows(
    site: Site, run: Callable[..., IngestReport], tmp_path: Path
) -> None:
    site.put(
        "/robots.txt", "User-agent: rag_chain\nDisallow: /private/\n\nUser-agent: *\nDisallow: /\n", kind="text/plain"
    )
    for path in ("/a", "/b", "/private/c", "/d"):
        site.put(path, f"<html><body><p>Page {path}.</p></body></html>", ETag='"1"')
    site.put_sitemap("/sitemap.xml", site.url("/part.xml.gz"), site.url("/more.xml"), index=True)
    site.put_sitemap("/more.xml", "/d", "https://elsewhere.example/e", "mailto:x@example.org")
    site.put_sitemap("/part.xml", site.url("/a"), site.url("/b"), site.url("/private/c"))
    site.put("/part.xml.gz", gzip.compress(site.pages.pop("/part.xml")[2]), kind="application/gzip")
    report = run(site.url("/sitemap.xml"))
    assert counts(report) == (3, 0, 0, 0, 0)
    assert sorted(report.skipped_kinds()) == [
        "1 file: a sitemap lists it, but it is not a web address",
        "1 file: a sitemap of another site lists it",
        "1 file: robots.txt of the site forbids it",
    ]
    assert ("/private/c", 200) not in site.asked()
    # What the sitemap lists no more is removed; not if a part of it could not be read.
    site.put_sitemap("/more.xml")
    part = site.pages.pop("/part.xml.gz")
    report = run(site.url("/sitemap.xml"))
    assert (report.removed, report.failed[0].source) == (0, site.url("/part.xml.gz"))
    site.pages["/part.xml.gz"] = part
    report = run(site.url("/sitemap.xml"))
    assert (report.unchanged, report.removed, report.failed) == (2, 1, ())
    assert chunks_of(tmp_path, site.url("/d")) == []
    report = run(site.url("/sitemap.xml"), web_max_pages=1)
    assert (report.unchanged, report.removed) == (1, 0)
    assert report.failed[0].reason == "it lists 3 pages, of which 1 are read (RAG_WEB_MAX_PAGES)"
    # A person who names a page that may not be read is told so.
    report = run(site.url("/private/c"))
    assert report.failed == ((site.url("/private/c"), "robots.txt of the site forbids it"),)


def test_what_can_not_be_fetched_is_one_line_and_harms_no_other(
    site: Site, run: Callable[..., IngestReport], tmp_path: Path
) -> None:
    site.put("/old", "", status=301, Location="/new")
    site.put("/new", "<html><body><p>Moved here.</p></body></html>")
    site.put("/loop", "", status=302, Location="/loop")
    site.put("/away", "", status=302, Location="http://169.254.169.254/latest/meta-data")
    site.put("/file", "", status=302, Location="file:///etc/passwd")
    site.put("/large", b"x" * 2_000_000, kind="text/plain")
    site.put("/bomb", gzip.compress(b"y" * 50_000_000), kind="text/plain", Content_Encoding="gzip")
    site.put("/busy", "", status=503)
    site.put("/odd", b"\xff\xd8 \x00\x01", kind="image/jpeg")
    site.put("/latin", "<html><body><p>Fähre</p></body></html>".encode("latin-1"), kind="text/html; charset=ISO-8859-1")
    site.put("/hang", "", X_Hang="1")
    broken = ("/loop", "/away", "/file", "/large", "/bomb", "/busy", "/hang", "/none")
    paths = ("/old", "/latin", "/odd", *broken)
    report = run(*map(site.url, paths), "http://127.0.0.1:9/x", max_file_mb=1, web_timeout=0.5)
    assert counts(report) == (2, 0, 0, 0, 9)
    assert report.skipped[0].source == site.url("/odd")
    assert chunks_of(tmp_path, site.url("/old"))[0].page_content == "Moved here."
    assert chunks_of(tmp_path, site.url("/latin"))[0].page_content == "Fähre"
    reasons = {source.removeprefix(site.url("")): reason for source, reason in report.failed}
    assert reasons["/loop"] == "it redirects more than 5 times"
    assert reasons["/away"].startswith("it redirects to another site: http://169.254.169.254/")
    assert "file:///etc/passwd" in reasons["/file"]
    assert reasons["/large"] == reasons["/bomb"] == "more than the limit of 1 MB (RAG_MAX_FILE_MB)"
    assert reasons["/busy"] == "status 503 (Service Unavailable)"
    assert reasons["/hang"].endswith("did not answer for 0.5 s (RAG_WEB_TIMEOUT)")
    assert reasons["/none"] == "status 404 (Not Found)"
    assert "no answer from 127.0.0.1:9" in reasons["http://127.0.0.1:9/x"]
    assert all("\n" not in reason for reason in reasons.values())
    # A server in trouble takes nothing out of the index.
    site.put("/robots.txt", "", status=500)
    report = run(site.url("/old"))
    assert (report.removed, len(report.failed)) == (0, 1)
    assert chunks_of(tmp_path, site.url("/old"))


def test_hosts_that_give_out_credentials_and_addresses_with_passwords_are_refused(
    run: Callable[..., IngestReport],
) -> None:
    report = run("http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/")
    assert [reason.partition("(")[0] for _, reason in report.failed] == [
        "169.254.169.254 is in the link-local network ",
        "::ffff:169.254.169.254 is in the link-local network ",
    ]
    with pytest.raises(UsageError, match="holds a user name or password") as caught:
        run("https://kim:secret@example.org/")
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="is not a web address"):
        run("https:///path")


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("http://example.org/a", "https://www.example.org/b", True),
        ("https://example.org/a", "http://example.org/b", False),
        ("https://example.org/a", "https://example.org.evil.example/", False),
        ("http://example.org:8000/", "http://example.org:8001/", False),
    ],
)
def test_same_site(address: str, other: str, same: bool) -> None:
    assert is_same_site(address, other) is same
