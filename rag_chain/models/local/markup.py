"""Remove inline markup of Markdown, reStructuredText and HTML."""

from __future__ import annotations

import re
from html import unescape

_IMAGE = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)|!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])")
_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()\s]*(?:\([^()]*\))?[^()]*\)|\[[^\[\]]*\](?!\())")
_AUTOLINK = re.compile(r"<(https?://[^<>\s]+|mailto:[^<>\s]+)>")
_FOOTNOTE = re.compile(r"\[\^[\w-]+\]:?|(?<=\S) ?\[(?:#\w*|\d+|\*)\]_\B|(?<=\w)\[\d{1,3}\](?=\s|[.,;]|$)(?!\()")
_ROLE = re.compile(r":(?:[a-zA-Z]\w*:)?[a-zA-Z][\w+-]*:`[~!]?([^`]+)`")
_MYST_ROLE = re.compile(r"\{[a-z][\w:+-]*\}`[~!]?([^`]+)`")
_REFERENCE = re.compile(r"(?<!`)`([^`<>]+?)(?:\s*<[^<>`]+>)?`__?(?!\w)")
_TARGET = re.compile(r"^(.+?)\s*<[^<>]+>$")
_LITERAL = re.compile(r"(?<!`)``(?=\S)([^`]+?)(?<=\S)``(?!`)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_EMPHASIS = re.compile(
    r"(?<![\w*\\])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])|(?<![\w_\\])_(?=[^\s_])([^_\n]+?)_(?!\w)"
)
_TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|center|cite|code|dd|del|details|div|dl|dt|em|font|h[1-6]|hr|i|img|input"
    r"|ins|kbd"
    r"|li|mark|ol|p|picture|pre|q|s|samp|small|source|span|strike|strong|sub|summary|sup|table|tbody|td|tfoot"
    r"|th|thead"
    r"|tr|tt|u|ul|var|video)\b[^<>]*/?>|<!--.*?-->",
    re.IGNORECASE | re.DOTALL,
)
_ANCHOR = re.compile(r"\s*(?:\{#[\w-]+[^{}]*\}|¶|\[¶\]\(#[^)]*\)|\\?#\s*$)")
_ATTRIBUTES = re.compile(r"(?<=[\])`*_\w])\{:?(?: *[.#][\w-]+| *[\w-]+=(?:\"[^\"]*\"|[\w-]+))+ *\}")
"""Classes and attributes after a link or a heading, as in MkDocs and Pandoc."""
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!<>|~-])")
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_LINK_OF_CODE = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\[(?P<text>[^\[\]`]*(?:`[^`]*`[^\[\]`]*)+)\]"
    r"(?:\[[^\[\]]*\](?!\()|\([^()\s]*(?:\([^()]*\))?[^()]*\))"
)
"""A code span, in which nothing is markup, or a link whose text has one."""
_NUMBER_OF_SECTION = re.compile(
    r"\W*(?:(?:Chapter|Section|Part|Appendix|Kapitel|Abschnitt|Teil|Anhang)\s+)?"
    r"(?:\d{1,3}(?:(?:\.\d{1,3})+\.?|\.)|[A-Z](?:\.\d{1,3})+\.?)\s+(?=.*[^\W\d_])"
    r"|第[\d一二三四五六七八九十百]+[章节篇]\s*(?=\w)"
)


def without_number(heading: str) -> str:
    """Return a heading without the number of its section: ``"3.2. Lending"`` -> ``"Lending"``."""
    return _NUMBER_OF_SECTION.sub("", heading, count=1) if _NUMBER_OF_SECTION.match(heading) else heading


def without_markup(text: str) -> str:
    """Return ``text`` without markup, on one line.

    Images, anchors and HTML tags are removed; of a link the text stays. Code spans keep their backquotes and their
    content.
    """
    text = _ATTRIBUTES.sub("", text)
    text = _ROLE.sub(_title_of_target, _MYST_ROLE.sub(_title_of_target, text))
    text = _REFERENCE.sub(r"\1", _LITERAL.sub(r"`\1`", text))
    text = _LINK_OF_CODE.sub(lambda found: found["code"] or found["text"], text)
    parts, start = [], 0
    for code in _CODE.finditer(text):
        parts += [_outside_code(text[start : code.start()]), code[0]]
        start = code.end()
    parts.append(_outside_code(text[start:]))
    return " ".join("".join(parts).split())


def _outside_code(text: str) -> str:
    text = _TAG.sub(" " if "<br" in text else "", _AUTOLINK.sub(r"\1", _IMAGE.sub("", text)))
    text = _FOOTNOTE.sub("", _LINK.sub(r"\1", text))
    text = _EMPHASIS.sub(lambda m: m[1] or m[2], _STRONG.sub(r"\2", text))
    return _ESCAPE.sub(r"\1", unescape(_ANCHOR.sub("", text)))


def _title_of_target(found: re.Match[str]) -> str:
    titled = _TARGET.match(found[1])
    return titled[1] if titled else f"`{found[1]}`"
