"""The tables at the beginning of an RTF file: fonts with their charsets, and styles."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rag_chain.ingestion.readers.symbols import symbol

_CODECS = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 254: "cp437",
}  # fmt: skip
_SYMBOLS = 2
_INNER = re.compile(rb"\{\\\*[^{}]*\}")
_FONT = re.compile(rb"\\f(\d+)(?![\w])([^;{}]*?)(?:\s([^\\;{}]+))?;")
_CHARSET = re.compile(rb"\\fcharset(\d+)")
_STYLE = re.compile(rb"\{(?:\\s(\d+)(?!\w))?([^{};]*?)\s?([^\\{};]*);\}")
_OUTLINE = re.compile(rb"\\outlinelevel([0-8])(?!\d)")
_HEADING = re.compile(rb"heading (\d)", re.IGNORECASE)


@dataclass(slots=True)
class Fonts:
    """Font number -> its codec, or its name if it is a symbol font."""

    codecs: dict[int, str] = field(default_factory=dict)
    symbols: dict[int, str] = field(default_factory=dict)

    def decode(self, text: bytes, font: int, code_page: str) -> str:
        """Return the characters that a font draws for bytes."""
        if font in self.symbols:
            return "".join(symbol(self.symbols[font], f"{code:X}") if code > ord(" ") else chr(code) for code in text)
        for codec in (self.codecs.get(font, code_page), code_page, "cp1252"):
            try:
                return text.decode(codec)
            except (UnicodeDecodeError, LookupError):
                continue
        return text.decode("cp1252", "replace")


def read_fonts(data: bytes) -> Fonts:
    """Return the fonts of a file."""
    fonts = Fonts()
    for number, properties, name in _FONT.findall(_INNER.sub(b"", _group(data, b"{\\fonttbl"))):
        charset = _CHARSET.search(properties)
        code = int(charset.group(1)) if charset else 0
        if code == _SYMBOLS:
            fonts.symbols[int(number)] = name.decode("latin-1").strip() or "Symbol"
        elif code in _CODECS:
            fonts.codecs[int(number)] = _CODECS[code]
    return fonts


def read_levels(data: bytes) -> dict[int, int]:
    """Return paragraph style number -> heading level; 0: the title, 1 to 9: a heading."""
    levels = {}
    for number, properties, name in _STYLE.findall(_INNER.sub(b"", _group(data, b"{\\stylesheet"))):
        heading, outline = _HEADING.match(name.strip()), _OUTLINE.search(properties)
        if name.strip().lower() == b"title":
            levels[int(number or 0)] = 0
        elif heading or outline:
            levels[int(number or 0)] = int(heading.group(1)) if heading else int(outline.group(1)) + 1  # type: ignore[union-attr]
    return levels


def _group(data: bytes, opening: bytes) -> bytes:
    """Return the group that begins with ``opening``, or nothing."""
    start = data.find(opening)
    if start < 0:
        return b""
    depth = 0
    for brace in re.finditer(rb"\\[{}\\]|[{}]", data[start : start + 2_000_000]):
        depth += {b"{": 1, b"}": -1}.get(brace.group(), 0)
        if not depth:
            return data[start : start + brace.end()]
    return data[start:]
