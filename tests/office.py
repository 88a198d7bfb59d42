"""Office files, books and PDFs made part by part, as the readers' tests need them."""

from __future__ import annotations

import io
import zipfile
import zlib

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_M = "http://schemas.openxmlformats.org/officeDocument/2006/math"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def zipped(parts: dict[str, str | bytes]) -> bytes:
    """An archive of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def relations(targets: dict[str, str]) -> str:
    """The part that names what another one refers to: path -> last word of its type."""
    entries = "".join(
        f'<Relationship Id="r{number}" Type="{_R}/{kind}" Target="{path}"/>'
        for number, (path, kind) in enumerate(targets.items(), 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{entries}</Relationships>'


def docx_bytes(body: str, *, prolog: str = "", namespace: str = W, **parts: str) -> bytes:
    """A DOCX of this body; ``parts`` are further ones (``styles``, ``comments`` ...), as their inner XML."""
    opening = f'xmlns:w="{namespace}" xmlns:m="{_M}" xmlns:r="{_R}"'
    roots = {"header1": "hdr", "footer1": "ftr"}
    files = {
        "_rels/.rels": relations({"word/document.xml": "officeDocument"}),
        "word/document.xml": f"{prolog}<w:document {opening}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": relations({f"{name}.xml": name.rstrip("0123456789") for name in parts}),
    }
    for name, content in parts.items():
        root = roots.get(name, name)
        files[f"word/{name}.xml"] = f"<w:{root} {opening}>{content}</w:{root}>"
    return zipped(dict(files))


def paragraph(text: str, properties: str = "") -> str:
    """A paragraph of one run."""
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space='preserve'>{text}</w:t></w:r></w:p>"


def table(*rows: tuple[str, ...], properties: dict[tuple[int, int], str] | None = None) -> str:
    """A table; ``properties`` of cells by row and column."""
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(
            f"<w:tc><w:tcPr>{(properties or {}).get((i, j), '')}</w:tcPr>{paragraph(text)}</w:tc>"
            for j, text in enumerate(row)
        )
        lines.append(f"<w:tr>{cells}</w:tr>")
    return f"<w:tbl>{''.join(lines)}</w:tbl>"


def raw_pdf(*pages: bytes, catalog: str = "", page: dict[int, str] | None = None, objects: dict[int, str] | None = None,
            filters: str = "") -> bytes:  # fmt: skip
    """A PDF of these content streams, in Helvetica.

    Args:
        catalog: further entries of the catalog.
        page: further entries of a page, by its number from 0; a later ``/Contents`` wins.
        objects: further objects, by number from 100.
        filters: of the streams.
    """
    first = 10
    numbers = [first + 2 * i for i in range(len(pages))]
    found: dict[int, bytes] = {
        1: f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        2: f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{n} 0 R' for n in numbers)}] >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    }
    for i, (number, content) in enumerate(zip(numbers, pages, strict=True)):
        entries = (page or {}).get(i, "")
        contents = "" if "/Contents" in entries else f"/Contents {number + 1} 0 R"
        box = "" if "/MediaBox" in entries else "/MediaBox [0 0 600 800]"
        fonts = "/Resources << /Font << /F1 3 0 R >> >>"
        found[number] = f"<< /Type /Page /Parent 2 0 R {box} {fonts} {contents} {entries} >>".encode()
        found[number + 1] = f"<< /Length {len(content)} {filters} >>\nstream\n".encode() + content + b"\nendstream"
    found |= {number: value.encode() for number, value in (objects or {}).items()}
    out, offsets = b"%PDF-1.7\n", {}
    for number, value in found.items():
        offsets[number] = len(out)
        out += f"{number} 0 obj\n".encode() + value + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {max(found) + 1}\n".encode()
    for number in range(max(found) + 1):
        out += f"{offsets[number]:010d} 00000 n \n".encode() if number in offsets else b"0000000000 65535 f \n"
    return out + f"trailer << /Size {max(found) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()


def shown(*lines: str, x: int = 72) -> bytes:
    """The content stream that shows these lines."""
    text = " ".join(f"1 0 0 1 {x} {720 - 14 * i} Tm ({line}) Tj" for i, line in enumerate(lines))
    return f"BT /F1 12 Tf {text} ET".encode("cp1252")


def flate_bomb(megabytes: int) -> bytes:
    """A PDF whose page expands to so many megabytes."""
    return raw_pdf(zlib.compress(b" " * (megabytes * 1_000_000), 9), filters="/Filter /FlateDecode")
