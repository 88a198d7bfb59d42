"""Read what is left of a ZIP archive that is cut off.

The directory at its end is lost, but each part has a header of its own.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

from lxml import etree

_HEADER = struct.Struct("<4sHHHHHIIIHH")
_MARK = b"PK\x03\x04"
_DESCRIPTOR = b"PK\x07\x08"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_PIECE = 65_536
_MOST_EXPANDED, _HARMLESS, _HIGHEST_RATIO = 100_000_000, 1_000_000, 120


@dataclass(slots=True)
class Remains:
    """The parts of an archive up to where it is cut off, by name.

    Args:
        parts: their bytes, in the order of the archive.
        cut: name of the last part, if it is incomplete; empty: it is complete.
    """

    parts: dict[str, bytes] = field(default_factory=dict)
    cut: str = ""

    @property
    def omission(self) -> str:
        """The omission for the report."""
        place = f"within {self.cut}" if self.cut else f"after {next(reversed(self.parts), 'its beginning')}"
        return f"its archive is cut off {place}: what follows is missing"


def salvage(data: bytes) -> Remains:
    """Return the parts before the position where the archive is cut off or damaged."""
    remains = Remains()
    position, expanded = 0, 0
    limit = min(_MOST_EXPANDED, max(_HARMLESS, _HIGHEST_RATIO * len(data)))
    while data[position : position + 4] == _MARK and position + _HEADER.size <= len(data):
        _, _, flags, method, _, _, _, size, _, name_length, extra_length = _HEADER.unpack_from(data, position)
        raw_name = data[position + _HEADER.size : position + _HEADER.size + name_length]
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        start = position + _HEADER.size + name_length + extra_length
        if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED) or start > len(data):
            break
        if method == _DEFLATED:
            content, end, is_whole = _inflated(data, start, limit - expanded)
        else:
            content, end = data[start : start + size], start + size
            is_whole = end <= len(data)
        expanded += len(content)
        if content:
            remains.parts[name] = content
            remains.cut = "" if is_whole else name
        if not is_whole:
            break
        position = end
        if data[position : position + 4] == _DESCRIPTOR:
            position += 16
    return remains


def rebuilt(remains: Remains) -> bytes:
    """Return a valid archive of the parts; the XML of a part that is cut off is closed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in remains.parts.items():
            archive.writestr(name, _closed(content) if name == remains.cut else content)
    return buffer.getvalue()


def _inflated(data: bytes, start: int, limit: int) -> tuple[bytes, int, bool]:
    """Return the content of a part, the end of its bytes, and whether it is complete."""
    expander = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces, size, position = [], 0, start
    try:
        while not expander.eof and position < len(data) and size < limit:
            piece = expander.decompress(data[position : position + _PIECE], limit - size)
            position += min(_PIECE, len(data) - position)
            pieces.append(piece)
            size += len(piece)
    except zlib.error:
        return b"".join(pieces), position, False
    return b"".join(pieces), position - len(expander.unused_data), expander.eof


def _closed(content: bytes) -> bytes:
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError:
        return content
    return content if root is None else bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))
