"""LaTeX: one Document per section, with common commands replaced by the text that they print."""

from __future__ import annotations

import re
import unicodedata

from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.readers.markup import Found, reading_of
from rag_chain.ingestion.reading import Reading

_TEX_HEADING = re.compile(r"\\(part|chapter|section|subsection|subsubsection|paragraph)\*?\s*(?:\[[^\]]*\])?\s*\{")
_TEX_LEVELS = {"part": 0, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_TEX_VERBATIM = re.compile(r"\\begin\{(verbatim|lstlisting|minted|alltt)\*?\}.*?\\end\{\1\*?\}", re.DOTALL)
_TEX_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
_TEX_UNSEEN = re.compile(
    r"\\(?:begin|end)\{(?!tabular|array|equation|align)[^{}]*\}(?:\[[^\]]*\])?|\\(?:label|index|vspace|hspace|input"
    r"|include|bibliographystyle|bibliography|includegraphics)\*?(?:\[[^\]]*\])?\{[^{}]*\}"
    r"|\\(?:maketitle|tableofcontents|noindent|centering|clearpage|newpage|hline|par|smallskip|medskip|bigskip)\b"
)
_TEX_STYLED = re.compile(
    r"\\(?:emph|text(?:bf|it|tt|sc|rm|sf|sl|up|superscript|subscript|normal|color\{[^{}]*\})?|underline|mbox|caption|title|author|url|href\{[^{}]*\})"
    r"\s*\{([^{}]*)\}"
)
_TEX_NOTE = re.compile(r"\s*\\(?:footnote|thanks|marginpar)(?:\[[^\]]*\])?\{([^{}]*)\}")
_TEX_REFERENCE = re.compile(r"\\(?:cite[a-z]*|ref|eqref|pageref|autoref|cref)\*?(?:\[[^\]]*\])*\{([^{}]*)\}")
_TEX_ACCENT = re.compile(r"\\([\"'`^~=.]|[cvuHk](?=[{\s]))\s*(?:\{\\?([A-Za-z])\}|\\?([A-Za-z]))")
_TEX_COMBINING = dict(zip("\"'`^~=.cvuHk", "\u0308\u0301\u0300\u0302\u0303\u0304\u0307\u0327\u030c\u0306\u030b\u0328",
                          strict=True))  # fmt: skip
_TEX_HIDDEN = re.compile(r"\\begin\{comment\}.*?\\end\{comment\}|\\iffalse\b.*?\\fi\b", re.DOTALL)
_TEX_VERB = re.compile(r"\\(?:verb|lstinline)\*?([^\sA-Za-z*{])(.*?)\1")
_TEX_SWITCH = re.compile(
    r"\{\s*\\(?:bf|it|em|tt|sc|rm|sf|sl|tiny|small|large|Large|huge|normalsize|bfseries|itshape|ttfamily|scshape|upshape)\b"
    r"\s*((?:[^{}\\]|\\.)*)\}"
)
_TEX_SIGNS = {
    "ldots": "…", "dots": "…", "LaTeX": "LaTeX", "TeX": "TeX", "S": "§", "P": "¶", "copyright": "©", "euro": "€",
    "pounds": "£", "dag": "†", "textdegree": "°", "textbar": "|", "textbackslash": "\\", "textasciitilde": "~",
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł",
    "L": "Ł", "i": "ı",
    "textendash": "–", "textemdash": "—", "quad": " ", "qquad": " ", "toprule": "", "midrule": "", "bottomrule": "",
    "today": "", "item": "- ", "newline": " ", "linebreak": " ", "protect": "", "bfseries": "", "itshape": "",
}  # fmt: skip
_TEX_SIGN = re.compile(
    rf"\\({'|'.join(sorted(_TEX_SIGNS, key=len, reverse=True))})(?![A-Za-z])(?:\{{\}}|[ \t]*(?=\S))?"
)
_TEX_ROWS = re.compile(r"\\begin\{(?:tabular[xy*]?|longtable|supertabular)\}")
_TEX_END_OF_ROWS = re.compile(r"\\end\{(?:tabular[xy*]?|longtable|supertabular)\}")
_TEX_COLUMNS = re.compile(r"\\begin\{[^{}]*\}(?:\[[^\]]*\])?(?:\{(?:[^{}]|\{[^{}]*\})*\}){1,2}|\\end\{[^{}]*\}")
_TEX_MERGED = re.compile(r"\\multi(?:column|row)\{[^{}]*\}\{[^{}]*\}\{([^{}]*)\}")
_TEX_CELL_END = re.compile(r"\s*(?<!\\)&\s*")
_TEX_KEPT = re.compile("\x00(\\d+)\x00(\n*)")
_TEX_SPECIAL = re.compile(r"\\([&%$#_{}])")
_TEX_TITLE = re.compile(r"\\title\s*(?:\[[^\]]*\])?\s*\{")
_TEX_START = "\\begin{document}"
_DEEPEST_NESTING = 4


def read_latex(data: bytes) -> Reading:
    """Return the sections of a LaTeX text without preamble and comments; common commands become what they print."""
    text = decode(data)
    title = _TEX_TITLE.search(text)
    name = _tex_text(_argument(text, title.end())) if title else ""
    start = text.find(_TEX_START)
    if start >= 0:
        start += len(_TEX_START)
        text = "\n" * text.count("\n", 0, start) + text[start:]
    verbatim: list[str] = []

    def kept(block: re.Match[str]) -> str:
        verbatim.append(block.group())
        return f"\x00{len(verbatim) - 1}\x00" + "\n" * block.group().count("\n")

    def kept_words(words: re.Match[str]) -> str:
        verbatim.append(words.group(2))
        return f"\x00{len(verbatim) - 1}\x00"

    text = _TEX_VERB.sub(kept_words, _without_hidden(_TEX_VERBATIM.sub(kept, text)))
    text = _TEX_COMMENT.sub(r"\1", text)
    for _ in range(_DEEPEST_NESTING):  # arguments may nest and span lines
        text, count = _TEX_STYLED.subn(r"\1", text)
        text, notes = _TEX_NOTE.subn(r" (\1)", text)
        if not count + notes:
            break
    found = Found([], name)
    lines = text.split("\n")
    _add_tex_tables(lines, found)
    for number, line in enumerate(lines):
        heading = _TEX_HEADING.search(line)
        if heading:
            argument = _argument("\n".join(lines[number : number + 5]), heading.end())
            words = _tex_text(argument)
            found.headings.append((number, _TEX_LEVELS[heading.group(1)], words))
            if "\n" not in argument:
                line = line[: heading.start()] + argument + line[heading.end() + len(argument) + 1 :]
        found.lines.append(_tex_text(line, strip=False))
    text = "\n".join(found.lines)
    text = _TEX_KEPT.sub(lambda mark: _restored(verbatim[int(mark.group(1))], mark.group(2)), text)
    found.lines = text.split("\n")
    return reading_of(found)


def _restored(block: str, line_ends: str) -> str:
    """Return the verbatim block that a placeholder and its line ends stand for."""
    return block + line_ends[block.count("\n") :]


def _without_hidden(text: str) -> str:
    """Remove what the text comments out; an unclosed comment would be searched from every position."""
    if "\\end{comment}" not in text and "\\fi" not in text:
        return text
    return _TEX_HIDDEN.sub(_line_ends, text)


def _line_ends(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def _add_tex_tables(lines: list[str], found: Found) -> None:
    """Write the rows of tables with bars between their cells; the first row names the columns."""
    start = None
    for number, line in enumerate(lines):
        if start is None and _TEX_ROWS.search(line):
            start = number
        if start is not None:
            is_last = bool(_TEX_END_OF_ROWS.search(line))
            line = _TEX_MERGED.sub(r"\1", _TEX_COLUMNS.sub("", line))
            lines[number] = _TEX_CELL_END.sub(" | ", line)
            if is_last:
                rows = [row for row in range(start, number) if " | " in lines[row]]
                if rows:
                    found.tables.append((rows[0], rows[0] + 1, number))
                start = None


def _argument(text: str, start: int) -> str:
    """Return the text up to the brace that closes the one before ``start``."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0) if text[position - 1] != "\\" else 0
        if not depth:
            return text[start:position]
    return text[start:].split("\n", 1)[0]


def _tex_text(text: str, *, strip: bool = True) -> str:
    if "\\" in text or "~" in text or "``" in text:
        text = _TEX_ACCENT.sub(
            lambda m: unicodedata.normalize("NFC", (m.group(2) or m.group(3)) + _TEX_COMBINING[m.group(1)]), text
        )
        text = _TEX_SIGN.sub(lambda m: _TEX_SIGNS[m.group(1)], text)
        for _ in range(_DEEPEST_NESTING):
            text = _TEX_SWITCH.sub(r"\1", _TEX_REFERENCE.sub(r"[\1]", _TEX_UNSEEN.sub("", text)))
            text, count = _TEX_STYLED.subn(r"\1", text)
            if not count:
                break
        text = text.replace("\\\\", " ").replace("~", " ").replace("``", "“").replace("''", "”")
        text = text.replace("\\ ", " ").replace("\\,", " ").replace("\\-", "").replace("\\/", "")
        text = _TEX_SPECIAL.sub(r"\1", text)
    if "--" in text and not text.lstrip().startswith(("--", "%")):
        text = text.replace("---", "—").replace("--", "–")
    return " ".join(text.split()) if strip else text.rstrip()
