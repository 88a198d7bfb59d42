"""RTF: one Document per section, from one heading to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.rtf_tables import Fonts, read_fonts, read_levels
from rag_chain.ingestion.readers.sections import SectionWriter
from rag_chain.ingestion.reading import Reading

_TOKEN = re.compile(
    rb"\\([a-zA-Z]+)(-?\d+)? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\", re.DOTALL
)
_SIGNS = {
    "tab": "\t", "line": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“",
    "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "qmspace": " ", "chpgn": "\ue0fe",
}  # fmt: skip
_ESCAPES = {"~": " ", "-": "", "_": "-", "{": "{", "}": "}", "\\": "\\"}
_ENDS = {"par", "sect", "page", "column"}
# Destinations without visible text: definitions, pictures, field instructions, alternatives for older programs.
_UNSEEN = """
    fonttbl colortbl stylesheet info pict objdata objclass objname nonshppict shprslt sp sn sv fldinst bkmkstart bkmkend
    xe tc rxe txe filetbl revtbl listtable listoverridetable pntxta pntxtb ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn
    template mmathPict atrfstart atrfend atnid atntime atnref atndate atnicn nonesttables background upr comment
    themedata
"""
_SKIPPED = frozenset(_UNSEEN.split())
_READ = {"shpinst", "shptxt", "footnote", "annotation", "atnauthor", "ud", "moMath", "mmath", "do", "dptxbxtext"}
"""Destinations that are read although they are marked as ignorable."""
_APART = {"footnote", "annotation", "atnauthor", "shptxt", "dptxbxtext", "header", "headerl", "headerr", "headerf",
          "footer", "footerl", "footerr", "footerf", "title"}  # fmt: skip
"""Destinations whose text is not part of the surrounding text."""
_PAGE_NUMBER = re.compile(r"\W*(?:\w+\W+)?\d*\W*")
_PAGE = _SIGNS["chpgn"]
_PAGES = {1: "cp1252", 437: "cp437", 850: "cp850", 10000: "mac_roman"}


@dataclass(slots=True)
class _State:
    """The state that a group inherits from the enclosing group."""

    is_skipped: bool = False
    is_hidden: bool = False
    is_deleted: bool = False
    is_raised: bool = False
    is_for_html: bool = False
    fallback: int = 1
    """Number of fallback characters after a Unicode character, for older programs."""
    font: int = -1
    buffer: str = ""
    """Name of the destination; empty: the text itself."""


@dataclass(slots=True)
class _Row:
    """A row of a table."""

    cells: list[str] = field(default_factory=list)
    merges: list[tuple[bool, bool]] = field(default_factory=list)
    """For each cell, whether it is merged with the one on its left, and with the one above."""
    merge: tuple[bool, bool] = (False, False)
    is_header: bool = False


def read_rtf(data: bytes) -> Reading:
    """Return the text of each section, one line per paragraph or table row; then notes, comments, headers and footers.

    ``start_line`` counts these lines from 1. Hidden and deleted text, pictures and field instructions are left out.

    Raises:
        DocumentLoadError: it is not RTF.
    """
    start = data.find(b"{\\rtf")
    if start < 0:
        raise DocumentLoadError("not a valid RTF file: it does not begin with {\\rtf")
    document = _Document(data)
    is_whole = document.run(start)
    return document.reading([] if is_whole else ["the file is cut off: what follows is missing"])


class _Document:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fonts: Fonts = read_fonts(data)
        self._levels = read_levels(data)
        self._writer = SectionWriter()
        self._stack: list[_State] = []
        self._state = _State()
        self._bytes = bytearray()
        self._texts: dict[str, list[str]] = {"": []}
        self._apart: dict[str, list[str]] = {}
        self._boxes: list[str] = []
        self._code_page = "cp1252"
        self._default_font = -1
        self._level: int | None = None
        self._row: _Row | None = None
        self._above: list[str] = []
        self._in_table = self._was_row = False
        self._unread = 0

    def run(self, position: int) -> bool:
        """Read the file from a position on; return whether its groups are closed at the end."""
        is_starred = False
        while token := _TOKEN.match(self._data, position):
            position = token.end()
            word, number, code, sign, brace, plain = token.groups()
            if brace == b"{":
                self._flush()
                self._stack.append(self._state)
                self._state = replace(self._state)
            elif brace == b"}":
                self._close()
                if not self._stack:
                    return True
            elif word is not None:
                if word == b"bin" and number:
                    position += max(0, int(number))
                else:
                    self._word(word.decode("ascii"), None if number is None else int(number), is_starred=is_starred)
            elif code is not None:
                self._byte(int(code, 16))
            elif sign is not None:
                if sign in b"\r\n":
                    self._end_paragraph()
                elif sign != b"*":
                    self._write(_ESCAPES.get(sign.decode("latin-1"), ""))
            elif plain is not None:
                self._plain(plain)
            is_starred = sign == b"*"
        return False

    def reading(self, omissions: list[str]) -> Reading:
        """Return the Documents, the title and the omissions."""
        self._flush()
        self._end_paragraph()
        for kind in ("footnote", "annotation"):
            if self._apart.get(kind):
                self._writer.end_section()
                for text in self._apart[kind]:
                    self._writer.line(text)
        margins = [
            text for name, texts in self._apart.items() if name.startswith(("header", "footer")) for text in texts
        ]
        numbered = [text for text in dict.fromkeys(margins) if not _PAGE_NUMBER.fullmatch(text.replace(_PAGE, "1"))]
        shown = [text.replace(_PAGE, "") for text in numbered]
        if shown:
            self._writer.end_section()
            for text in shown:
                self._writer.line(text)
        title = " ".join(clean("".join(self._apart.get("title", []))).split())
        return Reading(self._writer.documents(title or self._writer.title), omissions)

    def _word(self, word: str, number: int | None, *, is_starred: bool) -> None:
        state = self._state
        is_on = number != 0
        if is_starred and word not in _READ:
            state.is_skipped = True
        if word == "title":
            state.is_skipped = False
        if word in _APART:
            self._flush()
            state.buffer = word
            self._texts[word] = []
        match word:
            case "upr" | "ud":
                state.is_skipped = word == "upr"
            case _ if word in _SKIPPED:
                state.is_skipped = True
            case "ansicpg":
                self._code_page = _PAGES.get(number or 0, f"cp{number}")
            case "mac" | "pc" | "pca":
                self._code_page = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
            case "deff":
                self._default_font = -1 if number is None else number
            case "f" if number is not None:
                self._flush()
                state.font = number
            case "u" if number is not None:
                self._write(chr(number % 65536))
                self._unread = state.fallback
            case "uc":
                state.fallback = number or 0
            case "v":
                self._switch(is_hidden=is_on)
            case "deleted":
                self._switch(is_deleted=is_on)
            case "htmlrtf":
                self._switch(is_for_html=is_on)
            case "super":
                self._switch(is_raised=is_on)
            case "sub" | "nosupersub":
                self._switch(is_raised=False)
            case "plain":
                self._switch(is_hidden=False, is_raised=False)
            case "pard":
                self._level, self._in_table = None, False
            case "s" if number is not None:
                self._level = self._levels.get(number, self._level)
            case "outlinelevel" if number is not None and number < 9:
                self._level = number + 1
            case _ if word in _SIGNS:
                self._write(_SIGNS[word])
            case _ if word in _ENDS:
                self._end_paragraph()
            case _:
                self._table_word(word)

    def _table_word(self, word: str) -> None:
        if self._state.is_skipped or self._state.buffer:
            if word in ("cell", "nestcell"):
                self._write(", ")
            return
        if word == "intbl":
            self._in_table = True
        elif word == "trowd":
            self._row = _Row(cells=self._row.cells if self._row is not None else [])
        elif word in ("nestcell", "nestrow"):
            self._write(", " if word == "nestcell" else " ")
        elif word == "cell":
            self._flush()
            self._row = self._row or _Row()
            self._row.cells.append(self._taken())
        elif word == "row":
            self._end_row()
        elif self._row is not None:
            across, down = self._row.merge
            if word == "trhdr":
                self._row.is_header = True
            elif word in ("clmrg", "clvmrg"):
                self._row.merge = (word == "clmrg" or across, word == "clvmrg" or down)
            elif word == "cellx":
                self._row.merges.append(self._row.merge)
                self._row.merge = (False, False)

    def _end_row(self) -> None:
        row = self._row or _Row()
        cells = []
        for column, text in enumerate(row.cells):
            _, is_below = row.merges[column] if column < len(row.merges) else (False, False)
            cells.append(self._above[column] if is_below and not text and column < len(self._above) else text)
        if any(cells):
            self._writer.row(cells, is_header=row.is_header, starts_table=not self._was_row)
            self._above, self._was_row = cells, True
        self._row = _Row(merges=row.merges)

    def _end_paragraph(self) -> None:
        """End a paragraph; within a cell or a note it is a part of that."""
        if self._state.is_skipped or self._state.is_deleted:
            return
        self._flush()
        if self._state.buffer or self._in_table:
            self._texts[self._state.buffer].append(" ")
            return
        text = self._taken()
        if text:
            self._was_row = False
            self._row = None
            if self._level is None:
                self._writer.line(text)
            else:
                self._writer.heading(self._level, text)
        for box in self._boxes:
            self._writer.line(box)
        self._boxes = []

    def _taken(self) -> str:
        text, self._texts[""] = "".join(self._texts[""]).strip(), []
        return text

    def _close(self) -> None:
        """End a group, and the destination that began with it, if any."""
        self._flush()
        inner = self._state
        self._state = self._stack.pop() if self._stack else _State()
        if inner.buffer and inner.buffer != self._state.buffer:
            text = "".join(self._texts.pop(inner.buffer, [])).strip()
            if inner.buffer in ("shptxt", "dptxbxtext"):
                self._boxes.append(text)
            elif inner.buffer == "annotation":
                author = "".join(self._apart.pop("atnauthor", [])).strip()
                comment = f"Comment by {author}: {text}" if author else f"Comment: {text}"
                self._apart.setdefault("annotation", []).append(comment)
            elif text:
                self._apart.setdefault(inner.buffer, []).append(text)

    def _switch(self, **values: bool) -> None:
        self._flush()
        self._state = replace(self._state, **values)  # type: ignore[arg-type]

    def _plain(self, text: bytes) -> None:
        if self._unread:
            skipped = min(self._unread, len(text))
            self._unread -= skipped
            text = text[skipped:]
        if self._is_shown():
            self._bytes += text

    def _byte(self, code: int) -> None:
        if self._unread:
            self._unread -= 1
        elif self._is_shown():
            self._bytes.append(code)

    def _is_shown(self) -> bool:
        state = self._state
        return not (state.is_skipped or state.is_hidden or state.is_deleted or state.is_for_html)

    def _write(self, text: str) -> None:
        if self._is_shown():
            self._flush()
            self._append(text)

    def _append(self, text: str) -> None:
        texts = self._texts.setdefault(self._state.buffer, [])
        before = texts[-1][-1:] if texts else ""
        if self._state.is_raised and before.isdigit() and text[:1].isdigit():
            texts.append("^")
        texts.append(text)

    def _flush(self) -> None:
        """Decode the collected bytes in the charset of their font."""
        if self._bytes:
            font = self._state.font if self._state.font >= 0 else self._default_font
            text = self._fonts.decode(bytes(self._bytes), font, self._code_page)
            self._bytes.clear()
            self._append(text)
