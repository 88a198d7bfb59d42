"""The text of a Word paragraph, as it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rag_chain.ingestion.readers.equations import MATH, equation
from rag_chain.ingestion.readers.symbols import symbol
from rag_chain.ingestion.readers.word_styles import Style, W, is_on, value_of

_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_BOX = f"{W}txbxContent"
# Word stores text boxes twice: the second time for old programs. Tracked deletions are not text any more. Of ruby, the
# pronunciation above the characters is left out.
UNSEEN = {f"{_MC}Fallback", f"{W}del", f"{W}moveFrom", f"{W}rt", f"{W}pPr", f"{W}rPr"}
_CHARACTERS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-", f"{W}ptab": "\t"}
_PRIVATE = re.compile("[\uf020-\uf0ff]")


def paragraph_text(paragraph: Any, styles: Mapping[str, Style]) -> str:
    """Return the text of a paragraph without text boxes, hidden text and tracked deletions.

    A power of ten becomes ``10^6``; a drop-down list of a form becomes the selected entry.
    """
    pieces: list[str] = []

    def walk(parent: Any) -> None:
        for element in parent:
            tag = element.tag
            if tag == f"{W}t":
                pieces.append((element.text or "") + "".join(child.tail or "" for child in element))
            elif tag in _CHARACTERS:
                pieces.append(_CHARACTERS[tag])
            elif tag == f"{W}sym":
                pieces.append(symbol(element.get(f"{W}font", ""), element.get(f"{W}char", "")))
            elif tag == f"{MATH}oMath":
                pieces.append(equation(element))
            elif tag == f"{W}ddList":
                pieces.append(_chosen(element))
            elif tag == f"{W}r":
                run(element)
            elif tag not in UNSEEN and tag != _BOX and isinstance(tag, str):
                walk(element)

    def run(element: Any) -> None:
        properties = element.find(f"{W}rPr")
        if properties is None:
            walk(element)
        elif not _is_hidden(properties, styles):
            start = len(pieces)
            walk(element)
            text = "".join(pieces[start:])
            before = next((piece[-1] for piece in reversed(pieces[:start]) if piece), "")
            pieces[start:] = [_shown(text, properties, before)]

    walk(paragraph)
    return "".join(pieces)


def text_boxes(paragraph: Any) -> Iterator[Any]:
    """Yield the outermost text boxes of a paragraph."""
    for box in paragraph.iter(_BOX):
        if not any(parent.tag in UNSEEN or parent.tag == _BOX for parent in box.iterancestors()):
            yield box


def _is_hidden(properties: Any, styles: Mapping[str, Style]) -> bool:
    vanish = properties.find(f"{W}vanish")
    if vanish is not None:
        return is_on(vanish)
    style = styles.get(value_of(properties.find(f"{W}rStyle")) or "")
    return style is not None and style.is_hidden


def _shown(text: str, properties: Any, before: str) -> str:
    if _PRIVATE.search(text):
        fonts = properties.find(f"{W}rFonts")
        font = "" if fonts is None else fonts.get(f"{W}ascii") or fonts.get(f"{W}hAnsi") or ""
        text = _PRIVATE.sub(lambda found: symbol(font, f"{ord(found.group()):X}") or found.group(), text)
    raised = value_of(properties.find(f"{W}vertAlign")) == "superscript"
    return f"^{text}" if raised and before.isdigit() and text[:1] in "-+−0123456789" and text else text


def _chosen(choices: Any) -> str:
    """Return the selected entry of a drop-down list in a legacy form field."""
    entries = [value_of(entry) or "" for entry in choices.findall(f"{W}listEntry")]
    number = value_of(choices.find(f"{W}result")) or "0"
    return entries[int(number)] if number.isdigit() and int(number) < len(entries) else ""
