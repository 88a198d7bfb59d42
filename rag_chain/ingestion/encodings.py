"""Decode bytes to text: byte order marks, declared charsets, detection; tell text from binary."""

from __future__ import annotations

import codecs
import re
import unicodedata

from charset_normalizer import from_bytes

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.noise import without_noise

_SNIFF_BYTES = 8192

# The longer marks first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# HTML's meta, XML's declaration, Python's and Emacs' coding line.
_DECLARED = re.compile(rb"(?:charset|encoding|coding)\s*[=:]\s*[\"']?([A-Za-z][\w.-]*)")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b")) + b"\x7f"
_CONTROLS_BUT_NUL = _CONTROLS.replace(b"\0", b"")
_FEW_NULS = 2
_OVERSTRUCK = re.compile(rb"[^\b\n]\x08")
_SURROGATES = re.compile("[\ud800-\udfff]")
_WORD_OF_ACCENTS = re.compile(r"[^\W\d_\x00-\x7f]{4}")
_SYMBOL_IN_WORD = re.compile(r"[^\W\d_][¡-¦¨-¬®-´¶¸-¿×÷ˆ˜†-‰•€™][^\W\d_]")


# Charsets are declared under the names of their smaller ancestors; browsers read them as these,
# https://encoding.spec.whatwg.org/#names-and-labels
_SUPERSETS = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949",
    "shift_jis": "cp932", "iso8859-9": "cp1254", "tis-620": "cp874", "iso8859-11": "cp874", "big5": "big5hkscs",
}  # fmt: skip
_FEW_CONTROLS = 2
_BLOCK_SHARE = 0.6


def is_binary(data: bytes) -> bool:
    """Whether the beginning of ``data`` is not text in any encoding.

    More than one control character in thirty, or NUL bytes, mean binary. A log or a table may hold a few NUL bytes if
    the rest is UTF-8. UTF-16 and UTF-32 are text.
    """
    head = data[:_SNIFF_BYTES]
    if _marked(head) or _unmarked_utf16(head):
        return False
    nuls = head.count(0)
    if nuls > max(_FEW_NULS, len(head) / 30) or (nuls and not _is_utf8(head)):
        return True
    controls = len(head) - nuls - len(head.translate(None, _CONTROLS))
    if controls > len(head) / 30 and b"\b" in head:  # printers strike letters over letters
        controls -= len(_OVERSTRUCK.findall(head))
    few = _FEW_CONTROLS if 8 * (controls + nuls) < len(head) and _is_utf8(head) else 0
    return controls > max(few, len(head) / 30)


def _is_utf8(head: bytes) -> bool:
    """Whether it is UTF-8; the last character may be incomplete."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def decode(data: bytes) -> str:
    """Return the text of ``data``, with Unix line ends and composed characters (NFC).

    Tried in this order: the byte order mark; UTF-16 without one; UTF-8; the charset that the file declares; UTF-8 with
    a few bad bytes, which become U+FFFD; Windows-1252 where the words are plausible; charset-normalizer's guess.

    Raises:
        DocumentLoadError: the data is binary, or its encoding is unknown.
    """
    if is_binary(data):
        raise DocumentLoadError("binary file")
    return clean(_decode(data))


def clean(text: str) -> str:
    """Normalise ``text`` for the index: Unix line ends, NFC, no lone surrogates, no noise.

    Noise (see ``rag_chain.ingestion.noise``) is removed, but not its line ends, so that lines keep their numbers.
    """
    text = without_noise(text.replace("\r\n", "\n").replace("\r", "\n"))
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _SURROGATES.sub("\ufffd", text))


def _decode(data: bytes) -> str:
    encoding = _marked(data) or _unmarked_utf16(data[:_SNIFF_BYTES])
    if encoding:
        return data.decode(encoding, "replace")
    for encoding in ("utf-8", _declared(data)):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):  # LookupError: an unknown charset, or none declared
            continue
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(not c.isascii() for c in text) - bad > 3 * bad:
        return "\n".join(map(_decoded_line, data.split(b"\n")))
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        pass
    else:
        if _plausible(text):
            return text
    best = from_bytes(data).best()
    if best is None:
        raise DocumentLoadError("its encoding is unknown: save it as UTF-8")
    return str(best)


def _decoded_line(line: bytes) -> str:
    """Decode one line of a file that is mostly UTF-8: programs append to one log in several charsets."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        western = line.decode("cp1252", "replace")
        return western if _plausible(western) and "\ufffd" not in western else line.decode("utf-8", "replace")


def _marked(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _unmarked_utf16(head: bytes) -> str | None:
    """Detect UTF-16 without a mark: in Latin text nearly every second byte is NUL, and no other byte is."""
    if len(head) < 8:
        return None
    if len(head.translate(None, _CONTROLS_BUT_NUL)) < len(head):
        return _unmarked_script(head)
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if max(even, odd) < 0.5 * half:
        return _unmarked_script(head)
    if half and odd > 0.7 * half and not even:
        return "utf-16-le"
    if half and even > 0.7 * half and not odd:
        return "utf-16-be"
    return None


def _unmarked_script(head: bytes) -> str | None:
    """Detect UTF-16 in another alphabet: every second byte is the alphabet's high byte; spaces have two bytes."""
    for encoding, blank, block in (("utf-16-le", b" \0", head[1::2]), ("utf-16-be", b"\0 ", head[0::2])):
        most = max(set(block), key=block.count)
        if 0x03 <= most <= 0x0E and block.count(most) > _BLOCK_SHARE * len(block) and blank in head:
            return encoding
    return None


def _declared(data: bytes) -> str:
    match = _DECLARED.search(data[:2048])
    return codec_of(match.group(1).decode("ascii")) if match else ""


def codec_of(charset: str) -> str:
    """Return the codec for a charset that a file declares, or for its superset; empty: there is none."""
    try:
        known = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return ""
    return _SUPERSETS.get(known, known)


def _plausible(text: str) -> bool:
    """Whether text decoded as Windows-1252 reads like a Western language.

    charset-normalizer often mistakes short texts for a similar charset. Text in another script shows up as runs of
    accented letters, text in another Latin charset as symbols inside words.
    """
    return not (_WORD_OF_ACCENTS.search(text) or _SYMBOL_IN_WORD.search(text))
